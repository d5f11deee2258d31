"""A file on the machine itself: for tests and conformance runs, as in Ignition."""

from __future__ import annotations

import os
from pathlib import Path

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched, SourceError


def fetch(places: Places, log: Log) -> Fetched | None:
    """``$IGNITION_CONFIG_FILE``, else ``config.ign`` in the working directory."""
    del places, log
    path = Path(os.environ.get("IGNITION_CONFIG_FILE", "config.ign"))
    try:
        return Fetched(str(path), path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
