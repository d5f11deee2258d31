"""The network of a container that containerd runs: build-os's own, set up by Debian's plugins of CNI."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.debian_programs import open_programs

pytestmark = [pytest.mark.image, pytest.mark.skipif(os.getuid() != 0, reason="networks of root")]

REPOSITORY = Path(__file__).parents[2]
# In a network and a /run of its own: nothing of the host is touched.
SCRIPT = """
mount -t tmpfs none /run
mkdir /run/netns /run/bin
# What alternatives make in an image.
ln -s /usr/sbin/xtables-nft-multi /run/bin/iptables
ln -s /usr/sbin/xtables-nft-multi /run/bin/ip6tables
export PATH=/run/bin:$PATH
ip link set lo up
PYTHONPATH=REPOSITORY python3 -c "$PROGRAM"
"""
PROGRAM = """
import json, subprocess
from pathlib import Path
from firstboot.images import network
network.read_network.__defaults__ = (Path("REPOSITORY/overlays/cni-bridge/etc/cni/net.d"),)
def say(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
def list_leases():
    return sorted(path.name for path in Path("/run/cni/networks/build-os").glob("10.*"))
network.add_network("web", ["8080:80/tcp"])
address = json.loads(say("ip", "-netns", "web", "-json", "address", "show", "eth0"))[0]["addr_info"][0]["local"]
seen = {"address": address, "leases": list_leases(), "rules": say("iptables", "-t", "nat", "-S")}
# As after a power cut, on a disk that kept the lease.
(network.KEPT / "web.json").unlink()
say("ip", "netns", "delete", "web")
network.add_network("web", ["8080:80/tcp"])
seen["again"] = list_leases()
network.remove_network("web")
network.remove_network("web")
print(json.dumps(seen | {"left": list_leases(), "after": say("iptables", "-t", "nat", "-S")}))
"""


def test_a_container_has_an_address_and_a_published_port_and_leaves_nothing(store: Store) -> None:
    wanted = (
        "bash",
        "containernetworking-plugins",
        "coreutils",
        "iproute2",
        "iptables",
        "mount",
        "python3",
        "util-linux",
    )
    programs = open_programs(store, *wanted)
    done = subprocess.run(
        programs.make_argv("unshare", "--net", "bash", "-ec", SCRIPT.replace("REPOSITORY", str(REPOSITORY))),
        env=programs.make_environment({"PROGRAM": PROGRAM.replace("REPOSITORY", str(REPOSITORY))}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["address"].startswith("10.87.")
    assert seen["leases"] == [seen["address"]]
    assert f"--dport 8080 -j DNAT --to-destination {seen['address']}:80" in seen["rules"]
    assert len(seen["again"]) == 1
    assert seen["left"] == []
    assert "8080" not in seen["after"]
