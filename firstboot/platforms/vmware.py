"""VMware: variables ``guestinfo.*`` of the virtual machine, or properties of the appliance it was deployed from.

The variables are asked for over a vsock to the hypervisor, or by open-vm-tools' own program. Each message is a
big-endian length and a map of numbered fields, each with a type (open-vm-tools, lib/dataMap). A virtual machine needs
virtual hardware of version 11 or newer for the vsock; before that only the program helps. The properties are those of
an OVF environment (DMTF DSP0243, section 11).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from xml.etree import ElementTree

from firstboot.apply.programs import ProgramError
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import HYPERVISOR, ConfigUnavailable, Fetched, Platform
from firstboot.platforms.shared.encodings import decode_base64, decompress_gzip

_CONFIG, _ENCODING = "ignition.config.data", "ignition.config.data.encoding"
_OVF_ENVIRONMENT = "ovfenv"
_BASE64 = ("base64", "b64")
_GZIP = ("gzip", "gz")
_NOTHING = ("e30K", "base64")  # "{}": a variable cannot be deleted
OVF_NAMESPACE = "http://schemas.dmtf.org/ovf/environment/1"
_PROPERTY, _KEY, _VALUE = (f"{{{OVF_NAMESPACE}}}{name}" for name in ("Property", "key", "value"))
_SECTION = f"{{{OVF_NAMESPACE}}}PropertySection"
_PROGRAM = "vmware-rpctool"
_HYPERVISOR_CID, _PORT = 0, 976
_PRIVILEGED_PORTS = range(1023, 512, -1)
_NUMBER, _TEXT = 1, 2
_KIND, _PAYLOAD, _CLOSE_AFTER = 1, 2, 3
_DATA = 1
_SECONDS = 10.0
_LARGEST = 2 * MAX_BYTES  # base64 included


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The value of ``guestinfo.ignition.config.data``, else of the OVF property of that name."""
    del log
    info = GuestInfo(places)
    value = info.find(_CONFIG)
    if value:
        return decode_config(f"guestinfo.{_CONFIG}", value, info.find(_ENCODING) or "")
    environment = info.find(_OVF_ENVIRONMENT)
    properties = read_properties(environment) if environment else {}
    value = properties.get(f"guestinfo.{_CONFIG}")
    if not value:
        return None
    return decode_config(f"OVF property guestinfo.{_CONFIG}", value, properties.get(f"guestinfo.{_ENCODING}", ""))


def decode_config(name: str, value: str, encoding: str) -> Fetched:
    """The config as it was before it was encoded.

    Raises:
        ConfigUnavailable: the encoding is unknown, or the value is not so encoded.
    """
    fetched = Fetched(name, value.encode("utf-8"))
    if not encoding:
        return fetched
    compression, plus, base = encoding.partition("+")
    if encoding in _BASE64 or (plus and compression in _GZIP and base in _BASE64):
        plain = decode_base64(fetched)
        return decompress_gzip(plain) if plus else plain
    if encoding in _GZIP:  # bytes that came through text
        return decompress_gzip(Fetched(name, value.encode("latin-1", "replace")))
    raise ConfigUnavailable(f"{name} has the encoding '{encoding}', which is not known", "known: base64, gzip+base64")


def _delete_config(places: Places, log: Log) -> None:
    """Take the config away: everybody in the machine who may open a vsock could read it."""
    del log
    info = GuestInfo(places)
    if info.find(_CONFIG):
        data, encoding = _NOTHING
        info.set(_CONFIG, data)
        info.set(_ENCODING, encoding)
    environment = info.find(_OVF_ENVIRONMENT)
    keys = (f"guestinfo.{_CONFIG}", f"guestinfo.{_ENCODING}")
    if environment and any(read_properties(environment).get(key) for key in keys):
        info.set(_OVF_ENVIRONMENT, remove_properties(environment, keys))


