"""``network``: what systemd-networkd reads, one or more files for each interface."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

from firstboot.config.buildos.network_models import Bond, Interface, Network, Route
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

DIRECTORY = "/etc/systemd/network"
AT: Path = ("network",)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # IFNAMSIZ; no separators of networkd's
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")
_DOMAIN = re.compile(r"~?(?:\.|[A-Za-z0-9_.-]+)")
# Of IPv4 and of IPv6: what networkd calls it.
_DHCP = {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6", (False, False): "no"}
_BONDS = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
_MTU = range(68, 65536)
_VLANS = range(1, 4095)


class _Placed(NamedTuple):
    """An interface and where it is written."""

    at: Path
    interface: Interface


def configure_network(output: SugarOutput) -> None:
    """Write the files of all interfaces."""
    network = output.find_part(Network, AT)
    if network is None:
        return
    placed: dict[str, _Placed] = {}
    for index, interface in enumerate(network.interfaces):
        at: Path = (*AT, "interfaces", index)
        if _is_named(interface, at, placed, output):
            placed[interface.name] = _Placed(at, interface)
    masters = _masters(placed, output)
    vlans = _vlans(placed, output)
    for name, (at, interface) in placed.items():
        if _is_right(interface, at, output, member=name in masters):
            _write(interface, at, output, masters.get(name), vlans.get(name, []))
    for member, (kind, master, at) in masters.items():
        if member not in placed:
            text = _sections({"Match": [f"Name={member}"], "Network": [f"{kind}={master}", *_QUIET]})
            output.add_file(f"{DIRECTORY}/10-{member}.network", text, at)


_QUIET = ("LinkLocalAddressing=no", "IPv6AcceptRA=no")
Masters = dict[str, tuple[str, str, Path]]


def _is_named(interface: Interface, at: Path, placed: Mapping[str, _Placed], output: SugarOutput) -> bool:
    name = interface.name
    if not _NAME.fullmatch(name) or name in (".", "..", "all", "default"):
        output.complain((*at, "name"), f"'{name}' cannot be the name of an interface", "1 to 15 letters, digits, - _ .")
        return False
    if name in placed:
        output.complain((*at, "name"), f"there is an interface '{name}' already")
        return False
    return True


def _members(interface: Interface) -> tuple[str, str, tuple[str, ...]] | None:
    """What members call their master, the setting that names them, the members."""
    if interface.bond is not None:
        return "Bond", "bond", interface.bond.members
    if interface.bridge is not None:
        return "Bridge", "bridge", interface.bridge.members
    return None


def _masters(placed: Mapping[str, _Placed], output: SugarOutput) -> Masters:
    """Which interface is in which bond or bridge, and where that is written."""
    masters: Masters = {}
    for name, (at, interface) in placed.items():
        members = _members(interface)
        if members is None:
            continue
        kind, setting, names = members
        for index, member in enumerate(names):
            here = (*at, setting, "members", index)
            if member == name or not _NAME.fullmatch(member):
                output.complain(here, f"'{member}' cannot be in '{name}'")
            elif member in masters:
                output.complain(here, f"'{member}' is in '{masters[member][1]}' already")
            else:
                masters[member] = (kind, name, here)
    return masters


def _vlans(placed: Mapping[str, _Placed], output: SugarOutput) -> dict[str, list[str]]:
    """The VLANs on each interface."""
    vlans: dict[str, list[str]] = {}
    for name, (at, interface) in placed.items():
        if interface.vlan is None:
            continue
        parent = interface.vlan.parent
        if parent not in placed or parent == name:
            hint = f"it can be as short as: - name: {parent}" if _NAME.fullmatch(parent) and parent != name else None
            output.complain((*at, "vlan", "parent"), f"there is no interface '{parent}' for it to be on", hint)
        else:
            vlans.setdefault(parent, []).append(name)
    return vlans


# --- sense ---


def _is_right(interface: Interface, at: Path, output: SugarOutput, *, member: bool) -> bool:
    """Whether all of it makes sense; complains about what does not."""
    before = output.complaints
    made = [name for name in ("vlan", "bond", "bridge") if getattr(interface, name) is not None]
    if len(made) > 1:
        output.complain((*at, made[1]), f"an interface is either a {made[0]} or a {made[1]}", on_key=True)
    match = interface.match
    if made and (match.name is not None or match.mac is not None):
        output.complain((*at, "match"), f"a {made[0]} is made, so there is nothing to find", on_key=True)
    if match.name is not None and not all(_PATTERN.fullmatch(pattern) for pattern in match.name.split()):
        output.complain((*at, "match", "name"), f"'{match.name}' matches no interface")
    if match.mac is not None and not _MAC.fullmatch(match.mac):
        output.complain((*at, "match", "mac"), f"'{match.mac}' is not a hardware address", "like 52:54:00:12:34:56")
    if interface.mtu is not None and interface.mtu not in _MTU:
        output.complain((*at, "mtu"), f"{interface.mtu} is not between {_MTU[0]} and {_MTU[-1]}")
    if interface.vlan is not None and interface.vlan.id not in _VLANS:
        output.complain((*at, "vlan", "id"), f"{interface.vlan.id} is not between {_VLANS[0]} and {_VLANS[-1]}")
    if interface.bond is not None and interface.bond.mode not in _BONDS:
        output.complain((*at, "bond", "mode"), f"'{interface.bond.mode}' is not one of {', '.join(_BONDS)}")
    if member and (interface.addresses or interface.gateways or _dhcp(interface) not in (None, "no")):
        output.complain(
            at, "what is in a bond or bridge has no addresses of its own", "give them to the bond or bridge"
        )
    _check_addresses(interface, at, output)
    return output.complaints == before


def _check_addresses(interface: Interface, at: Path, output: SugarOutput) -> None:
    _each(interface.addresses, (*at, "addresses"), output, _interface, "is not an address with a prefix: 192.0.2.10/24")
    _each(interface.gateways, (*at, "gateways"), output, ipaddress.ip_address, "is not an address")
    _each(interface.dns, (*at, "dns"), output, _server, "is not an address")
    _each(interface.domains, (*at, "domains"), output, _domain, "is not a domain")
    _each(interface.ntp, (*at, "ntp"), output, _domain, "is not a server")
    for index, route in enumerate(interface.routes):
        _check_route(route, (*at, "routes", index), output)


def _each(texts: Iterable[str], at: Path, output: SugarOutput, parse: Callable[[str], object], complaint: str) -> None:
    for index, text in enumerate(texts):
        if not _parses(parse, text):
            output.complain((*at, index), f"'{text}' {complaint}")


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return text.isascii() and text.isprintable()


def _check_route(route: Route, at: Path, output: SugarOutput) -> None:
    if route.to != "default" and not _parses(_network, route.to):
        output.complain((*at, "to"), f"'{route.to}' is not a network", "like 192.0.2.0/24, or default")
    if route.via is not None and not _parses(ipaddress.ip_address, route.via):
        output.complain((*at, "via"), f"'{route.via}' is not an address")
    if route.to == "default" and route.via is None:
        output.complain(at, "the default route needs a gateway: via")
    if route.metric is not None and not 0 <= route.metric < 2**32:
        output.complain((*at, "metric"), f"{route.metric} is no metric")


def _interface(text: str) -> None:
    if "/" not in text:
        raise ValueError(text)
    ipaddress.ip_interface(text)


def _network(text: str) -> None:
    ipaddress.ip_network(text, strict=False)


def _server(text: str) -> None:
    """An address, perhaps with the name that its certificate has: ``9.9.9.9#dns.quad9.net``."""
    address, sharp, name = text.partition("#")
    ipaddress.ip_address(address)
    if sharp:
        _domain(name)


