"""Firmware variables with keys of one's own, in the file that QEMU's UEFI firmware (edk2's OVMF) keeps them in.

A fresh file has an empty store in a firmware volume (UEFI Platform Initialization 1.8, volume 3); variables are put
behind variable other as edk2's ``AuthenticatedVariableFormat.h`` has them.
"""

from __future__ import annotations

import struct
import uuid

from builder.core.efi_keys import KEY_VARIABLES, make_signature_list
from update.efi import KEY_ATTRIBUTES

_VOLUME_SIGNATURE, _VOLUME_SIGNATURE_AT, _VOLUME_HEADER_SIZE_AT = b"_FVH", 40, 48
_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")  # gEfiAuthenticatedVariableGuid
_STORE_HEADER = struct.Struct("<16sI8x")
# StartId, State, Attributes, MonotonicCount, TimeStamp, PubKeyIndex, NameSize, DataSize, VendorGuid
_HEADER = struct.Struct("<HBxIQ16sIII16s")
_START, _ADDED = 0x55AA, 0x3F
# What edk2's own setup keeps: whether to verify, and whether keys can be changed without a signature.
_ENABLE = ("SecureBootEnable", uuid.UUID("f0a30bc7-af08-4556-99c4-001009c93a44"), b"\1")
_CUSTOM = ("CustomMode", uuid.UUID("c076ec0c-7028-4399-a072-71ee5c448b9f"), b"\0")
_PRIVATE = 0x03  # EFI_VARIABLE_NON_VOLATILE, _BOOTSERVICE_ACCESS


class NotFirmwareVariables(Exception):
    """It is no file of this kind, or has no room."""


def add_own_keys(variables: bytes, certificate: bytes) -> bytes:
    """The file with Secure Boot on, and one certificate (DER) as the only one that firmware trusts.

    Raises:
        NoVariables: what is given is no file of this kind, or has no room.
    """
    start, end = _room(variables)
    keys = make_signature_list(certificate)
    added = b"".join(
        [
            *(_variable(*variable, _PRIVATE) for variable in (_CUSTOM, _ENABLE)),
            *(_variable(name, vendor, keys, KEY_ATTRIBUTES) for name, vendor in KEY_VARIABLES.items()),
        ]
    )
    if start + len(added) > end:
        raise NotFirmwareVariables("the firmware's variables have no room for the keys")
    return variables[:start] + added + variables[start + len(added) :]


def _room(variables: bytes) -> tuple[int, int]:
    """Where free space begins and ends."""
    try:
        (at,) = struct.unpack_from("<H", variables, _VOLUME_HEADER_SIZE_AT)
        kind, size = _STORE_HEADER.unpack_from(variables, at)
    except struct.error:
        raise NotFirmwareVariables("the file of firmware variables is cut short") from None
    volume = variables[_VOLUME_SIGNATURE_AT : _VOLUME_SIGNATURE_AT + len(_VOLUME_SIGNATURE)]
    if volume != _VOLUME_SIGNATURE or kind != _STORE.bytes_le or at + size > len(variables):
        raise NotFirmwareVariables("this is no file of firmware variables")
    start, end = _up(at + _STORE_HEADER.size), at + size
    while start + _HEADER.size <= end:
        first, *_, name_size, data_size, _vendor = _HEADER.unpack_from(variables, start)
        if first != _START:
            break
        start = _up(start + _HEADER.size + name_size + data_size)
    return start, end


def _variable(name: str, vendor: uuid.UUID, data: bytes, attributes: int) -> bytes:
    text = f"{name}\0".encode("utf-16-le")
    head = _HEADER.pack(_START, _ADDED, attributes, 0, bytes(16), 0, len(text), len(data), vendor.bytes_le)
    content = head + text + data
    return content.ljust(_up(len(content)), b"\xff")


def _up(value: int) -> int:
    return -(-value // 4) * 4
