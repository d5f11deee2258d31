"""A firmware image that does in 300 bytes what every kernel does first, and says how far it got.

Real mode, protected mode, paging and long mode, model-specific registers, SSE, the local APIC: each step prints a
letter on QEMU's debug console; at the end the guest ends QEMU through ``isa-debug-exit``. Written as bytes, with the
assembly beside them, because the tools tree has no assembler.
"""

from __future__ import annotations

import struct

SIZE = 64 << 10
ORIGIN = 0xFFFFF000  # where CODE lies: the image ends at 4 GiB
CODE, GDT, GDTR, RESET = 0xF000, 0xFF00, 0xFF20, 0xFFF0
MARK_PORT, EXIT_PORT = 0xE9, 0xF4
EXIT_VALUE = 0x10
EXIT_STATUS = EXIT_VALUE << 1 | 1  # what isa-debug-exit makes of it
STEPS = {
    "r": "real mode",
    "p": "protected mode",
    "l": "long mode",
    "m": "model-specific registers",
    "a": "the local APIC",
    "d": "the end",
}
DONE = "d"


def list_devices(marks: str) -> list[str]:
    """QEMU's options for where the marks go, and the way out."""
    return [
        *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"),
        *("-chardev", f"file,id=marks,path={marks}"),
        *("-device", f"isa-debugcon,iobase={MARK_PORT:#x},chardev=marks"),
    ]


def make_firmware() -> bytes:
    """The image, for ``-bios``."""
    real = _real_mode()
    # Each part ends with a far jump into the next, whose address depends on its own length.
    protected_at = ORIGIN + len(real) + 8
    real += b"\x66\xea" + _u32(protected_at) + b"\x08\x00"  # ljmpl $8, protected
    protected = _protected_mode()
    long_at = protected_at + len(protected) + 7
    protected += b"\xea" + _u32(long_at) + b"\x18\x00"  # ljmp $0x18, long
    code = real + protected + _long_mode()

    descriptors = (
        bytes(8),
        bytes.fromhex("ffff0000009acf00"),  # 0x08: 32-bit code, flat
        bytes.fromhex("ffff00000092cf00"),  # 0x10: data, flat
        bytes.fromhex("ffff0000009aaf00"),  # 0x18: 64-bit code
    )
    gdt = b"".join(descriptors)
    image = bytearray(b"\xf4" * SIZE)  # hlt
    image[CODE : CODE + len(code)] = code
    image[GDT : GDT + len(gdt)] = gdt
    image[GDTR : GDTR + 6] = struct.pack("<HI", len(gdt) - 1, ORIGIN - CODE + GDT)
    image[RESET : RESET + 3] = b"\xe9" + struct.pack("<H", (CODE - RESET - 3) & 0xFFFF)  # jmp CODE
    return bytes(image)


def _real_mode() -> bytes:
    return (
        _mark("r")
        + b"\xfa"  # cli
        + b"\x66\x2e\x0f\x01\x16"
        + struct.pack("<H", GDTR)  # lgdtl %cs:GDTR
        + b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"  # mov %cr0, %eax; or $PE, %al; mov %eax, %cr0
    )


def _protected_mode() -> bytes:
    """Page tables for the first 2 MiB, for the local APIC, and for the 2 MiB we run in; then long mode."""
    entries = (
        (0x1000, 0x2003),  # PML4 -> PDPT at 0x2000
        (0x2000, 0x4003),  # first GiB -> PD at 0x4000
        (0x2018, 0x3003),  # fourth GiB -> PD at 0x3000
        (0x3FF8, 0xFFE00083),  # the image
        (0x3FB8, 0xFEE00093),  # the local APIC, uncached
        (0x4000, 0x00000083),  # low memory
    )
    return (
        b"\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xd0"  # mov $0x10, %ax; to %ds, %es, %ss
        + _mark("p")
        + b"".join(b"\xc7\x05" + _u32(address) + _u32(value) for address, value in entries)  # movl $value, address
        + b"\xb8"
        + _u32(0x220)
        + b"\x0f\x22\xe0"  # %cr4: PAE, OSFXSR
        + b"\xb8"
        + _u32(0x1000)
        + b"\x0f\x22\xd8"  # %cr3
        + b"\xb9"
        + _u32(0xC0000080)
        + b"\x0f\x32\x0d"
        + _u32(0x101)
        + b"\x0f\x30"  # EFER: LME, SCE
        + b"\x0f\x20\xc0\x83\xe0\xfb\x0d"
        + _u32(0x80000002)
        + b"\x0f\x22\xc0"  # %cr0: PG, MP, no EM
    )


def _long_mode() -> bytes:
    lstar = 0xC0000082
    return (
        b"\xbc"
        + _u32(0x8000)  # mov $0x8000, %esp
        + _mark("l")
        + b"\x31\xc0\x0f\xa2"  # xor %eax, %eax; cpuid
        + _wrmsr(0xC0000081, 0, 0x00130010)  # STAR
        + _wrmsr(lstar, 0x1000, 0)
        + _wrmsr(0xC0000102, 0x2000, 0)  # KERNEL_GS_BASE
        + b"\xb9"
        + _u32(lstar)
        + b"\x0f\x32\x3d"
        + _u32(0x1000)
        + b"\x75\xfe"  # rdmsr; cmp $0x1000, %eax; jne . (a wrong answer hangs, and is found out by the timeout)
        + _mark("m")
        + b"\x66\x0f\xef\xc0\x66\x0f\x7f\x04\x25"
        + _u32(0x5000)  # pxor %xmm0, %xmm0; movdqa %xmm0, 0x5000
        + b"\xbe"
        + _u32(0xFEE00030)
        + b"\x8b\x06"  # mov $APIC version, %esi; mov (%rsi), %eax
        + _mark("a")
        + b"\xb9"
        + _u32(1_000_000)
        + b"\xff\xc9\x75\xfc"  # 1: dec %ecx; jnz 1b
        + _mark(DONE)
        + bytes([0xB0, EXIT_VALUE, 0xE6, EXIT_PORT, 0xF4])  # mov, out, hlt
    )


def _mark(letter: str) -> bytes:
    return bytes([0xB0, ord(letter), 0xE6, MARK_PORT])  # mov $letter, %al; out %al, $MARK_PORT


def _wrmsr(register: int, low: int, high: int) -> bytes:
    return b"\xb9" + _u32(register) + b"\xb8" + _u32(low) + b"\xba" + _u32(high) + b"\x0f\x30"


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)
