"""What a config names by a URL: fetched by the rules of that config, over a network that is brought up for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Literal

from firstboot.config.resource import BadResource, is_inline
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.errors import FetchError, NeedsNetwork, WrongHash
from firstboot.fetch.fetcher import Fetcher
from firstboot.fetch.settings import Settings
from firstboot.fetch.url_text import redact_url
from firstboot.log import Log
from firstboot.network import bring_up
from firstboot.places import Places

if TYPE_CHECKING:
    from firstboot.config.models import Ignition, Resource

MAX_KEY_BYTES = 8 << 20  # what cryptsetup(8) reads of a key file


class Remote:
    """Fetches for the configs of a machine; see :class:`firstboot.config.rendering.Remote`.

    Args:
        platform: Ignition's name of it; some have credentials for their own stores.
        offline: raise :class:`NeedsNetwork` instead of using a network.
        patience: seconds for one resource with all its attempts, 0 for ever, where a config does not say how many;
            without it those of a first boot.
    """

    def __init__(
        self,
        places: Places,
        platform: str,
        log: Log,
        *,
        offline: bool = False,
        patience: int | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._places = places
        self._platform = platform
        self._log = log
        self._offline = offline
        self._patience = patience
        settings = Settings() if patience is None else Settings(total_seconds=patience or None)
        self._fetcher = Fetcher(places.connector, platform, log.wait, settings) if fetcher is None else fetcher

    def adapt_to(self, ignition: Ignition) -> Remote:
        """The same with the timeouts, proxies and certificate authorities of a config."""
        timeouts = ignition.timeouts
        if self._patience is not None and timeouts.http_total is None:
            timeouts = timeouts.model_copy(update={"http_total": self._patience})
            ignition = ignition.model_copy(update={"timeouts": timeouts})
        return Remote(
            self._places,
            self._platform,
            self._log,
            offline=self._offline,
            patience=self._patience,
            fetcher=self._fetcher.adapt_to(ignition),
        )

    def read(self, resource: Resource, *, lower_case_hash: bool = False) -> bytes:
        """The bytes of a config, at most as many as one may have."""
        with self._fetching(resource):
            return self._fetcher.fetch(resource, limit=MAX_BYTES, lower_case_hash=lower_case_hash)

    def read_authorities(self, resource: Resource) -> bytes:
        """A bundle of certificates."""
        with self._fetching(resource):
            return self._fetcher.fetch_authorities(resource).encode()

    def read_key(self, resource: Resource) -> bytes:
        """The key of an encrypted device."""
        with self._fetching(resource):
            return self._fetcher.fetch(resource, limit=MAX_KEY_BYTES)

    def read_into(self, resource: Resource, file: IO[bytes]) -> None:
        """The bytes of a file."""
        with self._fetching(resource):
            self._fetcher.fetch_into(resource, file)

    def connect(self) -> None:
        """Have a network for programs that ask by themselves.

        Raises:
            BadResource: there is none.
        """
        if self._offline:
            raise NeedsNetwork("a pin of clevis needs the network")
        try:
            bring_up(self._places, self._log)
        except FetchError as error:
            raise BadResource(str(error.args[0]), "source", error.hint) from None

    def describe(self, resource: Resource) -> str:
        """The URL, without what may be secret in it."""
        return redact_url(resource.source or "")

    @contextmanager
    def _fetching(self, resource: Resource) -> Iterator[None]:
        """Have a network if one is needed; errors of fetching become errors of the resource."""
        what = self.describe(resource)
        try:
            if is_inline(resource):
                yield
                return
            if self._offline:
                raise NeedsNetwork(f"{what} needs the network")
            bring_up(self._places, self._log)
            with self._log.follow_operation(f"fetch {what}"):
                yield
        except NeedsNetwork:
            raise
        except FetchError as error:
            field: Literal["source", "hash"] = "hash" if isinstance(error, WrongHash) else "source"
            raise BadResource(str(error.args[0]), field, error.hint) from None
