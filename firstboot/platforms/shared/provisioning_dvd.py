"""Microsoft's provisioning DVD: a UDF or ISO 9660 disc with ``ovf-env.xml``, which may have a config beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from firstboot.apply.programs import ProgramError
from firstboot.fetch.clock import Deadline
from firstboot.fetch.settings import PROVIDER_SECONDS
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.platforms.shared.config_drive import find_file, load_drivers, mount_drive

CUSTOM_DATA = "/CustomData.bin"
ENVIRONMENT = "/ovf-env.xml"
_CDROM_DRIVE_STATUS, _DISC_OK = 0x5326, 4  # linux/cdrom.h
_POLL_SECONDS = 1.0


def fetch_custom_data(places: Places, log: Log) -> Fetched | None:
    """The config on the DVD; ``None`` if the DVD has none.

    Raises:
        ConfigUnavailable: no such DVD came in time. Ignition waits for ever.
    """
    load_drivers(places)
    clock = places.connector.clock
    deadline = Deadline(clock, PROVIDER_SECONDS)
    while True:
        for device in sorted(places.dev.glob("sr[0-9]*")):
            if has_disc(device):
                try:
                    with mount_drive(places, device, "udf,iso9660") as root:
                        if find_file(root, ENVIRONMENT) is not None:
                            data = find_file(root, CUSTOM_DATA)
                            return None if data is None else Fetched(f"{CUSTOM_DATA} of the DVD {device.name}", data)
                except ProgramError as error:
                    log.note(f"{device.name} is not the provisioning DVD: {error.args[0]}")
        if deadline.left <= _POLL_SECONDS:
            raise ConfigUnavailable(f"no DVD with {ENVIRONMENT.lstrip('/')} came within {PROVIDER_SECONDS} s")
        clock.sleep(_POLL_SECONDS)


def has_disc(device: Path) -> bool:
    """Whether a drive has a disc that can be read."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(fd, _CDROM_DRIVE_STATUS) == _DISC_OK
    except OSError:
        return False
    finally:
        os.close(fd)
