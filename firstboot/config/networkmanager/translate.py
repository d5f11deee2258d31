"""Keyfiles as ``.network`` and ``.netdev`` files (systemd.network(5), systemd.netdev(5))."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.networkmanager.keyfile import Keyfile, Remark

TARGET = "/etc/systemd/network"
_MADE = ("bond", "bridge", "vlan", "dummy")
_KINDS = ("ethernet", *_MADE)
Sections = dict[str, list[str]]
# Of a bond: networkd's name, and what comes after a number.
_BOND = {
    "mode": ("Mode", ""),
    "miimon": ("MIIMonitorSec", "ms"),
    "downdelay": ("DownDelaySec", "ms"),
    "updelay": ("UpDelaySec", "ms"),
    "lacp_rate": ("LACPTransmitRate", ""),
    "xmit_hash_policy": ("TransmitHashPolicy", ""),
    "min_links": ("MinLinks", ""),
    "arp_interval": ("ARPIntervalSec", "ms"),
    "arp_ip_target": ("ARPIPTargets", ""),
    "fail_over_mac": ("FailOverMACPolicy", ""),
    "ad_select": ("AdSelect", ""),
    "primary_reselect": ("PrimaryReselectPolicy", ""),
}
_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
_RATES = {"0": "slow", "1": "fast"}
_BRIDGE = {
    "priority": ("Priority", ""),
    "forward-delay": ("ForwardDelaySec", ""),
    "hello-time": ("HelloTimeSec", ""),
    "max-age": ("MaxAgeSec", ""),
    "ageing-time": ("AgeingTimeSec", ""),
}


class Translated(NamedTuple):
    """What came of keyfiles.

    Attributes:
        files: text by path, and the keyfile that each comes from.
        remarks: what has no effect.
    """

    files: dict[str, tuple[str, str]]
    remarks: tuple[Remark, ...]


def translate(texts: Mapping[str, str]) -> Translated:
    """What networkd needs for the connections in keyfiles.

    Args:
        texts: of the keyfiles by path.
    """
    keyfiles = [Keyfile(path, text) for path, text in texts.items()]
    usable = [keyfile for keyfile in keyfiles if _is_usable(keyfile)]
    names: dict[str, str] = {}
    for keyfile in usable:
        for name in (keyfile.get("connection.uuid"), keyfile.get("connection.id"), keyfile.interface):
            names.setdefault(name, keyfile.interface)
    vlans: dict[str, list[str]] = {}
    for keyfile in usable:
        if keyfile.type == "vlan":
            parent = keyfile.get("vlan.parent")
            vlans.setdefault(names.get(parent, "") or parent, []).append(keyfile.interface)
    files: dict[str, tuple[str, str]] = {}
    for keyfile in usable:
        on_it = vlans.pop(keyfile.interface, []) if keyfile.interface else []
        for end, sections in (("netdev", _netdev(keyfile)), ("network", _network(keyfile, names, on_it, usable))):
            if sections:
                files[f"{TARGET}/20-nm-{keyfile.stem}.{end}"] = (_text(sections, keyfile.path), keyfile.path)
    for parent, on_it in vlans.items():
        source = next(keyfile for keyfile in usable if keyfile.interface in on_it)
        sections = {"Match": [f"Name={parent}"], "Network": [*(f"VLAN={name}" for name in on_it), *_QUIET]}
        files[f"{TARGET}/20-nm-{source.stem}-parent.network"] = (_text(sections, source.path), source.path)
    for keyfile in usable:
        keyfile.add_remarks_on_the_rest()
    return Translated(files, tuple(remark for keyfile in keyfiles for remark in keyfile.remarks))


_QUIET = ("LinkLocalAddressing=no", "IPv6AcceptRA=no")


def _is_usable(keyfile: Keyfile) -> bool:
    kind = keyfile.type
    if kind not in _KINDS:
        keyfile.add_remark(
            keyfile.get_line("connection.type"), f"a connection of type '{kind}' is not for systemd-networkd"
        )
    elif keyfile.is_true("connection.autoconnect") is False:
        keyfile.add_remark(
            keyfile.get_line("connection.autoconnect"), "a connection that is not to come up by itself is left out"
        )
    elif kind in _MADE and not keyfile.interface:
        keyfile.add_remark(keyfile.get_line("connection.type"), f"a {kind} needs an interface-name")
    elif kind == "vlan" and not (keyfile.get("vlan.id").isdecimal() and keyfile.get("vlan.parent")):
        keyfile.add_remark(keyfile.get_line("connection.type"), "a vlan needs an id and a parent")
    else:
        return True
    return False


def _text(sections: Sections, source: str) -> str:
    parts = [f"# Made of {source}.\n"]
    for name, lines in sections.items():
        parts.append(f"[{name.partition(' ')[0]}]\n" + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


# --- what is made ---


def _netdev(keyfile: Keyfile) -> Sections:
    kind = keyfile.type
    if kind not in _MADE:
        return {}
    sections: Sections = {"NetDev": [f"Name={keyfile.interface}", f"Kind={kind}"]}
    mac = keyfile.get("ethernet.cloned-mac-address") or keyfile.get("bridge.mac-address")
    if _is_mac(mac):
        sections["NetDev"].append(f"MACAddress={mac}")
    if kind == "vlan":
        sections["VLAN"] = [f"Id={keyfile.get('vlan.id')}"]
    if kind == "bond":
        sections["Bond"] = [*_bond(keyfile)]
    if kind == "bridge":
        stp = keyfile.is_true("bridge.stp")
        sections["Bridge"] = [f"STP={'no' if stp is False else 'yes'}"]
        for name, (setting, unit) in _BRIDGE.items():
            value = keyfile.get(f"bridge.{name}")
            if value.isdecimal():
                sections["Bridge"].append(f"{setting}={value}{unit}")
        if keyfile.is_true("bridge.vlan-filtering"):
            sections["Bridge"].append("VLANFiltering=yes")
    return sections


def _bond(keyfile: Keyfile) -> Iterable[str]:
    """Its settings, which stand by themselves or, in older files, in ``options``."""
    given = dict(option.partition("=")[::2] for option in keyfile.get("bond.options").split(",") if option)
    options = {**{name: keyfile.get(f"bond.{name}") for name in _BOND}, **given}
    for name in given.keys() - _BOND.keys() - {"primary"}:
        keyfile.add_remark(keyfile.get_line("bond.options"), f"bond.{name} has no equal in systemd-networkd")
    for name, value in options.items():
        if not value or name not in _BOND:
            continue
        setting, unit = _BOND[name]
        if name == "mode" and value.isdecimal() and int(value) < len(_MODES):
            value = _MODES[int(value)]
        if name == "lacp_rate":
            value = _RATES.get(value, value)
        if name == "arp_ip_target":
            value = value.replace(",", " ")
        yield f"{setting}={value}{unit}"


# --- what is set up ---


def _network(keyfile: Keyfile, names: Mapping[str, str], vlans: list[str], others: list[Keyfile]) -> Sections:
    mac = keyfile.get("ethernet.mac-address")
    link: list[str] = []
    mtu = keyfile.get(f"{keyfile.type}.mtu") or keyfile.get("ethernet.mtu")
    if mtu.isdecimal() and int(mtu):
        link.append(f"MTUBytes={mtu}")
    cloned = keyfile.get("ethernet.cloned-mac-address")
    if keyfile.type == "ethernet" and _is_mac(cloned):
        link.append(f"MACAddress={cloned}")
    elif cloned and not _is_mac(cloned) and cloned not in ("preserve", "permanent"):
        keyfile.add_remark(
            keyfile.get_line("ethernet.cloned-mac-address"), f"a hardware address '{cloned}' is not made up"
        )
    sections: Sections = {"Match": _match(keyfile, mac)}
    if link:
        sections["Link"] = link
    controller = keyfile.get("connection.controller") or keyfile.get("connection.master")
    if controller:
        master = names.get(controller, "") or controller
        kind = next((other.type for other in others if other.interface == master), "") or keyfile.get(
            "connection.slave-type"
        )
        sections["Network"] = [f"{'Bridge' if kind == 'bridge' else 'Bond'}={master}"]
        if _is_primary(keyfile, master, others):
            sections["Network"].append("PrimarySlave=yes")
        sections["Network"] += [*(f"VLAN={name}" for name in vlans), *_QUIET]
        return sections
    network = sections["Network"] = []
    _addresses(keyfile, sections, network)
    network += [f"VLAN={name}" for name in vlans]
    return sections


def _match(keyfile: Keyfile, mac: str) -> list[str]:
    conditions = [f"Name={keyfile.interface}"] if keyfile.interface else []
    if keyfile.type == "ethernet" and _is_mac(mac):
        conditions.append(f"PermanentMACAddress={mac}")
    return conditions or ["Type=ether", "Kind=!*"]


def _is_primary(keyfile: Keyfile, master: str, others: list[Keyfile]) -> bool:
    for other in others:
        if other.interface == master and other.type == "bond":
            options = dict(part.partition("=")[::2] for part in other.get("bond.options").split(","))
            return bool(keyfile.interface) and keyfile.interface == (
                other.get("bond.primary") or options.get("primary")
            )
    return False


def _addresses(keyfile: Keyfile, sections: Sections, network: list[str]) -> None:
    four, six = keyfile.get("ipv4.method") or "auto", keyfile.get("ipv6.method") or "auto"
    if four == "shared" or six == "shared":
        name = "ipv4.method" if four == "shared" else "ipv6.method"
        keyfile.add_remark(keyfile.get_line(name), "sharing a connection is not set up")
    dhcp = {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6"}.get(
        (four == "auto", six == "dhcp"), "no"
    )
    network.append(f"DHCP={dhcp}")
    local = (four == "link-local", six not in ("disabled", "ignore"))
    network.append(
        "LinkLocalAddressing=" + {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6"}.get(local, "no")
    )
    network.append(f"IPv6AcceptRA={'yes' if six in ('auto', 'dhcp') else 'no'}")
    for family, section in (("ipv4", "DHCPv4"), ("ipv6", "DHCPv6")):
        _family(keyfile, family, section, sections, network)
    privacy = keyfile.get("ipv6.ip6-privacy")
    if privacy in ("0", "1", "2"):
        network.append(f"IPv6PrivacyExtensions={('no', 'prefer-public', 'yes')[int(privacy)]}")


def _family(keyfile: Keyfile, family: str, section: str, sections: Sections, network: list[str]) -> None:
    gateways = [keyfile.get(f"{family}.gateway")]
    lists = [(f"{family}.addresses", address) for address in keyfile.list(f"{family}.addresses")]
    for name, value in (*keyfile.list_numbered(f"{family}.address"), *lists):
        address, _, gateway = value.partition(",")
        if _is_network(address):
            network.append(f"Address={address}")
        else:
            keyfile.add_remark(keyfile.get_line(name), f"'{address}' is no address with the length of its prefix")
        gateways.append(gateway)
    metric = keyfile.get(f"{family}.route-metric")
    metric = metric if metric.isdecimal() else ""
    gateway = next((gateway.strip() for gateway in gateways if gateway.strip()), "")
    if gateway and keyfile.is_true(f"{family}.never-default") is not True:
        if _is_address(gateway):
            sections[f"Route {len(sections)}"] = [f"Gateway={gateway}", *([f"Metric={metric}"] if metric else [])]
        else:
            keyfile.add_remark(keyfile.get_line(f"{family}.gateway"), f"the gateway '{gateway}' is no address")
    for name, value in keyfile.list_numbered(f"{family}.route"):
        to, _, rest = value.partition(",")
        via, _, own_metric = rest.partition(",")
        if not _is_network(to) or (via.strip() and not _is_address(via.strip())):
            keyfile.add_remark(keyfile.get_line(name), f"'{value}' is no route")
            continue
        lines = [f"Destination={to}"]
        lines += (
            [f"Gateway={via.strip()}"] if via.strip() and not ipaddress.ip_address(via.strip()).is_unspecified else []
        )
        lines += [f"Metric={own_metric.strip()}"] if own_metric.strip().isdecimal() else []
        sections[f"Route {len(sections)}"] = lines
    network += [f"DNS={server.partition('#')[0]}" for server in keyfile.list(f"{family}.dns")]
    domains = keyfile.list(f"{family}.dns-search")
    if domains:
        network.append(f"Domains={' '.join(domains)}")
    _of_dhcp(keyfile, family, section, metric, sections)


def _of_dhcp(keyfile: Keyfile, family: str, section: str, metric: str, sections: Sections) -> None:
    """What is taken of what a server or a router says."""
    lines: list[str] = []
    if keyfile.is_true(f"{family}.ignore-auto-dns"):
        lines.append("UseDNS=no")
    if family == "ipv4":
        if keyfile.is_true("ipv4.ignore-auto-routes"):
            lines.append("UseRoutes=no")
        if keyfile.is_true("ipv4.never-default"):
            lines.append("UseGateway=no")
        if metric:
            lines.append(f"RouteMetric={metric}")
        hostname = keyfile.get("ipv4.dhcp-hostname")
        if hostname.replace("-", "").replace(".", "").isalnum():
            lines.append(f"Hostname={hostname}")
        if keyfile.is_true("ipv4.dhcp-send-hostname") is False:
            lines.append("SendHostname=no")
        if keyfile.get("ipv4.dhcp-client-id") == "mac":
            lines.append("ClientIdentifier=mac")
    if lines:
        sections[section] = lines
    if family == "ipv6":
        of_routers = [line for line in lines if line == "UseDNS=no"]
        if keyfile.is_true("ipv6.never-default") or keyfile.is_true("ipv6.ignore-auto-routes"):
            of_routers.append("UseGateway=no")
        if of_routers:
            sections["IPv6AcceptRA"] = of_routers


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 6 and all(
        len(part) == 2 and all(char in "0123456789abcdefABCDEF" for char in part) for part in parts
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    if "/" not in text:
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True
