"""How to fetch: what a config may say about it, and the limits that hold in any case."""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple

# Ignition's User-Agent: servers that choose by it (matchbox among them) know this name.
IGNITION_VERSION = "2.26.0"
USER_AGENT = f"Ignition/{IGNITION_VERSION} (build-os)"
ACCEPT = "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1"

CONNECT_SECONDS = 30.0
HANDSHAKE_SECONDS = 10.0
RESPONSE_HEADER_SECONDS = 10
# Ignition's is for ever. A server that is down shall not stop a machine without a word.
TOTAL_SECONDS = 300
PROVIDER_SECONDS = 120  # of a platform's own config, as Ignition's -fetch-timeout

MAX_BYTES = 512 << 20  # of one resource, before and after decompression
MAX_REDIRECTS = 10
# A body that comes slower than this has stopped, whatever still drips.
SLOWEST_BYTES_PER_SECOND = 1024
SLOW_BODY_SECONDS = 30


class Proxies(NamedTuple):
    """HTTP proxies by the scheme of what is fetched, and what is fetched without one."""

    http: str = ""
    https: str = ""
    none_for: tuple[str, ...] = ()


class Settings(NamedTuple):
    """What ``ignition.timeouts``, ``ignition.proxy`` and ``ignition.security.tls`` say.

    Attributes:
        header_seconds: from the request to the end of the response's headers; ``None`` is for ever.
        total_seconds: for one resource with all its attempts; ``None`` is for ever.
        proxies: which requests go through which proxy.
        authorities: PEM certificates to trust besides the system's.
    """

    header_seconds: float | None = RESPONSE_HEADER_SECONDS
    total_seconds: float | None = TOTAL_SECONDS
    proxies: Proxies = Proxies()
    authorities: tuple[str, ...] = ()
