"""A config on a drive or of a metadata service, whichever is there first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from firstboot.config.text import MAX_BYTES
from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.settings import PROVIDER_SECONDS
from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.platforms.shared.config_drive import find_drive, load_drivers, read_drive
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, Service
from firstboot.platforms.shared.openstack_data import LABELS, USER_DATA

_ATTEMPT_SECONDS = 12  # enough for one answer; then the drive is looked for again
_PAUSE_SECONDS = 1.0


def fetch_from_drive_or_service(
    places: Places, log: Log, labels: tuple[str, ...], path: str, find_urls: Callable[[Places], Iterable[str]]
) -> Fetched | None:
    """The config on a drive or at a URL, asked for in turns until one of them answers.

    Args:
        find_urls: gives the URLs to try; they may depend on the network.

    Raises:
        ConfigUnavailable: none has answered after :data:`PROVIDER_SECONDS`. Ignition goes on for ever.
    """
    load_drivers(places)
    clock = places.connector.clock
    deadline = Deadline(clock, PROVIDER_SECONDS)
    reason = "there is no URL to ask"
    while True:
        device = find_drive(places, labels)
        if device is not None:
            files = read_drive(places, device, (path,))
            return files[0] if files else None
        service = Service(places, log)
        for url in find_urls(places):
            until = Deadline(clock, max(min(_ATTEMPT_SECONDS, deadline.left), 0.1))
            try:
                return Fetched(url, service.web.read(Request(url), MAX_BYTES, until))
            except NotFound:
                return None
            except FetchError as error:
                reason = str(error.args[0])
        if deadline.left <= _PAUSE_SECONDS:
            message = f"neither a drive with the label {labels[0]} nor the metadata service was there in time"
            raise ConfigUnavailable(f"{message}: {reason}")
        clock.sleep(_PAUSE_SECONDS)


def fetch_openstack_config(places: Places, log: Log) -> Fetched | None:
    """The config of a server of OpenStack.

    Raises:
        ConfigUnavailable
    """
    return fetch_from_drive_or_service(places, log, LABELS, USER_DATA, _find_openstack_urls)


def _find_openstack_urls(places: Places) -> list[str]:
    """The service's addresses: IPv6's is link-local, so it is asked through every interface."""
    urls = [f"{LINK_LOCAL}{USER_DATA}"]
    for entry in sorted((places.sys / "class" / "net").glob("*")):
        try:
            is_up = int((entry / "flags").read_text(encoding="ascii"), 16) & 1
        except (OSError, ValueError):
            continue
        if is_up and entry.name != "lo":
            urls.append(f"http://[fe80::a9fe:a9fe%25{entry.name}]{USER_DATA}")
    return urls
