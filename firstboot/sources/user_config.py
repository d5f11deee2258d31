"""The machine's own config: the one that the kernel's command line names, else its platform's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.config.lazy import import_lazily
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched, import_platform

if TYPE_CHECKING:
    from firstboot.sources import command_line
else:
    command_line = import_lazily("firstboot.sources.command_line")


def fetch_config(platform: str, places: Places, log: Log) -> Fetched | None:
    """The machine's config.

    Raises:
        FetchError: it should be there and cannot be had.
    """
    with log.follow_operation(f"fetch config from {platform}"):
        if "ignition.config." in places.read_command_line():
            named = command_line.find_named(places)
            if named is not None:
                return command_line.fetch_named(named, platform, places, log)
        return fetch_from_platform(platform, places, log)


def fetch_from_platform(name: str, places: Places, log: Log) -> Fetched | None:
    """The config that a platform has for this machine.

    Raises:
        FetchError: it should be there and cannot be had.
    """
    platform = import_platform(name)
    platform.load_modules(places)
    return platform.fetch_config(places, log)


def fetch_base_configs(platform: str, places: Places) -> tuple[Fetched, ...]:
    """Configs that the platform adds to the image's own; the machine's is merged over all of them.

    Raises:
        FetchError: one cannot be read.
    """
    fetch = import_platform(platform).fetch_base_configs
    return () if fetch is None else tuple(fetch(places))
