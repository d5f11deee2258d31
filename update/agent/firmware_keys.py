"""What firmware trusts, changed on a machine that runs: files that ``build-os key --trust`` and ``--revoke`` made.

Firmware itself verifies them, by a key that it trusts already (KEK). What is looked at here is whether the machine
would still start afterwards.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from update.agent.esp import find_image
from update.agent.host import Host
from update.efi import (
    APPEND_WRITE,
    KEY_ATTRIBUTES,
    SECURITY_DATABASE,
    Entry,
    hash_program,
    is_revoked,
    is_vouched_for,
    read_signature_lists,
    read_signed_update,
)
from update.errors import UpdateError

_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # EFI_GLOBAL_VARIABLE
VARIABLES = "/sys/firmware/efi/efivars"
NAMES = ("db", "dbx")
ENCRYPTED_STATE = "/run/build-os/state-partition"  # by the initrd, where a TPM has opened it
_LOADERS = ("EFI/BOOT", "EFI/systemd")
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
_MAX_UPDATE = 1 << 20


def read_change(path: Path) -> tuple[str, bytes, list[Entry]]:
    """A file by its name, ``db.auth`` or ``dbx.auth``: the variable, the file's content, and what it adds.

    Raises:
        UpdateError: it cannot be read, or is something else.
    """
    name = path.name.partition(".")[0]
    if name not in NAMES or path.suffix != ".auth":
        raise UpdateError(f"{path} is neither db.auth nor dbx.auth, as 'build-os key' writes them")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_UPDATE)
    except OSError as error:
        raise UpdateError(f"cannot read {path}: {error.strerror}") from None
    try:
        return name, data, list(read_signature_lists(read_signed_update(data)))
    except ValueError as error:
        raise UpdateError(f"{path} is no change of what firmware trusts: {error}") from None


def refuse_to_lock_out(esp: Path, name: str, version: str, revoked: list[Entry]) -> None:
    """A machine goes on starting the version that it runs, which has proven itself.

    Args:
        esp: the EFI system partition.
        name: of the OS.
        version: that runs.

    Raises:
        UpdateError: after this it would not.
    """
    image = find_image(esp, name, version)
    if image is None or image.left is not None:
        raise UpdateError(f"version {version} has not proven itself yet: nothing is revoked before it has")
    for path in (image.path, *_list_loaders(esp)):
        try:
            program = path.read_bytes()
            needed = is_revoked(program, hash_program(program), revoked)
        except ValueError:
            continue
        if needed:
            raise UpdateError(
                f"this revokes {path.relative_to(esp)}, which this machine starts from: nothing is changed"
            )


def require_trusted(host: Host, program: Path, version: str) -> None:
    """A kernel image that firmware would not start is none to write: some firmware looks for nothing else then.

    Raises:
        UpdateError: Secure Boot is on, and the image is signed by nobody that firmware trusts, or is revoked.
    """
    if _read_variable(host, "SecureBoot", _GLOBAL) != b"\1":
        return
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            trusted = [*read_signature_lists(_read_variable(host, "db", SECURITY_DATABASE))]
            revoked = [*read_signature_lists(_read_variable(host, "dbx", SECURITY_DATABASE))]
            digest = hash_program(content)
            refused = is_revoked(content, digest, revoked)
            accepted = is_vouched_for(content, digest, trusted)
        except ValueError as error:
            raise UpdateError(f"whether firmware would start version {version} cannot be told: {error}") from None
    if refused:
        raise UpdateError(f"firmware has version {version} on its list of what it does not start (dbx)")
    if not accepted:
        raise UpdateError(
            f"firmware trusts nobody who has signed version {version}, and would not start it; "
            "'os-update firmware-keys' lets it trust another key"
        )


def write_change(host: Host, name: str, data: bytes) -> None:
    """Hand a change to firmware, which verifies it, and puts it beside what it has.

    Raises:
        UpdateError: there is no such firmware, or it refuses.
    """
    path = host.locate(f"{VARIABLES}/{name}-{SECURITY_DATABASE}")
    if not path.parent.is_dir() or not any(path.parent.iterdir()):
        raise UpdateError("this machine was not started by UEFI firmware, or its variables are not shown")
    _make_writable(path)
    attributes = (KEY_ATTRIBUTES | APPEND_WRITE).to_bytes(4, "little")
    try:
        # One write is one call of SetVariable().
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, attributes + data)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EINVAL):
            raise UpdateError(
                f"firmware refuses the change of {name}: it is signed by no key that may change it"
            ) from None
        raise UpdateError(f"firmware did not take the change of {name}: {error.strerror}") from None


def _read_variable(host: Host, name: str, vendor: str | uuid.UUID) -> bytes:
    """Without its attributes; empty where there is none."""
    try:
        return host.locate(f"{VARIABLES}/{name}-{vendor}").read_bytes()[4:]
    except OSError:
        return b""


def _list_loaders(esp: Path) -> Iterator[Path]:
    for directory in _LOADERS:
        for path in sorted((esp / directory).glob("*")):
            if path.suffix.lower() == ".efi":
                yield path


def _make_writable(path: Path) -> None:
    """The kernel guards variables by a flag (efivarfs), so that 'rm -r' deletes none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        flags = array.array("L", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)
        if flags[0] & _IMMUTABLE:
            flags[0] &= ~_IMMUTABLE
            fcntl.ioctl(descriptor, _SET_FLAGS, flags, True)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise UpdateError(f"cannot change {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
