"""``network``: the files of systemd-networkd that interfaces become."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
DIRECTORY = "/etc/systemd/network"


def network(config: Config, *interfaces: str) -> Read:
    return config("network:\n  interfaces:\n" + "".join(f"    - {each}\n" for each in interfaces))


def test_an_interface_is_found_by_its_name_and_asks_for_addresses(config: Config) -> None:
    found = network(config, '{name: wan, match: {name: "en* eth*"}, dhcp: true, optional: true, mtu: 1400}')
    assert found.texts == {
        f"{DIRECTORY}/10-wan.network": (
            "[Match]\nName=en* eth*\n\n[Link]\nMTUBytes=1400\nRequiredForOnline=no\n\n[Network]\nDHCP=yes\n"
        )
    }


@pytest.mark.parametrize(
    ("written", "dhcp"),
    [
        ("dhcp: false", "no"),
        ("dhcp4: true", "ipv4"),
        ("dhcp6: true", "ipv6"),
        ("dhcp: true, dhcp6: false", "ipv4"),
        ("dhcp: false, dhcp4: true, dhcp6: true", "yes"),
    ],
)
def test_addresses_are_asked_for_by_family(config: Config, written: str, dhcp: str) -> None:
    text = network(config, f"{{name: a, {written}}}").texts[f"{DIRECTORY}/10-a.network"]
    assert text == f"[Match]\nName=a\n\n[Network]\nDHCP={dhcp}\n"


def test_an_interface_that_is_found_by_its_address_gets_its_name(config: Config) -> None:
    found = network(config, '{name: lan, match: {mac: "52:54:00:12:34:56"}, addresses: [192.0.2.10/24]}')
    assert found.texts[f"{DIRECTORY}/10-lan.link"].startswith(
        "[Match]\nPermanentMACAddress=52:54:00:12:34:56\n\n[Link]\nName=lan\n"
    )
    assert found.texts[f"{DIRECTORY}/10-lan.network"] == (
        "[Match]\nPermanentMACAddress=52:54:00:12:34:56\nKind=!*\n\n[Network]\nAddress=192.0.2.10/24\n"
    )


def test_everything_about_addresses_is_said(config: Config) -> None:
    found = network(
        config,
        "{name: a, addresses: [192.0.2.2/24, '2001:db8::2/64'], gateways: [192.0.2.1, 'fe80::1'],"
        " dns: ['9.9.9.9#dns.quad9.net'], domains: [example.org, ~.], ntp: [ntp.example.org],"
        " routes: [{to: 198.51.100.0/24, via: 192.0.2.3, metric: 5}, {to: default, via: 'fe80::2'}]}",
    )
    assert found.texts[f"{DIRECTORY}/10-a.network"].splitlines()[3:] == [
        "[Network]",
        "Address=192.0.2.2/24",
        "Address=2001:db8::2/64",
        "Gateway=192.0.2.1",
        "Gateway=fe80::1",
        "DNS=9.9.9.9#dns.quad9.net",
        "NTP=ntp.example.org",
        "Domains=example.org ~.",
        "",
        "[Route]",
        "Destination=198.51.100.0/24",
        "Gateway=192.0.2.3",
        "Metric=5",
        "",
        "[Route]",
        "Destination=::/0",
        "Gateway=fe80::2",
    ]


def test_vlans_bonds_and_bridges_are_made_of_others(config: Config) -> None:
    found = network(
        config,
        "{name: lan}",
        "{name: v10, dhcp4: true, vlan: {id: 10, parent: lan}}",
        "{name: bond0, dhcp: true, bond: {mode: 802.3ad, members: [eno1, eno2]}}",
        "{name: br0, bridge: {members: [tap0], stp: true}}",
    )
    texts = {path.removeprefix(f"{DIRECTORY}/10-"): text for path, text in found.texts.items()}
    quiet = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    assert texts["lan.network"] == f"[Match]\nName=lan\n\n[Network]\n{quiet}VLAN=v10\n"
    assert texts["v10.netdev"] == "[NetDev]\nName=v10\nKind=vlan\n\n[VLAN]\nId=10\n"
    assert texts["bond0.netdev"] == "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n"
    assert texts["br0.netdev"] == "[NetDev]\nName=br0\nKind=bridge\n\n[Bridge]\nSTP=yes\n"
    assert texts["br0.network"] == "[Match]\nName=br0\n\n[Network]\nConfigureWithoutCarrier=yes\n"
    assert texts["eno2.network"] == f"[Match]\nName=eno2\n\n[Network]\nBond=bond0\n{quiet}"
    assert texts["tap0.network"] == f"[Match]\nName=tap0\n\n[Network]\nBridge=br0\n{quiet}"


def test_a_config_that_writes_a_file_itself_wins(config: Config) -> None:
    own = f"storage: {{files: [{{path: {DIRECTORY}/10-a.network, contents: {{inline: mine}}}}]}}\n"
    found = config("network: {interfaces: [{name: a, dhcp: true}]}\n" + own)
    assert found.texts == {f"{DIRECTORY}/10-a.network": "mine"}


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        ("{name: a b}", "name: 'a b' cannot be the name of an interface"),
        ("{name: sixteen-letters-}", "name: 'sixteen-letters-' cannot be the name of an interface"),
        ("{name: a, dhcp: yes}", "dhcp: expected true or false, found text"),
        (
            "{name: a, addresses: [192.0.2.1]}",
            "addresses.0: '192.0.2.1' is not an address with a prefix: 192.0.2.10/24",
        ),
        ("{name: a, addresses: [192.0.2.1/33]}", None),
        ("{name: a, gateways: [192.0.2.0/24]}", "gateways.0: '192.0.2.0/24' is not an address"),
        ("{name: a, dns: [resolver]}", "dns.0: 'resolver' is not an address"),
        ("{name: a, match: {mac: 1}}", "match.mac: expected text, found a number"),
        ("{name: a, match: {mac: '52:54'}}", "match.mac: '52:54' is not a hardware address"),
        ("{name: a, match: {name: 'x\\n[Network]'}}", None),
        ("{name: a, mtu: 20}", "mtu: 20 is not between 68 and 65535"),
        ("{name: a, routes: [{to: default}]}", "routes.0: the default route needs a gateway: via"),
        ("{name: a, routes: [{to: here, via: 192.0.2.1}]}", "routes.0.to: 'here' is not a network"),
        ("{name: a, vlan: {id: 4095, parent: b}}", "vlan.parent: there is no interface 'b' for it to be on"),
        ("{name: a, bond: {mode: fast}}", None),
        ("{name: a, bond: {members: [a]}}", "bond.members.0: 'a' cannot be in 'a'"),
        ("{name: a, bond: {}, bridge: {}}", "bridge: an interface is either a bond or a bridge"),
        ("{name: a, bridge: {}, match: {name: x}}", "match: a bridge is made, so there is nothing to find"),
        ("{name: a, domains: ['a b']}", "domains.0: 'a b' is not a domain"),
        ("{nam: a}", "nam: unknown setting"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(config: Config, interface: str, message: str | None) -> None:
    found = config(f"network:\n  interfaces:\n    - {interface}\n").said
    assert found[0].startswith("5 network.interfaces.0.")
    assert message is None or found[0] == f"5 network.interfaces.0.{message}"


def test_what_contradicts_another_interface_is_refused(config: Config) -> None:
    found = network(
        config, "{name: a}", "{name: a}", "{name: b, bond: {members: [c]}}", "{name: d, bridge: {members: [c]}}"
    )
    assert found.said == [
        "6 network.interfaces.1.name: there is an interface 'a' already",
        "8 network.interfaces.3.bridge.members.0: 'c' is in 'b' already",
    ]
    member = network(config, "{name: b, bond: {members: [c]}}", "{name: c, dhcp: true}")
    assert member.said == ["6 network.interfaces.1: what is in a bond or bridge has no addresses of its own"]
