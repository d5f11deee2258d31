"""Three machines that are an etcd cluster by their first-boot configs, and whose containers share a network.

What is promised when members are lost is seen here: writes go on without one, are refused without two, and nothing that
was written is lost. Leases of subnets lie in the same cluster.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.boot.conftest import MACHINES, REPOSITORY
from tests.support.clusters import connected
from tests.support.machines import build_text
from vm.fakes.authority import Authority
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = REPOSITORY / "out" / "etcd-and-overlay"
DEFINITION = """\
name: member
version: 1.0.0
features: [base, containers, etcd, overlay-network]
overlays: [given]
containers:
  - name: web
    definition: containers/web.yaml
    enable: false
outputs: [qcow2]
"""
NAMES = ("etcd-1", "etcd-2", "etcd-3")
ADDRESSES = ("10.77.0.10", "10.77.0.11", "10.77.0.12")
# Emulated machines answer late.
SLOW = """\
variant: buildos
version: 1.0.0
systemd:
  units:
    - name: etcd.service
      dropins:
        - name: slow.conf
          contents: |
            [Service]
            Environment=ETCD_HEARTBEAT_INTERVAL=500 ETCD_ELECTION_TIMEOUT=5000
"""
# What containerd does with a list of plugins (https://www.cni.dev/docs/spec/): a namespace, an address in it.
CNI_ADD = """\
import json, os, subprocess, sys
list_ = json.load(open("/etc/cni/net.d/05-overlay.conflist"))
subprocess.run(["ip", "netns", "add", "c1"], check=True)
given = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0"}
environment = {**os.environ, **given, "CNI_PATH": "/usr/lib/cni"}
result = None
for plugin in list_["plugins"]:
    conf = {**plugin, "name": list_["name"], "cniVersion": list_["cniVersion"]}
    if "capabilities" in conf:
        conf["runtimeConfig"] = {"portMappings": [{"hostPort": 8081, "containerPort": 8080, "protocol": "tcp"}]}
    if result:
        conf["prevResult"] = result
    command = ["/usr/lib/cni/" + conf["type"]]
    done = subprocess.run(command, input=json.dumps(conf).encode(), env=environment, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.stdout.decode())
    result = json.loads(done.stdout)
print(result["ips"][0]["address"])
"""
# Without TLS, of another member's port for its peers.
ASK_A_PEER = """\
import socket
peer = socket.create_connection(("10.77.0.11", 2380))
peer.sendall(b"GET /members HTTP/1.0\\r\\n\\r\\n")
print(peer.recv(99))
"""


def make_config(authority: Authority, number: int, folder: Path) -> Path:
    """A member's first-boot config, as docs/clusters.md makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    name, address = NAMES[number], ADDRESSES[number]
    certificate = authority.issue(name, address, "127.0.0.1")
    for source, target in (
        (authority.path, "ca.crt"),
        (certificate.path, "member.crt"),
        (certificate.key, "member.key"),
    ):
        shutil.copyfile(source, folder / target)
    (folder / "slow.yaml").write_text(SLOW)
    values = {
        "name": name,
        "address": address,
        "members": ",".join(f"{name}=https://{address}:2380" for name, address in zip(NAMES, ADDRESSES, strict=True)),
        "endpoints": ",".join(f"https://{each}:2379" for each in (address, *ADDRESSES)),
    }
    command = [sys.executable, "-m", "builder", "config", "merge", "--files-dir", folder, "-o", folder / "config.json"]
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    files = [MACHINES / "etcd.yaml", MACHINES / "overlay-network.yaml", folder / "slow.yaml"]
    subprocess.run([*command, *files], check=True, cwd=REPOSITORY)
    return folder / "config.json"


