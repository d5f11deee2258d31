"""A machine that nobody gives a config to. What it is to be comes from its image."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Platform


def _fetch_config(places: Places, log: Log) -> None:
    del places, log


PLATFORM = Platform(chosen="otherwise", config="none: the machine is what its image says", fetch_config=_fetch_config)
