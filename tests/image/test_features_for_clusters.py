"""What the features for several machines put into an image, and that the configs which come with them fit it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.locking import make_lock_path
from builder.stages import list_stages
from builder.stages.plan import load_snapshot, make_plan
from builder.toolstree import derive_tools_key
from builder.tree.tree import Tree
from firstboot.config.unit_text import parse_options
from tests.support.machines import build_text

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "out" / "clusters"
DEFINITION = """\
name: clusters
version: 1.0.0
features: [base, etcd, overlay-network, kubernetes, swarm]
outputs: [qcow2]
"""
CONFIGS = (
    "etcd",
    "overlay-network",
    "kubernetes-control-plane",
    "kubernetes-worker",
    "swarm-manager",
    "swarm-worker",
)
# What the configs take from files beside them.
GIVEN = (
    *("ca.crt", "member.crt", "member.key", "kubernetes-ca.crt", "kubernetes-ca.key"),
    *("join", "join.pub", "manager", "manager.pub", "known_hosts"),
)


UNITS = (
    *("etcd.service", "overlay-network.service", "flanneld.service", "kubelet.service"),
    *("docker.service", "swarm-manager.service", "swarm-worker.service"),
)


@pytest.fixture(scope="module")
def root(store: Store) -> Tree:
    """The root of an image that has them all."""
    build_text(DEFINITION, OUT, store)
    resolved = load(OUT / "os.yaml").resolved
    lock = Lock.load(make_lock_path(resolved.path))
    plan = make_plan(list_stages(resolved, lock), store, resolved.path, tools=derive_tools_key(lock.tools))
    return load_snapshot(store, plan.key)


@pytest.mark.parametrize("unit", UNITS)
def test_the_units_start_by_themselves(root: Tree, unit: str) -> None:
    assert f"/etc/systemd/system/multi-user.target.wants/{unit}" in root


def test_etcd_keeps_its_data_to_itself_and_listens_on_loopback_alone(root: Tree) -> None:
    assert "etcd:x:" in root.read_text("/etc/passwd")
    unit = root.read_text("/usr/lib/systemd/system/etcd.service.d/50-build-os.conf")
    assert "StateDirectoryMode=0700" in unit
    # Without a configuration etcd's own defaults hold, which are of loopback: nothing may say otherwise.
    files = ("/usr/lib/systemd/system/etcd.service", "/etc/default/etcd")
    assert not [path for path in files if any(line.startswith("ETCD_LISTEN") for line in root.read_text(path).split())]
    assert "/etc/etcd/etcd.conf" not in root


def test_the_agent_and_the_plugin_are_programs_of_the_image_s_python(root: Tree, tools: Tools, tmp_path: Path) -> None:
    assert root.require("/usr/lib/cni/flannel").mode & 0o777 == 0o755
    for name in ("bridge", "host-local", "portmap", "loopback"):
        assert f"/usr/lib/cni/{name}" in root
    assert {"/usr/sbin/bridge", "/usr/sbin/nft"} <= {path for path, _node in root.walk()}
    program = tmp_path / "flannel"
    program.write_text(root.read_text("/usr/lib/cni/flannel"))
    done = subprocess.run(
        [*tools.make_argv("python3", "-I", program)],
        env={**tools.make_environment(), "CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"1.0.0"' in done.stdout


def test_an_engine_of_a_swarm_is_told_what_the_engine_of_one_machine_is_but_for_live_restore(root: Tree) -> None:
    alone = json.loads((REPOSITORY / "overlays/docker/etc/docker/daemon.json").read_text())
    assert json.loads(root.read_text("/etc/docker/daemon.json")) == {**alone, "live-restore": False}
    docker = next(line for line in root.read_text("/etc/group").splitlines() if line.startswith("docker:"))
    assert docker.endswith(":swarm-join")


def test_kubelet_is_started_as_kubeadm_takes_for_granted(root: Tree) -> None:
    unit = root.read_text("/usr/lib/systemd/system/kubelet.service")
    assert "ConditionFileIsExecutable=/usr/bin/kubelet" in unit
    dropin = root.read_text("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf")
    assert "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env" in dropin
    assert "/usr/bin/kubelet" not in root
    # The image of a pod's sandbox is there before the first pod.
    options = [(name, value.split()) for _, name, value in parse_options(unit)]
    for setting in ("Wants", "After"):
        assert any(name == setting and "containerd-images.service" in units for name, units in options)
    assert "/usr/lib/systemd/system/containerd-images.service" in root


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configs_that_come_with_them_are_accepted(root: Tree, tmp_path: Path, name: str) -> None:
    for file in GIVEN:
        (tmp_path / file).write_text("a certificate\n")
    shutil.copyfile(REPOSITORY / "configs" / "machines" / f"{name}.yaml", tmp_path / f"{name}.yaml")
    out = tmp_path / "config.json"
    build_os = [sys.executable, "-m", "builder", "config"]
    subprocess.run([*build_os, "compile", "-d", tmp_path, "-o", out, tmp_path / f"{name}.yaml"], check=True)
    command = [*build_os, "check", "--image", OUT / "build.json", out]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
