"""Which proxy a request goes through, decided as Go's ``httpproxy`` does, which Ignition uses."""

from __future__ import annotations

import ipaddress

from firstboot.fetch.settings import Proxies


def find_proxy(scheme: str, host: str, port: int, proxies: Proxies) -> str | None:
    """The proxy's URL, or ``None`` for none. A machine's own addresses never go through one."""
    proxy = proxies.https if scheme == "https" else proxies.http
    if not proxy or not is_proxied(host, port, proxies.none_for):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_proxied(host: str, port: int, none_for: tuple[str, ...]) -> bool:
    """Whether a host is reached through a proxy.

    Args:
        none_for: ``*``, addresses, networks (``10.0.0.0/8``), and names, which stand for what is below them as
            well; a name that begins with a dot stands only for that. Each may end with ``:PORT``.
    """
    host = host.lower().rstrip(".")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(_matches(pattern.strip().lower(), host, address, port) for pattern in none_for)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _matches(pattern: str, host: str, address: _Address | None, port: int) -> bool:
    if not pattern:
        return False
    if pattern == "*":
        return True
    if "/" in pattern:
        try:
            network = ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    name, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdigit() and _address(pattern) is None:
        if int(wanted) != port:
            return False
        pattern = name
    wanted_address = _address(pattern)
    if wanted_address is not None:
        return address == wanted_address
    pattern = pattern.removeprefix("*")
    if pattern.startswith("."):
        return host.endswith(pattern)
    return host == pattern or host.endswith(f".{pattern}")
