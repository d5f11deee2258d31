"""OpenStack: a config drive or the metadata service, whichever is there first; the service also by IPv6."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from firstboot.fetch import Deadline, FetchError
from firstboot.fetch.settings import PROVIDER_SECONDS
from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched, SourceError
from firstboot.sources.drives import find_drive, load_drivers, read_drive
from firstboot.sources.service import LINK_LOCAL, Service

LABELS = ("config-2",)
PATH = "/openstack/latest/user_data"
_ATTEMPT_SECONDS = 12  # enough for one answer; then the drive is looked for again
_PAUSE_SECONDS = 1.0


def fetch(places: Places, log: Log) -> Fetched | None:
    """The server's user data."""
    return drive_or_service(places, log, LABELS, PATH, lambda: _urls(places))


def drive_or_service(
    places: Places, log: Log, labels: tuple[str, ...], path: str, urls: Callable[[], Iterable[str]]
) -> Fetched | None:
    """The config on a drive or at a URL, asked for in turns until one of them answers.

    Args:
        urls: gives the URLs to try; they may depend on the network.

    Raises:
        SourceError: none has answered after :data:`PROVIDER_SECONDS`. Ignition goes on for ever.
    """
    load_drivers(places)
    clock = places.reach.clock
    deadline = Deadline(clock, PROVIDER_SECONDS)
    reason = "there is no URL to ask"
    while True:
        device = find_drive(places, labels)
        if device is not None:
            found = read_drive(places, device, (path,))
            return found[0] if found else None
        service = Service(places, log)
        for url in urls():
            service.deadline = Deadline(clock, max(min(_ATTEMPT_SECONDS, deadline.left()), 0.1))
            try:
                return service.config(url)
            except FetchError as error:
                reason = str(error.args[0])
        if deadline.left() <= _PAUSE_SECONDS:
            what = f"neither a drive with the label {labels[0]} nor the metadata service was there in time"
            raise SourceError(f"{what}: {reason}")
        clock.sleep(_PAUSE_SECONDS)


def _urls(places: Places) -> list[str]:
    """The service's addresses: IPv6's is link-local, so it is asked through every interface."""
    found = [f"{LINK_LOCAL}{PATH}"]
    for entry in sorted((places.sys / "class" / "net").glob("*")):
        try:
            is_up = int((entry / "flags").read_text(encoding="ascii"), 16) & 1
        except (OSError, ValueError):
            continue
        if is_up and entry.name != "lo":
            found.append(f"http://[fe80::a9fe:a9fe%25{entry.name}]{PATH}")
    return found
