"""One download: what the file of its scheme gets to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.clock import Deadline
from firstboot.fetch.connector import Connector
from firstboot.fetch.settings import Settings

if TYPE_CHECKING:
    from firstboot.config.models import HttpHeader


class Download(NamedTuple):
    """What is to be read, and how.

    Attributes:
        headers: that the config wants to be sent.
        deadline: for all attempts.
        say: gets a line for whoever reads the log.
        platform: Ignition's name of it; some have credentials for their own stores.
    """

    url: str
    headers: tuple[HttpHeader, ...]
    deadline: Deadline
    connector: Connector
    settings: Settings
    say: Callable[[str], None]
    platform: str
