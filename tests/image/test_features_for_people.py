"""What the features ``admin``, ``fcos-compat`` and ``flatcar-compat`` add to an image, and what they do not."""

from __future__ import annotations

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
from tests.suite.tree import PRIVILEGED
from tests.support.machines import build_text

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "tests" / "boot" / "world"


def root_of(name: str, features: str, store: Store) -> Tree:
    out = REPOSITORY / "out" / name
    build_text(f"name: {name}\nversion: 1.0.0\nfeatures: [{features}]\noutputs: [qcow2]\n", out, store)
    resolved = load(out / "os.yaml").resolved
    lock = Lock.load(make_lock_path(resolved.path))
    plan = make_plan(list_stages(resolved, lock), store, resolved.path, tools=derive_tools_key(lock.tools))
    return load_snapshot(store, plan.key)


def test_administrators_get_sudo_and_no_other_program_with_rights(store: Store) -> None:
    root = root_of("admin", "base, ssh, admin", store)
    assert {path for path, node in root.walk() if node.is_privileged} - PRIVILEGED == {"/usr/bin/sudo"}
    rules = {name: root.read_text(f"/etc/sudoers.d/{name}") for name in root.list_children("/etc/sudoers.d")}
    granted = [line for text in rules.values() for line in text.splitlines() if line and not line.startswith("#")]
    assert granted == ["%sudo ALL=(ALL:ALL) NOPASSWD: ALL"]
    tools = ("less", "nano", "curl", "file", "rsync", "lsof", "tcpdump", "strace", "ps", "ping", "ssh")
    assert [tool for tool in tools if f"/usr/bin/{tool}" not in root] == []
    assert "/usr/sbin/swapon" in root


@pytest.fixture(scope="module")
def compatible(store: Store) -> dict[str, Path]:
    """``build.json`` by the name of the variant."""
    found = {}
    for name in ("fcos", "flatcar"):
        root_of(name, f"{name}-compat", store)
        found[name] = REPOSITORY / "out" / name / "build.json"
    return found


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("f*-*")))
def test_a_config_in_the_style_of_the_world_is_accepted(compatible: dict[str, Path], config: str) -> None:
    manifest = compatible[config.partition("-")[0]]
    command = [sys.executable, "-m", "builder", "config", "check", "--image", manifest, CONFIGS / config]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


# What only Debian has at these paths, and configs of those systems write without ``overwrite``.
WRITTEN = {
    "fcos": ("/etc/issue.net", "/etc/nftables.conf", "/etc/localtime"),
    "flatcar": ("/etc/issue.net", "/etc/nftables.conf", "/etc/localtime", "/etc/subuid", "/etc/subgid"),
}


@pytest.mark.parametrize("variant", sorted(WRITTEN))
def test_no_file_of_debian_stands_where_such_configs_write_theirs(
    compatible: dict[str, Path], variant: str, tmp_path: Path
) -> None:
    config = tmp_path / "machine.bu"
    files = "".join(f"    - {{path: {path}, contents: {{inline: x}}}}\n" for path in WRITTEN[variant])
    config.write_text(f"variant: {variant}\nversion: 1.1.0\nstorage:\n  files:\n{files}")
    command = [sys.executable, "-m", "builder", "config", "check", "--image", compatible[variant], config]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "a file is there already" not in checked.stderr
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("sshd", "starts"), [("/usr/lib/systemd/system/ssh.service", True), ("/dev/null", False), (None, True)]
)
def test_no_ssh_server_starts_where_a_config_masks_sshd(
    store: Store, tools: Tools, tmp_path: Path, sshd: str | None, starts: bool
) -> None:
    root = root_of("admin", "base, ssh, admin", store)
    name = "/etc/systemd/system/sshd.service"
    assert root.require(name, follow=False).target == "/usr/lib/systemd/system/ssh.service"
    link, unit = tmp_path / "sshd.service", tmp_path / "ssh.service"
    unit.write_text(root.read_text("/usr/lib/systemd/system/ssh.service"))
    if sshd is not None:
        link.symlink_to(unit if starts else sshd)
    dropin = root.read_text("/usr/lib/systemd/system/ssh.service.d/50-masked-as-sshd.conf").replace(name, str(link))
    conditions = [line for line in dropin.splitlines() if line.startswith("Condition")]
    asked = subprocess.run(
        tools.make_argv("systemd-analyze", "condition", *conditions),
        env=tools.make_environment(),
        capture_output=True,
        check=False,
    )
    assert (asked.returncode == 0) is starts
