"""KubeVirt: a drive of either of the kinds that cloud-init reads."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched, SourceError
from firstboot.sources.drives import read_drive, wait_for_drive

LABELS = ("cidata", "config-2")
PATHS = ("/user-data", "/openstack/latest/user_data")  # of NoCloud, and of OpenStack


def fetch(places: Places, log: Log) -> Fetched | None:
    """The drive's user data."""
    device = wait_for_drive(places, log, LABELS)
    if device is None:
        hint = "give the machine a volume cloudInitNoCloud or cloudInitConfigDrive"
        raise SourceError(f"no drive with the label {' or '.join(LABELS)} came in time", hint)
    found = read_drive(places, device, PATHS)
    return found[0] if found else None
