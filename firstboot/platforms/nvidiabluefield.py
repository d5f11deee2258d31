"""NVIDIA BlueField: what the host has written into the card's boot FIFO."""

from __future__ import annotations

from firstboot.config.text import MAX_BYTES
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched, Platform

_FIFO = "bus/platform/devices/MLNXBF04:00/bootfifo"


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The FIFO's content; it ends with NUL bytes that are no part of it."""
    del log
    path = places.sys / _FIFO
    try:
        with path.open("rb", buffering=0) as file:
            data = b""
            while part := file.read(1 << 16):
                data += part
                if len(data) > MAX_BYTES:
                    raise ConfigUnavailable(f"the config in the boot FIFO is larger than {MAX_BYTES} bytes")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigUnavailable(f"the boot FIFO cannot be read: {error.strerror}") from None
    return Fetched("the boot FIFO", data.strip(b"\0"))


PLATFORM = Platform(
    config="what the host has written into the boot FIFO", fetch_config=_fetch_config, modules=("mlxbf_bootctl",)
)