def _domain(text: str) -> None:
    if not _DOMAIN.fullmatch(text):
        raise ValueError(text)


# --- files ---


def _write(
    interface: Interface, at: Path, output: SugarOutput, master: tuple[str, str, Path] | None, vlans: list[str]
) -> None:
    name = interface.name
    base = f"{DIRECTORY}/10-{name}"
    if interface.vlan is not None or interface.bond is not None or interface.bridge is not None:
        output.add_file(f"{base}.netdev", _netdev(interface), at)
    if interface.match.mac is not None:
        link = {
            "Match": [f"PermanentMACAddress={interface.match.mac}"],
            "Link": [f"Name={name}", "AlternativeNamesPolicy=database onboard slot path mac"],
        }
        output.add_file(f"{base}.link", _sections(link), at)
    output.add_file(f"{base}.network", _network_file(interface, master, vlans), at)


def _netdev(interface: Interface) -> str:
    kind = "vlan" if interface.vlan is not None else "bond" if interface.bond is not None else "bridge"
    sections = {"NetDev": [f"Name={interface.name}", f"Kind={kind}"]}
    if interface.vlan is not None:
        sections["VLAN"] = [f"Id={interface.vlan.id}"]
    if interface.bond is not None:
        sections["Bond"] = _bond(interface.bond)
    if interface.bridge is not None and interface.bridge.stp is not None:
        sections["Bridge"] = [f"STP={_yes(interface.bridge.stp)}"]
    return _sections(sections)


