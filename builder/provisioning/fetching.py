"""Fetching what a config names, for somebody who sits and waits: seconds, where a first boot takes minutes."""

from __future__ import annotations

import sys

from firstboot.engine.remote import Remote
from firstboot.log import Log
from firstboot.places import Places

TOTAL_SECONDS = 15  # unless the config says how long


def make_remote() -> Remote:
    """Fetches as a machine of no platform would, and says on standard error what it waits for."""
    return Remote(Places(), "metal", Log(sys.stderr, priorities=False), patience=TOTAL_SECONDS)