@pytest.fixture(scope="module")
def members(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """The three machines, up and one cluster."""
    shutil.copytree(REPOSITORY / "configs" / "containers", OUT / "containers", dirs_exist_ok=True)
    # flanneld, where somebody has it, runs in place of our own agent: BUILD_OS_FLANNELD=/path/to/flanneld
    programs = OUT / "overlays" / "given" / "usr" / "bin"
    shutil.rmtree(OUT / "overlays", ignore_errors=True)
    programs.mkdir(parents=True)
    if flanneld := os.environ.get("BUILD_OS_FLANNELD"):
        shutil.copyfile(flanneld, programs / "flanneld")
        (programs / "flanneld").chmod(0o755)
    manifest = build_text(DEFINITION, OUT, store)
    folder = tmp_path_factory.mktemp("configs")
    authority = Authority(Tools(read_image(manifest).tools, QuietConsole()), folder)
    configs = [make_config(authority, number, folder / name) for number, name in enumerate(NAMES)]
    with connected(OUT / "machines", store) as start:
        machines = []
        for name, config in zip(NAMES, configs, strict=True):
            machine = start(name, manifest, config=config, memory=1024)
            machine.wait_firstboot()
            machine.wait_unit("basic.target")
            machines.append(machine)
        for machine in machines:
            machine.wait_unit("etcd.service")
        yield machines


def etcdctl(machine: Machine, arguments: str, *, more: str = "") -> tuple[int, str]:
    """What etcdctl says of this member alone."""
    done = machine.run("sh", "-c", f". /etc/profile.d/etcdctl.sh; {more} etcdctl --command-timeout=20s {arguments}")
    return done.status, done.stdout.strip() + done.stderr.strip()


def wait_in(machine: Machine, condition: str) -> None:
    machine.succeed("sh", "-c", f". /etc/profile.d/etcdctl.sh; until {condition}; do sleep 1; done")


def find_subnet(machine: Machine) -> str:
    """The subnet that a machine has leased, as it is called in etcd."""
    wait_in(machine, "test -s /run/flannel/subnet.env")
    values = dict(line.split("=") for line in machine.read("/run/flannel/subnet.env").split())
    assert values["FLANNEL_NETWORK"] == "10.5.0.0/16"
    assert values["FLANNEL_MTU"] == "1450"
    return values["FLANNEL_SUBNET"].replace(".1/24", ".0-24")


def test_three_first_boot_configs_make_one_cluster(members: list[Machine]) -> None:
    for machine in members:
        status, said = etcdctl(machine, "member list")
        assert (status, said.count("started")) == (0, 3), said
    assert etcdctl(members[0], "put before one") == (0, "OK")
    assert etcdctl(members[2], "get before --print-value-only") == (0, "one")
    assert members[0].succeed("stat -c %U:%a /var/lib/etcd /etc/etcd/pki/member.key") == "etcd:700\netcd:600"
    listeners = members[0].succeed("ss -Hltn").split()
    assert not [each for each in listeners if each.endswith((":2379", ":2380")) and each.startswith(("0.0.0.0", "*"))]


def test_nobody_without_a_certificate_is_answered(members: list[Machine]) -> None:
    status, said = etcdctl(members[0], "get before", more="ETCDCTL_CERT= ETCDCTL_KEY=")
    assert status != 0, said
    status, said = etcdctl(members[0], "get before", more="ETCDCTL_CACERT=/etc/ssl/certs/ca-certificates.crt")
    assert status != 0, said
    assert "members" not in members[0].run("python3", "-c", ASK_A_PEER).stdout


def test_containers_on_two_machines_reach_each_other(members: list[Machine]) -> None:
    one, two, _three = members
    assert find_subnet(one) != find_subnet(two)
    one.succeed("podman run --detach --name page --network overlay localhost/web:1.0.0")
    page = one.succeed("podman inspect --format {{.NetworkSettings.Networks.overlay.IPAddress}} page").strip()
    wget = f'["/usr/bin/busybox", "wget", "-q", "-O", "-", "http://{page}:8080/"]'
    answer = two.succeed("podman", "run", "--rm", "--network", "overlay", "--entrypoint", wget, "localhost/web:1.0.0")
    assert "<html" in answer.lower()

    # The same by CNI plugins, as containerd and CRI use them, with a port of the machine that leads into the container.
    address = two.succeed("python3", "-c", CNI_ADD).strip().partition("/")[0]
    serve = "--property=NetworkNamespacePath=/run/netns/c1 --working-directory=/usr/lib python3 -m http.server 8080"
    two.succeed(f"systemd-run --quiet --unit=serve {serve}")
    wait_in(two, "ip netns exec c1 ss -Hltn sport = :8080 | grep -q LISTEN")
    for url in (f"http://{address}:8080/os-release", f"http://{ADDRESSES[1]}:8081/os-release"):
        wget = f'["/usr/bin/busybox", "wget", "-q", "-O", "-", "{url}"]'
        command = ("podman", "run", "--rm", "--network", "overlay", "--entrypoint", wget, "localhost/web:1.0.0")
        assert "ID=debian" in one.succeed(*command), url
    # The container is seen under its own address: nothing on the way hides it.
    asked = two.succeed("journalctl --boot --output=cat --unit=serve")
    assert one.read("/run/flannel/subnet.env").split("FLANNEL_SUBNET=")[1].split(".1/24")[0] in asked


def test_a_lost_lease_is_taken_again(members: list[Machine]) -> None:
    one, two, _three = members
    subnet = find_subnet(one)
    key = f"/coreos.com/network/subnets/{subnet}"
    before = etcdctl(two, f"get {key} --print-value-only")
    assert etcdctl(two, f"del {key}") == (0, "1")
    wait_in(two, f"etcdctl get {key} --print-value-only | grep -q PublicIP")
    assert etcdctl(two, f"get {key} --print-value-only") == before
    assert find_subnet(one) == subnet
    network = subnet.replace("-", "/")
    wait_in(two, f"ip route show dev flannel.1 | grep -q '^{network}'")


def test_a_member_that_is_cut_off_catches_up(members: list[Machine]) -> None:
    one, two, three = members
    three.unplug()
    for number in range(20):
        assert etcdctl(one if number % 2 else two, f"put while-away-{number} {number}") == (0, "OK")
    three.boot()
    three.wait_unit("etcd.service")
    # Of this member alone, without asking the others.
    wait_in(three, "etcdctl get while-away-19 --consistency=s --print-value-only | grep -qx 19")
    status, said = etcdctl(three, "get while-away- --prefix --consistency=s --keys-only")
    assert (status, said.count("while-away-")) == (0, 20)


def test_a_member_behind_a_cut_network_acknowledges_no_writes_and_catches_up(members: list[Machine]) -> None:
    one, two, three = members
    assert etcdctl(one, "put across before") == (0, "OK")
    three.net_down()
    # Those who are two go on, with a leader of theirs; the one alone answers with what it knows, and takes nothing.
    wait_in(one, "etcdctl put across after >/dev/null")
    assert etcdctl(two, "get across --print-value-only") == (0, "after")
    status, said = etcdctl(three, "put lonely yes")
    assert status != 0, said
    assert etcdctl(three, "get across --consistency=s --print-value-only") == (0, "before")
    three.net_up()
    wait_in(three, "etcdctl get across --print-value-only | grep -qx after")
    # What was not acknowledged may be written nevertheless: a member hands it to the leader that it still believes in,
    # and TCP delivers that when the network is back. Whatever became of it, all members say the same.
    assert etcdctl(three, "put together again") == (0, "OK")
    said_by = {etcdctl(member, "get lonely --print-value-only") for member in members}
    assert said_by in ({(0, "")}, {(0, "yes")})


def test_without_two_members_nothing_is_written_and_nothing_lost(members: list[Machine]) -> None:
    one, two, three = members
    assert etcdctl(one, "put last-word kept") == (0, "OK")
    two.unplug()
    three.unplug()
    status, said = etcdctl(one, "put refused yes")
    assert status != 0, said
    assert etcdctl(one, "get last-word --consistency=s --print-value-only") == (0, "kept")
    # Who cannot ask etcd still sends packets where they went.
    assert "flannel.1" in one.succeed("ip route show dev flannel.1") or one.succeed("ip link show flannel.1")
    two.boot()
    two.wait_unit("etcd.service")
    wait_in(one, "etcdctl get last-word --print-value-only | grep -qx kept")
    for key, value in (("before", "one"), ("while-away-7", "7"), ("last-word", "kept")):
        assert etcdctl(two, f"get {key} --print-value-only") == (0, value)
    assert etcdctl(two, "put after again") == (0, "OK")
