"""A node of Kubernetes without Kubernetes' programs: all that they want of a machine is there, and kubelet waits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from builder.core.store import Store
from tests.boot.conftest import REPOSITORY
from tests.support.machines import booted, build_text
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = REPOSITORY / "out" / "kubernetes-node"
DEFINITION = """\
name: node
version: 1.0.0
features: [base, kubernetes]
containers:
  - {name: pause, definition: containers/pause.yaml, runtime: cri, enable: false}
outputs: [qcow2]
"""


@pytest.fixture(scope="module")
def node(store: Store) -> Iterator[Machine]:
    """A machine with the feature and no config."""
    shutil.copytree(REPOSITORY / "configs" / "containers", OUT / "containers", dirs_exist_ok=True)
    manifest = build_text(DEFINITION, OUT, store)
    with booted(manifest, OUT / "machine", store, seconds=300, boot="kernel", memory=1024) as machine:
        yield machine


def test_kubelet_waits_and_says_for_what(node: Machine) -> None:
    properties = node.unit("kubelet.service")
    assert (properties["ActiveState"], properties["ConditionResult"]) == ("inactive", "no")
    assert "/usr/bin/kubelet" in node.run("systemctl status --no-pager kubelet.service").stdout
    assert "10-kubeadm.conf" in properties["DropInPaths"]
    assert node.succeed("systemctl list-units --failed --no-legend --plain") == ""


def test_the_kernel_is_as_kubeadm_and_kubelet_want_it(node: Machine) -> None:
    wanted = {
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
        # protectKernelDefaults: true
        "vm.overcommit_memory": "1",
        "vm.panic_on_oom": "0",
        "kernel.panic": "10",
        "kernel.panic_on_oops": "1",
        "kernel.keys.root_maxkeys": "1000000",
        "kernel.keys.root_maxbytes": "25000000",
    }
    assert {name: node.read(f"/proc/sys/{name.replace('.', '/')}").strip() for name in wanted} == wanted
    assert node.read("/proc/swaps").count("\n") == 1
    assert node.succeed("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
    for program in ("conntrack", "ethtool", "ip", "iptables", "mount", "nsenter", "socat", "tc"):
        node.succeed("sh", "-c", f"command -v {program}")
    for directory in ("/etc/kubernetes/manifests", "/var/lib/kubelet/volumeplugins"):
        node.succeed("test", "-w", directory)


def test_containerd_serves_cri_and_has_the_pause_image(node: Machine) -> None:
    node.wait_unit("containerd-images.service")
    assert "ok" in node.succeed("sh", "-c", "ctr plugins ls | grep ' cri '")
    settings = node.succeed("containerd config dump")
    assert 'sandbox_image = "localhost/pause:1.0.0"' in settings
    assert "SystemdCgroup = true" in settings
    assert "localhost/pause:1.0.0" in node.succeed("ctr --namespace k8s.io images ls --quiet")