def _dhcp(interface: Interface) -> str | None:
    if interface.dhcp is None and interface.dhcp4 is None and interface.dhcp6 is None:
        return None
    four = interface.dhcp if interface.dhcp4 is None else interface.dhcp4
    six = interface.dhcp if interface.dhcp6 is None else interface.dhcp6
    return _DHCP[bool(four), bool(six)]


def _bond(bond: Bond) -> list[str]:
    # Without watching the link a bond never notices that a cable is out.
    return [f"Mode={bond.mode}", "MIIMonitorSec=100ms"]


def _network_file(interface: Interface, master: tuple[str, str, Path] | None, vlans: list[str]) -> str:
    match = interface.match
    conditions = [f"PermanentMACAddress={match.mac}"] if match.mac is not None else []
    if match.name is not None or match.mac is None:
        conditions.append(f"Name={match.name or interface.name}")
    if match.mac is not None:
        # A bond and a bridge have the address of one of their members.
        conditions.append("Kind=!*")
    link = [] if interface.mtu is None else [f"MTUBytes={interface.mtu}"]
    if interface.optional:
        link.append("RequiredForOnline=no")
    dhcp = _dhcp(interface)
    network = [] if dhcp is None else [f"DHCP={dhcp}"]
    network += [f"Address={address}" for address in interface.addresses]
    network += [f"Gateway={gateway}" for gateway in interface.gateways]
    network += [f"DNS={server}" for server in interface.dns]
    network += [f"NTP={server}" for server in interface.ntp]
    network += [f"Domains={' '.join(interface.domains)}"] if interface.domains else []
    if master is not None:
        network += [f"{master[0]}={master[1]}", *_QUIET]
    elif vlans and not interface.addresses and _dhcp(interface) in (None, "no"):
        network += _QUIET
    network += [f"VLAN={vlan}" for vlan in vlans]
    if interface.bridge is not None:
        # It has no carrier before something is in it, and is wanted with its addresses by then.
        network.append("ConfigureWithoutCarrier=yes")
    text = _sections({"Match": conditions, "Link": link, "Network": network})
    return text + "".join("\n" + _sections({"Route": _route(route)}) for route in interface.routes)


def _route(route: Route) -> list[str]:
    destination = route.to
    if destination == "default":
        destination = "::/0" if route.via is not None and ":" in route.via else "0.0.0.0/0"
    lines = [f"Destination={destination}"]
    lines += [] if route.via is None else [f"Gateway={route.via}"]
    return lines + ([] if route.metric is None else [f"Metric={route.metric}"])


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _sections(sections: Mapping[str, Iterable[str]]) -> str:
    parts = [(name, [*lines]) for name, lines in sections.items()]
    return "\n".join("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in parts if lines)
