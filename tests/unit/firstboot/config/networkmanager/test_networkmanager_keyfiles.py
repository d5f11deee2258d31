"""NetworkManager's keyfiles on an image that has systemd-networkd: what is set up, and what is said of the rest."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.apply.action import Machine
from firstboot.config.dump import dump
from firstboot.config.networkmanager import Translated, translate
from firstboot.engine.compile import load
from firstboot.engine.keyfiles import KEYFILES, NETWORK_MANAGER, NETWORKD, translate_keyfiles
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import CONFIG_ONLY, plan
from firstboot.log import Log
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

# As Fedora CoreOS' documentation has them (docs.fedoraproject.org, "Host network configuration").
STATIC = """\
[connection]
id=ens2
type=ethernet
interface-name=ens2
[ipv4]
address1=10.10.10.10/24,10.10.10.1
dhcp-hostname=myhostname
dns=8.8.8.8;1.1.1.1;
dns-search=example.org;
may-fail=false
method=manual
route1=192.0.2.0/24,10.10.10.254,100
"""
BOND = """\
[connection]
id=bond0
type=bond
interface-name=bond0
[bond]
miimon=100
mode=active-backup
primary=ens2
[ipv4]
method=auto
[ipv6]
method=disabled
"""
PORT = """\
[connection]
id=bond0-slave-{name}
type=ethernet
interface-name={name}
master=bond0
slave-type=bond
"""
VLAN = """\
[connection]
id=bond0.100
type=vlan
interface-name=bond0.100
[vlan]
egress-priority-map=
flags=1
id=100
parent=bond0
[ipv4]
method=manual
address1=10.0.100.2/24
"""
BRIDGE = """\
[connection]
id=br0
uuid=5c2c5d1e-0000-4000-8000-000000000001
type=bridge
interface-name=br0
[bridge]
stp=false
priority=4096
[ipv4]
method=auto
ignore-auto-dns=true
never-default=true
[ipv6]
method=auto
"""


def made(**keyfiles: str) -> dict[str, str]:
    """By file name, without the first lines that say where it comes from."""
    found = translate({f"{KEYFILES}{name}.nmconnection": text for name, text in keyfiles.items()})
    assert found.remarks == ()
    return {path.rpartition("/")[2]: text.partition("\n\n")[2] for path, (text, _) in found.files.items()}


def test_static_addresses_dns_and_routes() -> None:
    assert made(ens2=STATIC) == {
        "20-nm-ens2.network": "[Match]\nName=ens2\n\n"
        "[Network]\nDHCP=no\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\nAddress=10.10.10.10/24\n"
        "DNS=8.8.8.8\nDNS=1.1.1.1\nDomains=example.org\n\n"
        "[Route]\nGateway=10.10.10.1\n\n"
        "[Route]\nDestination=192.0.2.0/24\nGateway=10.10.10.254\nMetric=100\n\n"
        "[DHCPv4]\nHostname=myhostname\n"
    }


def test_a_bond_with_its_members_and_a_vlan_on_it() -> None:
    found = made(bond0=BOND, a=PORT.format(name="ens2"), b=PORT.format(name="ens3"), v=VLAN)
    assert found == {
        "20-nm-bond0.netdev": "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
        "20-nm-bond0.network": "[Match]\nName=bond0\n\n"
        "[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nVLAN=bond0.100\n",
        "20-nm-a.network": "[Match]\nName=ens2\n\n"
        "[Network]\nBond=bond0\nPrimarySlave=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        "20-nm-b.network": "[Match]\nName=ens3\n\n[Network]\nBond=bond0\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        "20-nm-v.netdev": "[NetDev]\nName=bond0.100\nKind=vlan\n\n[VLAN]\nId=100\n",
        "20-nm-v.network": "[Match]\nName=bond0.100\n\n"
        "[Network]\nDHCP=no\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\nAddress=10.0.100.2/24\n",
    }


def test_a_bridge_that_is_named_by_its_uuid() -> None:
    port = "[connection]\ntype=ethernet\ninterface-name=ens2\ncontroller=5c2c5d1e-0000-4000-8000-000000000001\n"
    assert made(br0=BRIDGE, port=port) == {
        "20-nm-br0.netdev": "[NetDev]\nName=br0\nKind=bridge\n\n[Bridge]\nSTP=no\nPriority=4096\n",
        "20-nm-br0.network": "[Match]\nName=br0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\n\n"
        "[DHCPv4]\nUseDNS=no\nUseGateway=no\n",
        "20-nm-port.network": "[Match]\nName=ens2\n\n[Network]\nBridge=br0\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
    }


def test_a_connection_for_any_card_and_one_by_its_address() -> None:
    any_card = "[connection]\ntype=802-3-ethernet\n[ipv6]\nmethod=dhcp\naddr-gen-mode=eui64\nip6-privacy=2\n"
    one = "[connection]\ntype=ethernet\n[802-3-ethernet]\nmac-address=52:54:00:12:34:56\nmtu=9000\n"
    one += "[ipv6]\nmethod=ignore\n"
    found = made(any=any_card, one=one)
    assert found["20-nm-any.network"] == (
        "[Match]\nType=ether\nKind=!*\n\n"
        "[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\nIPv6PrivacyExtensions=yes\n"
    )
    assert found["20-nm-one.network"] == (
        "[Match]\nPermanentMACAddress=52:54:00:12:34:56\n\n[Link]\nMTUBytes=9000\n\n"
        "[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[connection]\ntype=wifi\n[wifi]\nssid=x\n", 2, "a connection of type 'wifi' is not for systemd-networkd"),
        ("[connection]\ntype=ethernet\n[802-1x]\neap=tls;\n", 4, "802-1x.eap has no equal in systemd-networkd"),
        ("[connection]\ntype=ethernet\nzone=trusted\n", 3, "connection.zone has no equal"),
        ("[connection]\ntype=ethernet\nautoconnect=false\n", 3, "not to come up by itself"),
        ("[connection]\ntype=ethernet\n[ipv4]\nmethod=shared\n", 4, "sharing a connection is not set up"),
        ("[connection]\ntype=ethernet\n[ipv4]\nmethod=manual\naddress1=10.0.0.1\n", 5, "'10.0.0.1' is no address with"),
        ("[connection]\ntype=bond\n", 2, "a bond needs an interface-name"),
        ("[connection]\ntype=bond\ninterface-name=b\n[bond]\noptions=mode=4,x=1\n", 5, "bond.x has no equal"),
        ("[connection]\ntype=ethernet\nnonsense\n", 3, "'nonsense' is no setting"),
        ("[connection]\ntype=ethernet\n[ethernet]\ncloned-mac-address=random\n", 4, "is not made up"),
    ],
)
def test_what_networkd_has_no_equal_for_is_named_with_its_line(text: str, line: int, words: str) -> None:
    remarks = translate({f"{KEYFILES}x": text}).remarks
    assert [(each.line, words in each.message) for each in remarks] == [(line, True)], remarks


NAMES = [
    "connection.type", "connection.interface-name", "connection.master", "connection.uuid", "vlan.id", "vlan.parent",
    "ipv4.method", "ipv4.address1", "ipv4.gateway", "ipv4.route1", "ipv4.dns", "ipv6.method", "ipv6.addresses",
    "bond.mode", "bond.options", "bridge.stp", "ethernet.mtu", "ethernet.mac-address", "ipv4.ignore-auto-dns",
]  # fmt: skip
VALUES = ["ethernet", "bond", "vlan", "bridge", "a", "b", "auto", "manual", "10.0.0.1/8,10.0.0.2", "::1/64", "1", "a;b"]
SETTING = st.tuples(st.sampled_from(NAMES), st.one_of(st.sampled_from(VALUES), st.text(max_size=12)))


@given(st.lists(st.lists(SETTING, max_size=8), max_size=4))
@examples(100)
def test_any_keyfiles_become_files_that_are_lines_of_settings(connections: list[list[tuple[str, str]]]) -> None:
    texts = {}
    for index, each in enumerate(connections):
        lines = [f"[{name.partition('.')[0]}]\n{name.partition('.')[2]}={value}\n" for name, value in each]
        texts[f"{KEYFILES}{index}"] = "".join(lines)
    found = translate(texts)
    assert isinstance(found, Translated)
    for path, (text, source) in found.files.items():
        assert path.startswith("/etc/systemd/network/20-nm-")
        assert source in texts
        for line in text.splitlines():
            name = line.partition("=")[0]
            assert not line or line.startswith(("#", "[")) or (name.isalnum() and name[0].isupper()), line


# --- in a config ---


@pytest.fixture
def networkd(tree: Path) -> Path:
    path = tree / NETWORKD.lstrip("/")
    path.parent.mkdir(parents=True)
    path.touch()
    return tree


def test_a_config_for_networkmanager_sets_up_networkd(networkd: Path, machine: Machine) -> None:
    loaded = translate_keyfiles(load("variant: fcos\nversion: 1.5.0\nstorage: " + storage(), "m.bu"), machine.root)
    assert loaded.warnings == ()
    carry_out(plan(loaded, machine, CONFIG_ONLY), loaded, machine, Log(io.StringIO()))
    made = networkd / "etc/systemd/network/20-nm-ens2.network"
    assert "Address=10.10.10.10/24" in made.read_text()
    assert made.stat().st_mode & 0o777 == 0o644
    assert (networkd / KEYFILES.lstrip("/") / "ens2.nmconnection").stat().st_mode & 0o777 == 0o600
    # What was applied is recorded whole; made again it is the same.
    again = translate_keyfiles(load(json.dumps(dump(loaded.config)), "applied.json"), machine.root)
    assert [file.path for file in again.config.storage.files] == [file.path for file in loaded.config.storage.files]


def storage(text: str = STATIC) -> str:
    contents: dict[str, Any] = {"inline": text}
    return json.dumps({"files": [{"path": f"{KEYFILES}ens2.nmconnection", "mode": 0o600, "contents": contents}]}) + "\n"


def test_an_image_with_networkmanager_gets_nothing_else(networkd: Path, machine: Machine) -> None:
    (networkd / "usr/sbin").mkdir()
    (networkd / NETWORK_MANAGER.lstrip("/")).touch()
    loaded = load("variant: fcos\nversion: 1.5.0\nstorage: " + storage(), "m.bu")
    assert translate_keyfiles(loaded, machine.root) == loaded


def test_what_has_no_effect_is_a_warning_at_the_files_line(networkd: Path, machine: Machine) -> None:
    text = "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n" + f"    - path: {KEYFILES}w.nmconnection\n"
    text += "      contents:\n        inline: |\n          [connection]\n          type=wifi\n"
    (warning,) = translate_keyfiles(load(text, "m.bu"), machine.root).warnings
    assert str(warning).startswith(
        f"m.bu:5:13: warning: {KEYFILES}w.nmconnection, line 2: without effect: a connection"
    )


def test_a_file_of_the_config_itself_comes_first(networkd: Path, machine: Machine) -> None:
    files = json.loads(storage())["files"]
    files.append({"path": "/etc/systemd/network/20-nm-ens2.network", "contents": {"inline": "[Match]\nName=x\n"}})
    loaded = load("variant: fcos\nversion: 1.5.0\nstorage: " + json.dumps({"files": files}), "m.bu")
    assert len(translate_keyfiles(loaded, machine.root).config.storage.files) == 2
