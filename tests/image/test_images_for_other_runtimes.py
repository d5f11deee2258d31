"""Images of the OS under Debian's own containerd and Docker Engine: they run them, and have copied no layer.

The engines run on the host, without networks and limits; the boot tests have both, on a machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.oci.container_store import CLOSED, install_image
from builder.oci.image import Image, ImageConfig, assemble
from builder.oci.offers import OFFERS, offer_image
from builder.tree.materialise import materialise
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.cri import RUNNING, Client
from tests.support.debian_programs import open_programs

pytestmark = [pytest.mark.image, pytest.mark.skipif(os.getuid() != 0, reason="containers of root")]

REPOSITORY = Path(__file__).parents[2]
SAYS = "the page is here"
LARGE = 8 << 20
OFFER = """
import subprocess, sys
from dataclasses import replace
from pathlib import Path
from firstboot.images import read_offers
from firstboot.images.containerd import offer_to_containerd
from firstboot.images.docker import offer_to_docker
root = sys.argv[1]
offers = [
    replace(offer, layers=tuple(replace(each, path=root + each.path) for each in offer.layers))
    for offer in read_offers({"docker", "containerd", "cri"}, Path(root + sys.argv[2]))
]
def ctr(arguments, data):
    command = ["ctr", "--address", f"{root}/containerd.sock", *arguments]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout.decode()
offer_to_docker(offers, Path(root, "docker"))
for _ in range(2):
    offer_to_containerd(offers, ctr, Path(root))
"""
CONTAINERD = """
version = 2
root = "ROOT/containerd"
state = "ROOT/containerd-state"
[grpc]
  address = "ROOT/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "ROOT/opt"
"""
SCRIPT = """
cd ROOT
containerd --config ROOT/containerd.toml > ROOT/containerd.log 2>&1 & first=$!
trap 'kill $second $first; wait' EXIT
until ctr --address ROOT/containerd.sock version > /dev/null 2>&1; do kill -0 $first; sleep .2; done
PYTHONPATH=REPOSITORY python3 -c "$OFFER" ROOT OFFERS
ctr --address ROOT/containerd.sock -n build-os run --rm --cgroup '' localhost/web:1 one busybox cat /srv/page
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup
dockerd --data-root ROOT/docker --exec-root ROOT/exec --host unix://ROOT/docker.sock --pidfile ROOT/docker.pid \
  --containerd ROOT/containerd.sock --bridge none --iptables=false --ip6tables=false > ROOT/docker.log 2>&1 & second=$!
until docker --host unix://ROOT/docker.sock version > /dev/null 2>&1; do kill -0 $second; sleep .2; done
docker --host unix://ROOT/docker.sock images --format '{{.Repository}}:{{.Tag}}'
docker --host unix://ROOT/docker.sock run --rm --network none localhost/web:1 cat /srv/page
"""


WITH_CRI = (
    CONTAINERD
    + """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  disable_cgroup = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "ROOT/cni"