class GuestInfo:
    """Reads and sets the variables."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def find(self, name: str) -> str | None:
        """The value of ``guestinfo.NAME``; ``None`` or empty if it is not set.

        Raises:
            ConfigUnavailable
        """
        is_good, text = self._send(f"info-get guestinfo.{name}")
        return text if is_good else None

    def set(self, name: str, value: str) -> None:
        """Set ``guestinfo.NAME``.

        Raises:
            ConfigUnavailable
        """
        is_good, text = self._send(f"info-set guestinfo.{name} {value}")
        if not is_good:
            raise ConfigUnavailable(f"guestinfo.{name} cannot be set: {text}")

    def _send(self, command: str) -> tuple[bool, str]:
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
            connector = self._places.connector
            connection = connector.connect_vsock(_HYPERVISOR_CID, _PORT, _SECONDS, source_ports=_PRIVILEGED_PORTS)
            with closing(connection), connection.makefile("rb") as reader:
                connection.settimeout(connector.clock.convert_to_real(_SECONDS))
                connection.sendall(make_message(command))
                head = reader.read(4)
                size = struct.unpack("!I", head)[0] if len(head) == 4 else 0
                if not 0 < size <= _LARGEST:
                    raise ConfigUnavailable("the hypervisor's answer is not understood")
                return parse_message(reader.read(size))
        except OSError as error:
            raise ConfigUnavailable(f"the hypervisor does not answer: {error.strerror or error}") from None

    def _ask_program(self, command: str, reason: str) -> tuple[bool, str]:
        if self._places.programs.find(_PROGRAM) is None:
            hint = "the virtual machine needs hardware version 11 or newer, or the image the package open-vm-tools"
            raise ConfigUnavailable(f"VMware's guestinfo cannot be read: {reason}", hint)
        try:
            status, output = self._places.programs.run_for_status([_PROGRAM, command])
        except ProgramError as error:
            raise ConfigUnavailable(f"VMware's guestinfo cannot be read: {error}") from None
        return status == 0, output.rstrip("\n")


def make_message(command: bytes) -> bytes:
    """A command as a message that ends the connection with its answer."""
    entries = _make_number(_KIND, _DATA) + struct.pack("!III", _TEXT, _PAYLOAD, len(command)) + command
    entries += _make_number(_CLOSE_AFTER, 1)
    return struct.pack("!I", len(entries)) + entries


def _make_number(field: int, value: int) -> bytes:
    """A field with a number of 64 bits, whose lower half comes first."""
    return struct.pack("!IIII", _NUMBER, field, value & 0xFFFFFFFF, value >> 32)


def parse_message(entries: bytes) -> bytes:
    """The payload of a message without its length.

    Raises:
        ConfigUnavailable: it has none.
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
    raise ConfigUnavailable("the hypervisor's answer is not understood")


def read_properties(text: str) -> dict[str, str]:
    """The properties by their keys.

    Raises:
        ConfigUnavailable: it is no such document.
    """
    return {item.get(_KEY, ""): item.get(_VALUE, "") for _, item in _find_properties(_parse_environment(text))}


def remove_properties(text: str, keys: Iterable[str]) -> str:
    """The document without some properties.

    Raises:
        ConfigUnavailable: it is no such document.
    """
    root = _parse_environment(text)
    gone = set(keys)
    for section, item in list(_find_properties(root)):
        if item.get(_KEY) in gone:
            section.remove(item)
    ElementTree.register_namespace("oe", OVF_NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _find_properties(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    for section in root.iter(_SECTION):
        for item in section.findall(_PROPERTY):
            yield section, item


def _parse_environment(text: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # nothing of OVF needs these, and bombs are made of them
        raise ConfigUnavailable("the OVF environment defines entities, which is refused")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigUnavailable(f"the OVF environment is not valid XML: {error}") from None


PLATFORM = Platform(
    firmware=(("sys_vendor", "VMware"),),
    layer=HYPERVISOR,
    config=f"`guestinfo.{_CONFIG}`, encoded as `guestinfo.{_ENCODING}` says, else the OVF property of that name",
    fetch_config=_fetch_config,
    delete_config=_delete_config,
    modules=("vmw_vmci", "vmw_vsock_vmci_transport"),
    needs="virtual hardware of version 11 or newer, which answers by vsock; or the package `open-vm-tools`",
)
