"""Where a URL may lead: what a redirect may not do, and addresses it may not connector."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.errors import FetchError
from firstboot.platform_index import load_index

_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """An HTTP URL, taken apart. ``path`` includes the query."""

    scheme: str
    host: str
    port: int
    path: str
    userinfo: str = ""

    @property
    def authority(self) -> str:
        """Host and port as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """The URL as it may be logged: a query may hold a signature."""
        path, question, _ = self.path.partition("?")
        return f"{self.scheme}://{self.authority}{path}{'?...' if question else ''}"


def split_url(url: str) -> SplitResult:
    """The parts of a URL, each of which can be asked for.

    Raises:
        FetchError: it is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise FetchError(f"the URL {url} is not valid: {error}") from None
    return parts


def parse_url(url: str) -> Target:
    """Take an HTTP URL apart; what it lacks in escapes is added, as Go does.

    Raises:
        FetchError: it is none.
    """
    parts = split_url(url)
    scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    if scheme not in _PORTS:
        raise FetchError(f"a URL that begins with '{scheme}:' cannot be fetched by HTTP")
    if not host:
        raise FetchError(f"the URL {url} has no host")
    path = urlunsplit(("", "", quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"), "", ""))
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    userinfo = parts.netloc.rpartition("@")[0]
    return Target(scheme, host.replace("%25", "%"), _PORTS[scheme] if port is None else port, path, userinfo)


def follow_redirect(target: Target, location: str, *, guarded: bool) -> Target:
    """Where a redirect leads.

    Args:
        guarded: whether link-local addresses are out of bounds.

    Raises:
        FetchError: nowhere it may lead.
    """
    try:
        url = urljoin(target.url, location)
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        raise FetchError(f"{target.shown} redirects to something that is no URL") from None
    if scheme not in _PORTS:
        raise FetchError(f"{target.shown} redirects to a URL that begins with '{scheme}:', which is refused")
    if target.scheme == "https" and scheme == "http":
        raise FetchError(f"{target.shown} redirects from https to http, which is refused", "use the final URL")
    following = parse_url(url)
    if guarded:
        refuse_link_local(following.host)
    return following


def refuse_link_local(host: str) -> None:
    """Refuse the addresses where clouds keep credentials.

    Raises:
        FetchError: ``host`` is such an address.
    """
    if is_link_local(host):
        raise FetchError(f"a redirect to {host} is refused: it is the address of a metadata service")


def is_link_local(host: str) -> bool:
    """Whether this is a link-local address, or another at which clouds serve metadata."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    return address.is_link_local or str(address) in load_index().addresses
