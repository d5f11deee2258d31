"""A system as a container image: podman runs a command in it and starts it, and systemd-nspawn boots it."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from builder.oci.check import validate_layout
from tests.support.debian_programs import open_programs
from tests.support.machines import build_text
from tests.support.oci_schemas import find_mistakes_of_layout

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.image
as_root = pytest.mark.skipif(os.getuid() != 0, reason="containers of root")

# What a host has and this machine may not: a /run in memory and a tree of cgroups as of today, for one command.
HOST = "mount -t tmpfs none /run; mount -t cgroup2 none /sys/fs/cgroup"
STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/root"\nrunroot = "{0}/run"\n'
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
PODMAN = "podman --cgroup-manager cgroupfs --events-backend file --runtime crun"
# There may be no controllers in the tree of cgroups; names and network are the host's affair.
LIMITS = "--pids-limit 0 --network none"
RUN = f"""
{HOST}
{PODMAN} pull -q --signature-policy policy.json oci-archive:$1 >&2
{PODMAN} run --rm {LIMITS} localhost/demo:1.0.0 sh -c '. /etc/os-release; echo $IMAGE_ID $IMAGE_VERSION; echo ~ >~/home
cat /root/home'
{PODMAN} run -d --name os {LIMITS} localhost/demo:1.0.0 >&2
for second in $(seq 90); do
    state=$({PODMAN} exec os systemctl is-system-running || true)
    case $state in running|degraded) break ;; esac
    sleep 1
done
{PODMAN} exec os sh -c "systemctl is-active multi-user.target; systemctl --failed --plain --no-legend --no-pager
systemd-detect-virt; systemctl is-active systemd-journald" || true
{PODMAN} stop -t 60 os >&2
{PODMAN} inspect os --format '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}'
{PODMAN} create --name booted localhost/demo:1.0.0 >&2
root=$({PODMAN} mount booted)
systemd-nspawn --quiet --boot --directory=$root --machine=os --register=no --keep-unit --link-journal=no \\
    --console=pipe --private-network \\
    --load-credential=systemd.extra-unit.report.service:$PWD/report.service \\
    systemd.wants=report.service >&2
cat $root/var/report
{PODMAN} umount booted >&2
"""
REPORT = """
[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff-force
[Service]
Type=oneshot
StandardOutput=append:/var/report
ExecStart=-systemctl is-active multi-user.target
ExecStart=-systemctl --failed --plain --no-legend --no-pager
ExecStart=systemd-detect-virt
"""


@pytest.fixture(scope="module")
def archive(demo: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive. It is built first: all but the image itself is in the store then."""
    assert demo.is_file()
    place = tmp_path_factory.mktemp("os")
    (place / "containers").symlink_to(REPOSITORY / "configs/containers")
    text = (REPOSITORY / "configs/demo.yaml").read_text(encoding="utf-8")
    manifest = build_text(text.replace("outputs: [qcow2]", "outputs: [oci]"), place, store)
    return manifest.parent / json.loads(manifest.read_text(encoding="utf-8"))["artifacts"]["oci"]["path"]


def test_image_has_the_system_and_no_machine(archive: Path, tools: Tools, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    assert validate_layout(tmp_path, tools) == []
    assert find_mistakes_of_layout(tmp_path) == []

    def read(digest: str) -> dict[str, dict]:
        document: dict[str, dict] = json.loads((tmp_path / "blobs" / digest.replace(":", "/")).read_bytes())
        return document

    index = json.loads((tmp_path / "index.json").read_bytes())
    manifest = read(index["manifests"][0]["digest"])
    config = read(manifest["config"]["digest"])["config"]
    assert config["Cmd"] == ["/sbin/init"]
    assert config["StopSignal"] == "SIGRTMIN+3"
    assert "container=oci" in config["Env"]
    assert len(manifest["layers"]) > 5
    names = set()
    for layer in manifest["layers"]:
        with tarfile.open(tmp_path / "blobs" / layer["digest"].replace(":", "/")) as tar:
            names |= {name.removeprefix("./") for name in tar.getnames()}
    assert {"usr/bin/podman", "usr/lib/systemd/systemd", "var/lib/dpkg/status", "var/roothome", "var/tmp"} <= names
    assert not [name for name in names if name.startswith(("usr/lib/modules/", "boot/", "usr/lib/systemd/boot/"))]


@as_root
def test_podman_runs_it_and_nspawn_boots_it(archive: Path, store: Store, tmp_path: Path) -> None:
    packages = ("bash", "conmon", "coreutils", "crun", "mount", "podman", "systemd-container")
    programs = open_programs(store, *packages)
    (tmp_path / "storage.conf").write_text(STORAGE.format(tmp_path))
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    (tmp_path / "report.service").write_text(REPORT)
    done = subprocess.run(
        programs.make_argv("bash", "-ec", f"cd {tmp_path}\n{RUN}", "bash", archive),
        env=programs.make_environment({"CONTAINERS_STORAGE_CONF": f"{tmp_path}/storage.conf"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("demo 1.0.0", "/root"),
        *("active", "podman", "active"),  # and no unit that failed
        "exited 0",
        *("active", "systemd-nspawn"),
    ], done.stderr
