"""VirtualBox: a guest property, read through the guest driver (linux/vboxguest.h; service VBoxGuestPropSvc)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from firstboot.config.text import MAX_BYTES
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import HYPERVISOR, ConfigUnavailable, Fetched, Platform

_CONFIG, _ENCODING = "/Ignition/Config", "/Ignition/Config/Encoding"
_SERVICE = b"VBoxGuestPropSvc"
_GET, _DELETE = 1, 4  # functions of the service
_HEADER = struct.Struct("=IIIiII")  # size_in, version, type, rc, size_out, reserved
_HEADER_VERSION = 0x10001
_CALL = struct.Struct("=IIIBBH")  # client, function, milliseconds, interruptible, reserved, parameters
_PARAMETER = struct.Struct("=IIQ")  # type, and size and address of a buffer or one number
_NUMBER32, _NUMBER64, _BUFFER, _BUFFER_IN = 1, 2, 4, 5
_EXISTING_SERVICE = 2
_NOT_FOUND, _OVERFLOW = -78, -41  # VERR_NOT_FOUND, VERR_BUFFER_OVERFLOW
_MILLISECONDS = 10_000


class _HostError(Exception):
    """The host's status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"VirtualBox status {status}")
        self.status = status


class GuestProperties:
    """A session with the service of guest properties."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._send(0, struct.pack("=IIII", 0x10000, 0x10000, 0, 0), 20)  # the interface's version
        name = struct.pack("=I128s", _EXISTING_SERVICE, _SERVICE)
        (self._client,) = struct.unpack_from("=I", self._send(4, name, 4), _HEADER.size)

    def close(self) -> None:
        """End it."""
        self._send(5, struct.pack("=I", self._client), 0)

    def find(self, name: str) -> bytes | None:
        """The value of a property, without the flags that follow it."""
        size = 1
        while True:
            buffer = ctypes.create_string_buffer(size)
            wanted = ctypes.create_string_buffer(name.encode())
            parameters = [
                (_BUFFER_IN, len(wanted), ctypes.addressof(wanted)),
                (_BUFFER, size, ctypes.addressof(buffer)),
                (_NUMBER64, 0, 0),  # when it was set
                (_NUMBER32, 0, 0),  # how large it is
            ]
            try:
                answer = self._call(_GET, parameters)
            except _HostError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise
            status = _HEADER.unpack_from(answer)[3]
            needed = struct.unpack_from("=I", answer, len(answer) - _PARAMETER.size + 4)[0]
            if status != _OVERFLOW:
                return buffer.raw.split(b"\0")[0]
            if needed <= size or needed > MAX_BYTES:
                raise ConfigUnavailable(f"the guest property {name} is {needed} bytes long, which cannot be read")
            size = needed

    def delete(self, name: str) -> None:
        """Delete a property; that there is none is no error."""
        wanted = ctypes.create_string_buffer(name.encode())
        try:
            self._call(_DELETE, [(_BUFFER_IN, len(wanted), ctypes.addressof(wanted))])
        except _HostError as error:
            if error.status != _NOT_FOUND:
                raise

    def _call(self, function: int, parameters: list[tuple[int, int, int]]) -> bytes:
        """Call a function of the service; the answer is the whole message, parameters changed."""
        body = _CALL.pack(self._client, function, _MILLISECONDS, 1, 0, len(parameters))
        body += b"".join(_PARAMETER.pack(*parameter) for parameter in parameters)
        return self._send(7, body, len(body), allowed=(_OVERFLOW,))

    def _send(self, number: int, body: bytes, answer_bytes: int, allowed: tuple[int, ...] = ()) -> bytes:
        """One ioctl: a header and a body, which the driver replaces by its answer."""
        size_in, size_out = _HEADER.size + len(body), _HEADER.size + answer_bytes
        header = _HEADER.pack(size_in, _HEADER_VERSION, 0, 0, size_out, 0)
        message = bytearray((header + body).ljust(max(size_in, size_out), b"\0"))
        # _IOWR('V', number, message)
        fcntl.ioctl(self._fd, 0xC0000000 | len(message) << 16 | ord("V") << 8 | number, message)
        status = _HEADER.unpack_from(message)[3]
        if status < 0 and status not in allowed:
            raise _HostError(status)
        return bytes(message[:size_out])


@contextmanager
def _open_properties(places: Places) -> Iterator[GuestProperties]:
    try:
        fd = os.open(places.dev / "vboxguest", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        what = f"the driver for VirtualBox guests is not there: {error.strerror}"
        raise ConfigUnavailable(what, "the image needs a kernel with the module vboxguest") from None
    try:
        properties = GuestProperties(fd)
        yield properties
        properties.close()
    except (_HostError, OSError) as error:
        raise ConfigUnavailable(f"VirtualBox' guest properties cannot be used: {error}") from None
    finally:
        os.close(fd)


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The value of the property."""
    del log
    with _open_properties(places) as properties:
        encoding = properties.find(_ENCODING)
        if encoding:
            raise ConfigUnavailable(
                f"the guest property {_ENCODING} is not empty", "the config is given as it is: delete it"
            )
        value = properties.find(_CONFIG)
    return None if value is None else Fetched(f"guest property {_CONFIG}", value)


def _delete_config(places: Places, log: Log) -> None:
    """Delete the config: it would stay readable for whoever runs in the machine."""
    del log
    with _open_properties(places) as properties:
        properties.delete(_CONFIG)
        properties.delete(_ENCODING)


PLATFORM = Platform(
    firmware=(("product_name", "VirtualBox"),),
    layer=HYPERVISOR,
    config=f"guest property `{_CONFIG}`",
    fetch_config=_fetch_config,
    delete_config=_delete_config,
    modules=("vboxguest",),
    needs="a kernel with the module `vboxguest`: Debian's cloud kernel has none",
)
