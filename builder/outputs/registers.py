"""What a signed image leaves in the registers of a TPM (TCG PC Client Platform Firmware Profile, section 3.3.4).

Computed from what firmware, systemd-stub and the initrd measure, in the SHA-256 bank, so that who is told a machine's
registers can say whether it runs this image.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.core.efi_keys import KEY_VARIABLES, make_signature_list
from builder.core.pe import read_sections
from update.efi import hash_program

Registers = Mapping[str, str | Mapping[str, str]]

# In the order in which systemd-stub(7) measures them (UAPI.5, "PE sections").
MEASURED_SECTIONS = (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat", ".pcrpkey")
PHASES = ("enter-initrd", "leave-initrd", "sysinit", "ready")  # systemd-pcrphase(8)
IN_INITRD = PHASES[:1]
_SEPARATOR = bytes(4)
_SHA256, _POLICY_PCR = 0x000B, 0x0000017F  # TPM_ALG_SHA256, TPM_CC_PolicyPCR
_LIST_HEADER = 28  # EFI_SIGNATURE_LIST, before its first entry (UEFI 2.10, 32.4.1)


def compute_registers(loader: Path, kernel_image: Path, certificate: bytes, *, phases: bool) -> Registers:
    """The registers that this image decides: number -> value in hex.

    4 is what firmware starts, if that is the first that it tries. 7 is what it trusts, for firmware that has this
    certificate and nothing else. 11 has a value for each moment: ``kernel`` and, with ``phases``, after each phase of
    the boot. 12 is untouched: nothing is added to the command line.

    Args:
        loader: systemd-boot as it is signed.
        kernel_image: the unified kernel image, likewise.
        certificate: DER.
        phases: whether the image's initrd and root measure how far they are.
    """
    moments = _compute_moments(kernel_image, PHASES if phases else ())
    programs = (hash_program(path.read_bytes()) for path in (loader, kernel_image))
    started = _extend(bytes(32), [b"Calling EFI Application from Boot Option", _SEPARATOR])
    for digest in programs:
        started = hashlib.sha256(started + digest).digest()
    return {
        "4": started.hex(),
        "7": _extend(bytes(32), _list_of_trust(certificate)).hex(),
        "11": {moment: value.hex() for moment, value in moments.items()},
        "12": bytes(32).hex(),
    }


def compute_policy(kernel_image: Path, phases: Sequence[str]) -> bytes:
    """The policy that PCR 11 is as it is after these phases of a kernel image's boot, as a TPM computes it.

    Source: TPM 2.0 Library, part 3, ``TPM2_PolicyPCR``: the policy before (none), the command's code, one selection of
    SHA-256 with the bit of register 11, and the digest of what is selected.
    """
    register = _compute_moments(kernel_image, phases)[":".join(phases)]
    selection = struct.pack(">IHB", 1, _SHA256, 3) + (1 << 11).to_bytes(3, "little")
    digest = hashlib.sha256(register).digest()
    return hashlib.sha256(bytes(32) + struct.pack(">I", _POLICY_PCR) + selection + digest).digest()


def _compute_moments(kernel_image: Path, phases: Sequence[str]) -> dict[str, bytes]:
    """PCR 11 at each moment of a boot: after the kernel image was measured, and after each phase."""
    value = _extend(bytes(32), _list_of_kernel(kernel_image))
    moments = {"kernel": value}
    for count, phase in enumerate(phases, 1):
        value = _extend(value, [phase.encode()])
        moments[":".join(phases[:count])] = value
    return moments


def _extend(register: bytes, measured: Iterable[bytes]) -> bytes:
    for data in measured:
        register = hashlib.sha256(register + hashlib.sha256(data).digest()).digest()
    return register


def _list_of_kernel(program: Path) -> Iterable[bytes]:
    data = program.read_bytes()
    sections = {section.name: section for section in read_sections(program)}
    for name in MEASURED_SECTIONS:
        if name in sections:
            section = sections[name]
            yield name.encode() + b"\0"
            yield data[section.offset : section.offset + section.size]


def _list_of_trust(certificate: bytes) -> Iterable[bytes]:
    """``EV_EFI_VARIABLE_DRIVER_CONFIG`` of each variable, a separator, then who signed what was started."""
    trusted = make_signature_list(certificate)
    database = KEY_VARIABLES["db"]
    yield _describe_variable(KEY_VARIABLES["PK"], "SecureBoot", b"\x01")
    for name in ("PK", "KEK", "db"):
        yield _describe_variable(KEY_VARIABLES[name], name, trusted)
    yield _describe_variable(database, "dbx", b"")
    yield _SEPARATOR
    yield _describe_variable(database, "db", trusted[_LIST_HEADER:])


def _describe_variable(vendor: uuid.UUID, name: str, data: bytes) -> bytes:
    """``UEFI_VARIABLE_DATA``."""
    return vendor.bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data