"""
)
SERVE = """
containerd --config ROOT/containerd.toml > ROOT/containerd.log 2>&1 & first=$!
trap 'kill $first; wait' EXIT
until ctr --address ROOT/containerd.sock version > /dev/null 2>&1; do kill -0 $first; sleep .2; done
PYTHONPATH=REPOSITORY python3 -c "$OFFER" ROOT OFFERS
echo ready
read -r _
"""


def make_image(busybox: bytes, name: str, *entrypoint: str) -> Image:
    tree = Tree()
    tree.put("/usr/bin/busybox", make_file(busybox, 0o755, origin="package:busybox-static"))
    tree.put("/srv/page", make_file(f"{SAYS}\n", origin="stage:x"))
    tree.put("/srv/large", make_file(os.urandom(LARGE), origin="stage:x"))
    return assemble(tree, ImageConfig("amd64", name, "1", entrypoint=entrypoint, environment={"PATH": "/usr/bin"}))


def test_containerd_and_docker_run_an_image_of_the_os_and_copy_no_layer(store: Store, tmp_path: Path) -> None:
    wanted = (
        "bash",
        "busybox-static",
        "containerd",
        "coreutils",
        "docker-cli",
        "docker.io",
        "mount",
        "python3",
        "runc",
    )
    programs = open_programs(store, *wanted)
    image = make_image((programs.root / "usr/bin/busybox").read_bytes(), "web", "/usr/bin/busybox")
    system = Tree()
    install_image(system, image, name="web")
    for runtime in ("docker", "containerd"):
        offer_image(system, image, runtime, name="web")
    materialise(system, tmp_path, [CLOSED])
    text = f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n{CONTAINERD}'
    (tmp_path / "containerd.toml").write_text(text.replace("ROOT", str(tmp_path)))
    script = SCRIPT.replace("ROOT", str(tmp_path)).replace("REPOSITORY", str(REPOSITORY)).replace("OFFERS", OFFERS)
    done = subprocess.run(
        programs.make_argv("bash", "-ec", script),
        env=programs.make_environment({"OFFER": OFFER}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    logs = "\n".join(each.read_text()[-2000:] for each in tmp_path.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert done.stdout.splitlines()[-3:] == [SAYS, "localhost/web:1", SAYS]
    for place in ("containerd", "docker"):
        sizes = [path.lstat().st_size for path in (tmp_path / place).rglob("*") if not path.is_symlink()]
        assert max(sizes) < 1 << 20, place  # neither the layer nor its large file


def test_a_pod_is_made_used_and_removed_over_the_cri_of_images_of_the_os(store: Store, tmp_path: Path) -> None:
    programs = open_programs(store, "bash", "busybox-static", "containerd", "coreutils", "mount", "python3", "runc")
    busybox = (programs.root / "usr/bin/busybox").read_bytes()
    system = Tree()
    for image in (
        make_image(busybox, "pause", "/usr/bin/busybox", "sleep", "1000000"),
        make_image(busybox, "web", "/usr/bin/busybox"),
    ):
        install_image(system, image, name=image.names[0])
        offer_image(system, image, "cri", name=image.names[0])
    materialise(system, tmp_path, [CLOSED])
    (tmp_path / "containerd.toml").write_text(WITH_CRI.replace("ROOT", str(tmp_path)))
    script = SERVE.replace("ROOT", str(tmp_path)).replace("REPOSITORY", str(REPOSITORY)).replace("OFFERS", OFFERS)
    server = subprocess.Popen(
        programs.make_argv("bash", "-ec", script),
        env=programs.make_environment({"OFFER": OFFER}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client = Client(f"unix:{tmp_path}/containerd.sock")
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", (tmp_path / "containerd.log").read_text()
        use_pod(client, tmp_path)
    finally:
        client.close()
        server.communicate(b"\n")
    sizes = [path.lstat().st_size for path in (tmp_path / "containerd").rglob("*") if not path.is_symlink()]
    assert max(sizes) < 1 << 20


def use_pod(client: Client, place: Path) -> None:
    """A pod in the host's network, for there are no plugins here, and a container in it: all that a kubelet does."""
    assert client.call("Version")["runtime_name"] == "containerd"
    names = sorted(name for image in client.call("ListImages")["images"] for name in image["repo_tags"])
    assert names == ["localhost/pause:1", "localhost/web:1"]
    security = {"security_context": {"namespace_options": {"network": 2}}}
    metadata = {"name": "web", "uid": "u-1", "namespace": "default"}
    sandbox = {"metadata": metadata, "log_directory": str(place / "logs"), "linux": security}
    pod = client.call("RunPodSandbox", config=sandbox)["pod_sandbox_id"]
    config = {
        "metadata": {"name": "web"},
        "image": {"image": "localhost/web:1"},
        "args": ["sh", "-c", "echo to the log; exec busybox sleep 1000"],
        "log_path": "web.log",
        "linux": security,
    }
    container = client.call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=sandbox)[
        "container_id"
    ]
    client.call("StartContainer", container_id=container)
    assert client.call("ContainerStatus", container_id=container)["status"]["state"] == RUNNING
    done = client.call("ExecSync", container_id=container, cmd=["busybox", "cat", "/srv/page"])
    assert done["stdout"].decode() == f"{SAYS}\n"
    assert client.call("ExecSync", container_id=container, cmd=["busybox", "false"])["exit_code"] == 1
    assert (place / "logs/web.log").read_text().endswith("stdout F to the log\n")
    stats = client.call("ContainerStats", container_id=container)["stats"]
    assert stats["memory"]["working_set_bytes"]["value"] > 0
    client.call("StopContainer", container_id=container, timeout=0)
    client.call("RemoveContainer", container_id=container)
    client.call("StopPodSandbox", pod_sandbox_id=pod)
    client.call("RemovePodSandbox", pod_sandbox_id=pod)
    assert client.call("ListContainers")["containers"] == []
    assert client.call("ListPodSandbox")["items"] == []
