"""A file on the machine itself: for tests and conformance runs, as in Ignition."""

from __future__ import annotations

import os
from pathlib import Path

from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched, Platform


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """``$IGNITION_CONFIG_FILE``, else ``config.ign`` in the working directory."""
    del places, log
    path = Path(os.environ.get("IGNITION_CONFIG_FILE", "config.ign"))
    try:
        return Fetched(str(path), path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigUnavailable(f"{path} cannot be read: {error.strerror}") from None


PLATFORM = Platform(chosen="by name, for tests", config="`$IGNITION_CONFIG_FILE`", fetch_config=_fetch_config)
