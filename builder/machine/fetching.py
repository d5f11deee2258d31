"""Fetching what a config names, for somebody who sits and waits: seconds, where a first boot takes minutes."""

from __future__ import annotations

import sys

from firstboot.config.models import Ignition
from firstboot.fetch import Fetcher
from firstboot.fetch.settings import Settings
from firstboot.log import Log
from firstboot.places import Places
from firstboot.remote import Remote

TOTAL_SECONDS = 15  # unless the config says how long


class PatientForSeconds(Remote):
    """A :class:`Remote` of no platform, which says on standard error what it waits for."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        log = Log(sys.stderr, priorities=False)
        places = Places()
        fetcher = fetcher or Fetcher(places.reach, "metal", log.info, Settings(total_seconds=TOTAL_SECONDS))
        super().__init__(places, "metal", log, fetcher=fetcher)

    def configured(self, ignition: Ignition) -> PatientForSeconds:
        """The same with the timeouts, proxies and certificate authorities of a config."""
        timeouts = ignition.timeouts
        if timeouts.http_total is None:
            timeouts = timeouts.model_copy(update={"http_total": TOTAL_SECONDS})
        return PatientForSeconds(self._fetcher.configured(ignition.model_copy(update={"timeouts": timeouts})))
