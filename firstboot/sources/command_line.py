"""A config that the kernel's command line names: by a URL, or on a device with a label. It goes before all others.

Where the command line is part of a signed image this is the image's own word; elsewhere whoever can change the command
line could as well boot another system.
"""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.fetcher import Fetcher
from firstboot.fetch.settings import PROVIDER_SECONDS, Settings
from firstboot.log import Log
from firstboot.network import bring_up
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.platforms.shared.config_drive import read_drive, wait_for_drive

URL, DEVICE, PATH = "ignition.config.url", "ignition.config.device", "ignition.config.path"
DEVICE_SECONDS = 30


class Named(NamedTuple):
    """What the command line names; of each argument the last one counts."""

    url: str
    device: str
    path: str


def find_named(places: Places) -> Named | None:
    """The config that is named, if one is."""
    values = {URL: "", DEVICE: "", PATH: ""}
    for word in places.read_command_line().split():
        name, equals, value = word.partition("=")
        if equals and name in values:
            values[name] = value
    named = Named(values[URL], values[DEVICE], values[PATH])
    return named if any(named) else None


def fetch_named(named: Named, platform: str, places: Places, log: Log) -> Fetched:
    """The config.

    Raises:
        FetchError: it cannot be had, or device and path are not named together.
    """
    if named.url:
        if not named.url.startswith("data:"):
            bring_up(places, log)
        fetcher = Fetcher(places.connector, platform, log.wait, Settings(total_seconds=PROVIDER_SECONDS))
        return Fetched(f"the config of {URL}=", fetcher.fetch_url(named.url, MAX_BYTES))
    if not named.device or not named.path:
        raise ConfigUnavailable(f"the kernel's command line has only one of {DEVICE}= and {PATH}=", "name both")
    device = wait_for_drive(places, log, (named.device,), DEVICE_SECONDS)
    if device is None:
        raise ConfigUnavailable(f"no device with the label {named.device} came within {DEVICE_SECONDS} s")
    files = read_drive(places, device, (named.path,))
    if not files:
        raise ConfigUnavailable(f"there is no {named.path} on the device with the label {named.device}")
    return files[0]
