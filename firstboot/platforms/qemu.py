"""QEMU: its fw_cfg device (docs/specs/fw_cfg.rst), or a block device with the serial number ``ignition``.

``-fw_cfg name=opt/com.coreos/config,file=machine.yaml``, or where there is no such device, as on s390x and ppc64le,
``-drive if=none,id=config,format=raw,file=machine.yaml,readonly=on -device virtio-blk,serial=ignition,drive=config``.

What whoever starts the machine has to add is beside it, below ``opt/org.buildos/base/``: the config itself stays as it
was written, so that messages name the user's own lines.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from firstboot.config.text import MAX_BYTES
from firstboot.fetch.clock import Deadline
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched, Platform

_FW_CFG = ("firmware/qemu_fw_cfg", "qemu_fw_cfg")
_KEYS = ("opt/com.coreos/config", "opt/org.flatcar-linux/config")
_BASE = "opt/org.buildos/base"
_SERIAL = "ignition"
_CHUNK = 1 << 20
_WITHOUT_FW_CFG = ("s390x", "ppc64le")
_BLOCK_DEVICE_SECONDS, _POLL_SECONDS = 300, 5


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The first of the keys that is there, else what is on the block device."""
    directory = _find_fw_cfg(places)
    for key in _KEYS:
        entry = directory / "by_name" / key
        if entry.is_dir():
            return Fetched(f"fw_cfg {key}", _read_entry(entry, key))
    return _read_block_device(places, log)


def _fetch_base_configs(places: Places) -> list[Fetched]:
    """What is below the base directory, in the order of the names.

    Raises:
        ConfigUnavailable: one cannot be read.
    """
    directory = _find_fw_cfg(places) / "by_name" / _BASE
    if not directory.is_dir():
        return []
    return [
        Fetched(f"fw_cfg {_BASE}/{entry.name}", _read_entry(entry, f"{_BASE}/{entry.name}"))
        for entry in sorted(directory.iterdir())
    ]


def _read_block_device(places: Places, log: Log) -> Fetched | None:
    """What is on the block device. Where there is nothing else it is waited for."""
    clock = places.connector.clock
    deadline = Deadline(clock, _BLOCK_DEVICE_SECONDS if os.uname().machine in _WITHOUT_FW_CFG else 0)
    while (device := _find_block_device(places)) is None:
        if deadline.left <= 0:
            return None
        log.note(f"waiting for a block device with the serial number {_SERIAL}")
        clock.sleep(_POLL_SECONDS)
    try:
        with (places.dev / device).open("rb", buffering=0) as file:
            data = file.read(MAX_BYTES + 1) or b""
    except OSError as error:
        raise ConfigUnavailable(f"the config on {device} cannot be read: {error.strerror}") from None
    data = data.rstrip(b"\0")  # it ends with a sector
    if len(data) > MAX_BYTES:
        raise ConfigUnavailable(f"the config on {device} is larger than the {MAX_BYTES} bytes that are read")
    return Fetched(f"block device {device}", data)


def _find_block_device(places: Places) -> str | None:
    """The name of the device with our serial number."""
    for path in sorted((places.sys / "class" / "block").glob("*/serial")):
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii", errors="replace").strip("\0 \n") == _SERIAL:
                return path.parent.name
    return None


def _find_fw_cfg(places: Places) -> Path:
    """The device's directory. It shows up only once its driver is loaded."""
    directory, module = _FW_CFG
    if not (places.sys / directory).is_dir():
        places.load_module(module)
    return places.sys / directory


def _read_entry(entry: Path, key: str) -> bytes:
    """All of it. Read in pieces as large as the kernel gives them: it starts over from the front for each."""
    try:
        size = int((entry / "size").read_text(encoding="ascii"))
        if size > MAX_BYTES:
            raise ConfigUnavailable(f"the config in fw_cfg {key} is {size} bytes long; at most {MAX_BYTES} are read")
        data = b""
        fd = os.open(entry / "raw", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while len(data) < size and (part := os.read(fd, max(_CHUNK, size - len(data)))):
                data += part
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise ConfigUnavailable(f"the config in fw_cfg {key} cannot be read: {error}") from None
    if len(data) != size:
        raise ConfigUnavailable(f"the config in fw_cfg {key} is cut short: {len(data)} of {size} bytes")
    return data


PLATFORM = Platform(
    device=_FW_CFG,
    chosen="QEMU's fw_cfg device",
    config=f"fw_cfg `{_KEYS[0]}`, else `{_KEYS[1]}`, else the block device with the serial number `{_SERIAL}`; "
    "`build-os run --config FILE` sets the first, or makes the device if the file has more than 64 KiB, because fw_cfg "
    f"takes minutes for megabytes. What is below fw_cfg `{_BASE}` is merged under it, after the image's own base "
    "configs",
    fetch_config=_fetch_config,
    fetch_base_configs=_fetch_base_configs,
)
