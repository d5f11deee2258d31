"""VMware's variables ``guestinfo.*``, asked for over a vsock to the hypervisor, or by open-vm-tools' own program.

Each message is a big-endian length and a map of numbered fields, each with a type (open-vm-tools, lib/dataMap). A
virtual machine needs virtual hardware of version 11 or newer for the vsock; before that only the program helps.
"""

from __future__ import annotations

import struct
from contextlib import closing

from firstboot.apply.programs import ProgramError
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.errors import FetchError
from firstboot.places import Places
from firstboot.sources import SourceError

PROGRAM = "vmware-rpctool"
_HYPERVISOR_CID, _PORT = 0, 976
_PRIVILEGED_PORTS = range(1023, 512, -1)
_NUMBER, _TEXT = 1, 2
_KIND, _PAYLOAD, _CLOSE_AFTER = 1, 2, 3
_DATA = 1
_SECONDS = 10.0
_LARGEST = 2 * MAX_BYTES  # base64 included


class GuestInfo:
    """Reads and sets the variables."""

    def __init__(self, places: Places) -> None:
        self._places = places
        for module in ("vmw_vmci", "vmw_vsock_vmci_transport"):
            places.load_module(module)

    def find(self, name: str) -> str | None:
        """The value of ``guestinfo.NAME``; ``None`` or empty if it is not set.

        Raises:
            SourceError
        """
        is_good, text = self._ask(f"info-get guestinfo.{name}")
        return text if is_good else None

    def set(self, name: str, value: str) -> None:
        """Set ``guestinfo.NAME``.

        Raises:
            SourceError
        """
        is_good, text = self._ask(f"info-set guestinfo.{name} {value}")
        if not is_good:
            raise SourceError(f"guestinfo.{name} cannot be set: {text}")

    def _ask(self, command: str) -> tuple[bool, str]:
        try:
            reply = self._ask_hypervisor(command.encode("utf-8"))
        except FetchError as error:
            return self._ask_program(command, str(error.args[0]))
        return reply.startswith(b"1"), reply[2:].decode("utf-8", "replace").rstrip("\0")

    def _ask_hypervisor(self, command: bytes) -> bytes:
        """Send one command and return the reply: ``1 VALUE``, or ``0 REASON``.

        Raises:
            FetchError
        """
        try:
            reach = self._places.reach
            connection = reach.vsock(_HYPERVISOR_CID, _PORT, _SECONDS, source_ports=_PRIVILEGED_PORTS)
            with closing(connection), connection.makefile("rb") as reader:
                connection.settimeout(reach.clock.real(_SECONDS))
                connection.sendall(packed(command))
                head = reader.read(4)
                size = struct.unpack("!I", head)[0] if len(head) == 4 else 0
                if not 0 < size <= _LARGEST:
                    raise SourceError("the hypervisor's answer is not understood")
                return payload_of(reader.read(size))
        except OSError as error:
            raise SourceError(f"the hypervisor does not answer: {error.strerror or error}") from None

    def _ask_program(self, command: str, reason: str) -> tuple[bool, str]:
        if self._places.programs.find(PROGRAM) is None:
            hint = "the virtual machine needs hardware version 11 or newer, or the image the package open-vm-tools"
            raise SourceError(f"VMware's guestinfo cannot be read: {reason}", hint)
        try:
            status, output = self._places.programs.status([PROGRAM, command])
        except ProgramError as error:
            raise SourceError(f"VMware's guestinfo cannot be read: {error}") from None
        return status == 0, output.rstrip("\n")


def packed(command: bytes) -> bytes:
    """A command as a message that ends the connection with its answer."""
    entries = _number(_KIND, _DATA) + struct.pack("!III", _TEXT, _PAYLOAD, len(command)) + command
    entries += _number(_CLOSE_AFTER, 1)
    return struct.pack("!I", len(entries)) + entries


def _number(field: int, value: int) -> bytes:
    """A field with a number of 64 bits, whose lower half comes first."""
    return struct.pack("!IIII", _NUMBER, field, value & 0xFFFFFFFF, value >> 32)


def payload_of(entries: bytes) -> bytes:
    """The payload of a message without its length.

    Raises:
        SourceError: it has none.
    """
    at = 0
    try:
        while at < len(entries):
            kind, field = struct.unpack_from("!II", entries, at)
            at += 8
            if kind == _NUMBER:
                at += 8
                continue
            (size,) = struct.unpack_from("!I", entries, at)
            at += 4
            if kind != _TEXT or at + size > len(entries):
                break
            if field == _PAYLOAD:
                return entries[at : at + size]
            at += size
    except struct.error:
        pass
    raise SourceError("the hypervisor's answer is not understood")
