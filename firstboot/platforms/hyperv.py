"""Hyper-V: key-value pairs that the host sets, pool "external" (linux/hyperv.h; kernel driver hv_utils).

The kernel passes the host's messages to one program, in the manner of hv_kvp_daemon(8), and only once: what else came
is kept where that daemon keeps it.
"""

from __future__ import annotations

import os
import select
import struct

from firstboot.config.text import MAX_BYTES
from firstboot.fetch.clock import Clock, Deadline
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import HYPERVISOR, ConfigUnavailable, Fetched, Platform

KEY = "ignition.config"
POOLS_DIRECTORY = "/var/lib/hyperv"
_DEVICE = "vmbus/hv_kvp"
_KEY_BYTES, _VALUE_BYTES = 512, 2048
_MESSAGE_BYTES = 4 + 7426  # struct hv_kvp_msg: its header, and the largest member of its union
_SET, _REGISTER = 1, 100
_OK, _NOT_SUPPORTED = 0x00000000, 0x80070032
_POOLS = 5
_IDLE_SECONDS, _SECONDS = 2.0, 60.0

Pool = dict[str, bytes]


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The value of :data:`KEY`, or those of ``KEY.0``, ``KEY.1`` and so on: a value has at most 2 KB."""
    try:
        fd = os.open(places.dev / _DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        log.note("there is no Hyper-V key-value device")
        return None
    except OSError as error:
        raise ConfigUnavailable(f"Hyper-V's key-value device cannot be opened: {error.strerror}") from None
    try:
        pools = receive_pools(fd, places.connector.clock)
    except OSError as error:
        raise ConfigUnavailable(f"Hyper-V's key-value device cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    _write_pools(places, pools)
    value = find_config(pools[0])
    return None if value is None else Fetched(f"Hyper-V key {KEY}", value)


def receive_pools(fd: int, clock: Clock) -> list[Pool]:
    """What the host sets once we have registered, until it has nothing more to say.

    Raises:
        OSError
    """
    pools: list[Pool] = [{} for _ in range(_POOLS)]
    os.write(fd, struct.pack("=BBH", _REGISTER, 0, 0).ljust(_MESSAGE_BYTES, b"\0"))
    end = Deadline(clock, _SECONDS)
    while end.left > 0 and select.select([fd], [], [], clock.convert_to_real(_IDLE_SECONDS))[0]:
        message = os.read(fd, _MESSAGE_BYTES)
        if not message:
            break
        operation, pool = struct.unpack_from("=BB", message)
        if operation == _REGISTER:  # the driver's answer: its version
            continue
        is_set = operation == _SET and pool < _POOLS
        if is_set:
            key, value = _parse_pair(message)
            pools[pool][key] = value
        # An answer is the message with a status for a header.
        os.write(fd, struct.pack("=I", _OK if is_set else _NOT_SUPPORTED) + message[4:])
    return pools


def _parse_pair(message: bytes) -> tuple[str, bytes]:
    """Key and value of struct hv_kvp_exchg_msg_value; both lengths count a NUL at the end."""
    _, key_bytes, value_bytes = struct.unpack_from("=III", message, 4)
    key = message[16 : 16 + min(key_bytes, _KEY_BYTES)]
    start = 16 + _KEY_BYTES
    value = message[start : start + min(value_bytes, _VALUE_BYTES)]
    return key.split(b"\0")[0].decode("utf-8", "replace"), value.split(b"\0")[0]


def find_config(pool: Pool) -> bytes | None:
    """The config in a pool, if there is one.

    Raises:
        ConfigUnavailable: it is too large.
    """
    if KEY in pool:
        return pool[KEY]
    parts: list[bytes] = []
    while (part := pool.get(f"{KEY}.{len(parts)}")) is not None:
        parts.append(part)
    if sum(map(len, parts)) > MAX_BYTES:
        raise ConfigUnavailable(f"the config in Hyper-V's key-value pairs is larger than {MAX_BYTES} bytes")
    return b"".join(parts) if parts else None


def _write_pools(places: Places, pools: list[Pool]) -> None:
    """Write the pools as hv_kvp_daemon does: records of a key and a value, each padded with NULs."""
    directory = places.locate(POOLS_DIRECTORY)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for number, pool in enumerate(pools):
        records = [
            key.encode().ljust(_KEY_BYTES, b"\0") + value.ljust(_VALUE_BYTES, b"\0") for key, value in pool.items()
        ]
        path = directory / f".kvp_pool_{number}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(b"".join(records))


PLATFORM = Platform(
    firmware=(("product_name", "Virtual Machine"),),  # Microsoft's; Azure's has an asset tag as well
    layer=HYPERVISOR,
    config=f"the host's key-value pair `{KEY}`, or `{KEY}.0`, `.1` and so on, joined",
    fetch_config=_fetch_config,
    modules=("hv_utils",),
)
