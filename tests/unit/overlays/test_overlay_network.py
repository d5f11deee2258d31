"""What the agent makes of flannel's data in etcd, which subnet a machine gets, and what is done to the network."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def subnets(module):
    return module("subnets")


@pytest.fixture(scope="module")
def device(module):
    return module("device")


def test_a_network_has_flannels_defaults(subnets) -> None:
    network = subnets.parse_network('{"Network": "10.5.0.0/16"}')
    assert (network.length, str(network.first), str(network.last)) == (24, "10.5.1.0", "10.5.255.0")
    assert (network.vni, network.port) == (1, 8472)
    small = subnets.parse_network('{"Network": "10.5.0.0/23"}')
    assert (small.length, str(small.first), str(small.last)) == (25, "10.5.0.128", "10.5.1.128")


def test_a_network_may_say_all_of_it(subnets) -> None:
    backend = {"Type": "vxlan", "VNI": 7, "Port": 4789}
    text = {"Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0"}
    network = subnets.parse_network(json.dumps({**text, "Backend": backend}))
    assert (network.length, network.vni, network.port) == (20, 7, 4789)
    assert network.holds(IPv4Network("10.10.16.0/20"))
    assert not network.holds(IPv4Network("10.100.0.0/20"))
    assert not network.holds(IPv4Network("10.10.1.0/24"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a network"),
        ("[]", "is not a network"),
        ("{}", "'Network'"),
        ('{"Network": "10.5.0.1/16"}', "host bits set"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 16}', "SubnetLen is 16"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 31}', "SubnetLen is 31"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}', "SubnetMin is 10.6.0.0"),
        ('{"Network": "10.5.0.0/16", "SubnetMax": "10.5.9.1"}', "SubnetMax is 10.5.9.1"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}', "only vxlan"),
        ('{"Network": "10.5.0.0/16", "Backend": {"DirectRouting": true}}', "only flanneld"),
        ('{"Network": "10.5.0.0/16", "EnableIPv6": true}', "only IPv4"),
        ('{"Network": "10.5.0.0/16", "Backend": 3}', "is not a network"),
    ],
)
def test_a_network_that_is_none_is_refused_with_the_reason(subnets, text: str, why: str) -> None:
    with pytest.raises(subnets.ConfigurationError, match=why):
        subnets.parse_network(text)


def test_a_lease_is_written_as_flannel_writes_it(subnets) -> None:
    lease = subnets.Lease(IPv4Network("10.5.34.0/24"), IPv4Address("192.0.2.7"), "5e:11:22:33:44:55")
    value = subnets.format_lease(lease, 1)
    data = '{"VNI":1,"VtepMAC":"5e:11:22:33:44:55"}'
    assert value == f'{{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{data}}}'
    assert subnets.make_key(lease.subnet) == "10.5.34.0-24"
    assert subnets.parse_lease("/coreos.com/network/subnets/10.5.34.0-24", value) == lease


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("10.5.34.0-24&fd00::-64", "{}"),
        ("x", "{}"),
        ("10.5.34.1-24", "{}"),
        ("10.5.34.0-24", "no JSON"),
        ("10.5.34.0-24", '{"PublicIP": "192.0.2.7", "BackendType": "host-gw", "BackendData": {}}'),
        ("10.5.34.0-24", '{"PublicIP": "192.0.2.7", "BackendType": "vxlan", "BackendData": {"VtepMAC": "; rm"}}'),
        ("10.5.34.0-24", '{"PublicIP": "x", "BackendType": "vxlan", "BackendData": {"VtepMAC": "5e:11:22:33:44:55"}}'),
    ],
)
def test_a_lease_that_vxlan_cannot_use_is_none(subnets, key: str, value: str) -> None:
    assert subnets.parse_lease(key, value) is None


def test_the_subnet_of_last_time_is_taken_again_if_it_is_free(subnets) -> None:
    network = subnets.parse_network('{"Network": "10.5.0.0/16"}')
    last = IPv4Network("10.5.9.0/24")
    assert subnets.choose_subnet(network, [], last, 0) == last
    assert subnets.choose_subnet(network, [last], last, 8) == IPv4Network("10.5.10.0/24")
    assert subnets.choose_subnet(network, [], IPv4Network("10.6.9.0/24"), 0) == IPv4Network("10.5.1.0/24")


@given(draw=st.integers(0, 2**32 - 1), taken=st.sets(st.integers(1, 7), max_size=6))
def test_a_subnet_is_chosen_that_nobody_has(subnets, draw: int, taken: set[int]) -> None:
    network = subnets.parse_network('{"Network": "10.5.0.0/21"}')
    small = subnets.parse_network('{"Network": "10.5.0.0/21", "SubnetLen": 24}')
    assert network == small
    had = {IPv4Network(f"10.5.{number}.0/24") for number in taken}
    chosen = subnets.choose_subnet(network, had, None, draw)
    assert network.holds(chosen)
    assert chosen not in had


def test_when_all_subnets_are_leased_that_is_said(subnets) -> None:
    network = subnets.parse_network('{"Network": "10.5.0.0/23"}')
    taken = [IPv4Network(f"10.5.{place}/25") for place in ("0.128", "1.0", "1.128")]
    with pytest.raises(subnets.ConfigurationError, match=r"all 3 subnets of 10\.5\.0\.0/23 are leased"):
        subnets.choose_subnet(network, taken, None, 5)


def test_the_subnet_file_is_read_as_it_was_written(subnets) -> None:
    network = subnets.parse_network('{"Network": "10.5.0.0/16"}')
    text = subnets.format_subnet_file(network, IPv4Network("10.5.9.0/24"), 1450, True)
    assert text == ("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.9.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
    values = subnets.parse_subnet_file(f"# a comment\n{text}\nnonsense\n")
    assert subnets.find_last_subnet(values) == IPv4Network("10.5.9.0/24")
    assert subnets.find_last_subnet({}) is None


def test_leases_become_routes_and_those_that_go_take_them_along(subnets, device) -> None:
    ours = device.Device("flannel.1", device.Uplink("eth0", "192.0.2.1", 1500), 1, 8472, "5e:00:00:00:00:01")
    assert ours.mtu == 1450
    one = subnets.Lease(IPv4Network("10.5.1.0/24"), IPv4Address("192.0.2.2"), "5e:00:00:00:00:02")
    two = subnets.Lease(IPv4Network("10.5.2.0/24"), IPv4Address("192.0.2.3"), "5e:00:00:00:00:03")
    assert device.list_changes(ours, {one}, {one}) == []
    assert [" ".join(command) for command in device.list_changes(ours, {one}, {two})] == [
        "ip route delete 10.5.1.0/24 dev flannel.1",
        "bridge fdb delete 5e:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self",
        "ip neighbour delete 10.5.1.0 dev flannel.1",
        "ip neighbour replace 10.5.2.0 lladdr 5e:00:00:00:00:03 nud permanent dev flannel.1",
        "bridge fdb replace 5e:00:00:00:00:03 dev flannel.1 dst 192.0.2.3 self permanent",
        "ip route replace 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    ]


@given(st.binary(min_size=6, max_size=6))
def test_a_hardware_address_is_for_one_card_and_ours_to_give(device, drawn: bytes) -> None:
    first = int(device.make_hardware_address(drawn).split(":")[0], 16)
    assert first & 3 == 2


def test_a_device_stays_if_it_is_as_it_should_be(device) -> None:
    ours = device.Device("flannel.1", device.Uplink("eth0", "192.0.2.1", 1500), 1, 8472, "5e:00:00:00:00:01")
    data = {"id": 1, "local": "192.0.2.1", "port": 8472, "link": "eth0"}
    assert ours.is_like({"mtu": 1450, "linkinfo": {"info_data": data}})
    assert not ours.is_like({"mtu": 1450, "linkinfo": {"info_data": {**data, "port": 4789}}})
    assert not ours.is_like({"mtu": 9000, "linkinfo": {"info_data": data}})
    assert not ours.is_like({})


def test_podman_and_the_cni_plugins_share_a_subnet_and_no_address(module) -> None:
    podman = module("podman")
    subnet = IPv4Network("10.5.9.0/24")
    cni, ours = podman.split(subnet)
    assert [str(address) for address in (*cni, *ours)] == ["10.5.9.2", "10.5.9.127", "10.5.9.128", "10.5.9.254"]
    written = json.loads(podman.format_network(subnet, 1450))
    assert written["subnets"][0]["gateway"] == "10.5.9.1"
    assert written["options"] == {"mtu": "1450", "mode": "unmanaged"}


def test_settings_are_flannelds(module, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, subnets = module("agent"), module("subnets")
    defaults = agent.read_settings({})
    assert (defaults.endpoints, defaults.prefix) == (["http://127.0.0.1:2379"], "/coreos.com/network")
    assert (str(defaults.subnet_file), defaults.duration) == ("/run/flannel/subnet.env", 86400)
    names = {"ETCD_ENDPOINTS": "https://a:2379, https://b:2379/", "IP_MASQ": "true", "IFACE": "eth1"}
    settings = agent.read_settings({f"FLANNELD_{name}": value for name, value in names.items()})
    assert settings.endpoints == ["https://a:2379", "https://b:2379"]
    assert settings.masquerade
    for wrong in (
        {"FLANNELD_ETCD_ENDPOINTS": "10.0.0.1:2379"},
        {"FLANNELD_IP_MASQ": "maybe"},
        {"OVERLAY_NETWORK_LEASE_SECONDS": "1d"},
        {"OVERLAY_NETWORK_LEASE_SECONDS": "1"},
    ):
        with pytest.raises(subnets.ConfigurationError, match=next(iter(wrong))):
            agent.read_settings(wrong)


class FakeEtcd:
    """A store of keys whose leases end when the test says so."""

    def __init__(self, entry: type) -> None:
        self.entry = entry
        self.keys: dict[str, tuple[str, int, int]] = {}
        self.granted = 0
        self.revision = 1

    def list_below(self, prefix: str):
        entries = [
            self.entry(key, value, revision, lease)
            for key, (value, revision, lease) in sorted(self.keys.items())
            if key.startswith(prefix)
        ]
        return entries, self.revision

    def grant(self, seconds: int) -> int:
        self.granted += 1
        return self.granted

    def revoke(self, lease: int) -> None:
        self.keys = {key: kept for key, kept in self.keys.items() if kept[2] != lease}

    def create(self, key: str, value: str, lease: int) -> bool:
        return key not in self.keys and self._put(key, value, lease)

    def replace(self, key: str, revision: int, value: str, lease: int) -> bool:
        return self.keys[key][1] == revision and self._put(key, value, lease)

    def _put(self, key: str, value: str, lease: int) -> bool:
        self.revision += 1
        self.keys[key] = (value, self.revision, lease)
        return True


def test_a_machine_gets_its_own_subnet_again_and_never_that_of_another(module, tmp_path) -> None:
    agent, etcd, subnets, device = (module(name) for name in ("agent", "etcd", "subnets", "device"))
    network = subnets.parse_network('{"Network": "10.5.0.0/16"}')
    store = FakeEtcd(etcd.Entry)

    def take(address: str, hardware: str, folder: str) -> IPv4Network:
        settings = agent.read_settings({"FLANNELD_SUBNET_FILE": str(tmp_path / folder / "subnet.env")})
        uplink = device.Uplink("eth0", address, 1500)
        return agent.Agent(settings, store)._take(network, device.Device("flannel.1", uplink, 1, 8472, hardware))

    one = take("192.0.2.1", "5e:00:00:00:00:01", "one")
    two = take("192.0.2.2", "5e:00:00:00:00:02", "two")
    assert one != two
    # After a reboot the device has another address, and the lease says so.
    assert take("192.0.2.1", "5e:00:00:00:00:0a", "one") == one
    key = f"/coreos.com/network/subnets/{subnets.make_key(one)}"
    assert "5e:00:00:00:00:0a" in store.keys[key][0]
    # The lease has ended, and the file still knows which subnet it was.
    agent.write(tmp_path / "one" / "subnet.env", f"FLANNEL_SUBNET={one.network_address + 1}/24\n")
    del store.keys[key]
    assert take("192.0.2.1", "5e:00:00:00:00:0a", "one") == one
    # Meanwhile somebody else has it.
    store.keys[key] = (store.keys[f"/coreos.com/network/subnets/{subnets.make_key(two)}"][0], 99, 0)
    assert take("192.0.2.1", "5e:00:00:00:00:0a", "one") not in (one, two)


def test_a_machine_that_finds_no_free_subnet_leaves_nothing_in_etcd(module, tmp_path) -> None:
    agent, etcd, subnets, device = (module(name) for name in ("agent", "etcd", "subnets", "device"))
    network = subnets.parse_network('{"Network": "10.5.0.0/29", "SubnetLen": 30}')
    store = FakeEtcd(etcd.Entry)
    taken = subnets.Lease(IPv4Network("10.5.0.4/30"), IPv4Address("192.0.2.9"), "5e:00:00:00:00:09")
    store.create("/coreos.com/network/subnets/10.5.0.4-30", subnets.format_lease(taken, 1), 0)
    settings = agent.read_settings({"FLANNELD_SUBNET_FILE": str(tmp_path / "subnet.env")})
    ours = device.Device("flannel.1", device.Uplink("eth0", "192.0.2.1", 1500), 1, 8472, "5e:00:00:00:00:01")
    with pytest.raises(subnets.ConfigurationError, match="all 1 subnets"):
        agent.Agent(settings, store)._take(network, ours)
    assert store.granted == 0


def test_the_plugin_hands_the_leased_subnet_to_the_bridge(plugin, tmp_path) -> None:
    file = tmp_path / "subnet.env"
    file.write_text("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.9.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
    conf = {"name": "overlay", "cniVersion": "1.0.0", "type": "flannel", "delegate": {"bridge": "overlay0"}}
    delegate = plugin.make_delegate(conf, plugin.read_subnet_file(file))
    pool = {"subnet": "10.5.9.0/24", "rangeStart": "10.5.9.2", "rangeEnd": "10.5.9.127"}
    assert delegate == {
        "name": "overlay",
        "cniVersion": "1.0.0",
        "type": "bridge",
        "bridge": "overlay0",
        "isGateway": True,
        "ipMasq": False,
        "mtu": 1450,
        "ipam": {"type": "host-local", "ranges": [[pool]], "routes": [{"dst": "10.5.0.0/16"}]},
    }


def test_without_a_subnet_the_plugin_says_try_again(
    plugin, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = {"name": "o", "cniVersion": "0.4.0", "type": "flannel", "subnetFile": str(tmp_path / "none")}
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(read=lambda: json.dumps(conf).encode())))
    for name, value in {"COMMAND": "ADD", "CONTAINERID": "c1", "IFNAME": "eth0", "PATH": "/nowhere"}.items():
        monkeypatch.setenv(f"CNI_{name}", value)
    assert plugin.main() == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["code"], said["cniVersion"]) == (11, "0.4.0")
    assert "has no subnet yet" in said["msg"]


def test_deleting_what_was_never_added_is_no_error(plugin, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNI_CONTAINERID", "c1")
    monkeypatch.setenv("CNI_IFNAME", "eth0")
    assert plugin.perform("DEL", {"name": "o", "dataDir": str(tmp_path)}) == (0, b"")
    monkeypatch.setenv("CNI_CONTAINERID", "../c1")
    with pytest.raises(plugin.PluginError, match="CNI_CONTAINERID"):
        plugin.perform("DEL", {"name": "o", "dataDir": str(tmp_path)})
