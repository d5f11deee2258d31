"""The same for 64-bit ARM as :mod:`vm.accel.guest_x86_64` for a PC: the instructions every kernel begins with.

Page tables, system registers, SIMD, the virtual timer, and a call to the hypervisor that powers the machine off: each
step prints a letter on the first serial port. Addresses are those of QEMU's ``virt`` machine; encodings those of the
Arm Architecture Reference Manual (DDI 0487), chapter C6.
"""

from __future__ import annotations

import struct

UART = 0x0900_0000  # PL011: what is written to its first register is sent
TABLE = 0x4100_0000  # memory starts at 1 GiB, with the device tree in front
SIZE = 64 << 10
EXIT_STATUS = 0  # of a machine that was powered off
STEPS = {
    "s": "the serial port",
    "p": "page tables",
    "v": "SIMD registers",
    "t": "the virtual timer",
    "d": "the end",
}
DONE = "d"

# Instructions whose operands never change here, by their assembly.
_ISB = 0xD5033FDF
_DSB = 0xD5033F9F
_FLUSH = 0xD508871F  # tlbi vmalle1
_WRITE = {  # msr NAME, x0
    "mair_el1": 0xD518A200,
    "tcr_el1": 0xD5182040,
    "ttbr0_el1": 0xD5182000,
    "sctlr_el1": 0xD5181000,
    "cpacr_el1": 0xD5181040,
    "cntv_tval_el0": 0xD51BE300,
    "cntv_ctl_el0": 0xD51BE320,
}
_MEMORY = 0x44  # MAIR: normal, not cached; ours is the only attribute, number 0
_TRANSLATION = 25 | 1 << 23  # TCR: 39-bit addresses, pages of 4 KiB, no upper half
_BLOCK = 0b01 | 1 << 10  # a block of 1 GiB, accessed
_SYSTEM_OFF = 0x8400_0008  # PSCI (DEN 0022), function numbers


def list_devices(marks: str) -> list[str]:
    """QEMU's options for where the marks go."""
    return ["-chardev", f"file,id=marks,path={marks}", "-serial", "chardev:marks"]


def make_firmware() -> bytes:
    """The image, for ``-bios``: the processor starts at its first byte."""
    words = [
        *_mark("s"),
        *_load(1, TABLE),
        *_load(0, _BLOCK),  # the first GiB: this program and the devices
        0xF9000020,  # str x0, [x1]
        *_load(0, 1 << 30 | _BLOCK),  # the second GiB: memory
        0xF9000420,  # str x0, [x1, #8]
        *_set("mair_el1", _MEMORY),
        *_set("tcr_el1", _TRANSLATION),
        *_set("ttbr0_el1", TABLE),
        *(_DSB, _FLUSH, _DSB, _ISB),
        0xD5381000,  # mrs x0, sctlr_el1
        0xB2400000,  # orr x0, x0, #1: translation on
        *(_WRITE["sctlr_el1"], _ISB),
        *_mark("p"),
        *_set("cpacr_el1", 3 << 20),  # SIMD does not trap
        _ISB,
        0x9E670000,  # fmov d0, x0
        0x9E660000,  # fmov x0, d0
        *_mark("v"),
        *_set("cntv_tval_el0", 1),
        *_set("cntv_ctl_el0", 0b11),  # counting, no interrupt
        0xD53BE320,  # mrs x0, cntv_ctl_el0
        0x3617FFE0,  # tbz x0, #2, the instruction before: until the timer has fired
        *_mark("t"),
        *_mark("d"),
        *_load(0, _SYSTEM_OFF),
        0xD4000002,  # hvc #0
        0x14000000,  # b .
    ]
    return struct.pack(f"<{len(words)}I", *words).ljust(SIZE, b"\0")


def _load(register: int, value: int) -> tuple[int, int]:
    """``movz``, ``movk``: a register gets a value of 32 bits."""
    return 0xD2800000 | (value & 0xFFFF) << 5 | register, 0xF2A00000 | (value >> 16) << 5 | register


def _set(name: str, value: int) -> tuple[int, ...]:
    return *_load(0, value), _WRITE[name]


def _mark(letter: str) -> tuple[int, ...]:
    return *_load(1, UART), *_load(0, ord(letter)), 0xB9000020  # str w0, [x1]
