"""Kubernetes' own programs, which are not Debian's, on machines of build-os: images, keys and configs of a cluster.

``BUILD_OS_KUBERNETES`` is a directory with kubeadm, kubectl, kubelet, kube-apiserver, kube-controller-manager,
kube-scheduler and kube-proxy. Which version they are concerns nothing but the two configs in ``configs/machines``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import build_text
from tests.support.users import REPOSITORY
from vm.fakes.authority import CURVE, Authority
from vm.machine import Machine

PROGRAMS = os.environ.get("BUILD_OS_KUBERNETES", "")
MACHINES = REPOSITORY / "configs" / "machines"
IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
TOKEN = "abcdef.0123456789abcdef"
IMAGE = """\
kind: container
name: {name}
version: {version}
packages: [{packages}]
artifacts:
  - {{name: {name}, file: {program}, path: /usr/local/bin/{name}}}
entrypoint: [/usr/local/bin/{name}]
environment:
  PATH: /usr/local/bin:/usr/sbin:/usr/bin
"""
DEFINITION = """\
name: node
version: 1.0.0
features: [base, kubernetes, etcd, overlay-network]
artifacts:
  - {name: kubelet, file: programs/kubelet, path: /usr/bin/kubelet}
  - {name: kubeadm, file: programs/kubeadm, path: /usr/bin/kubeadm}
  - {name: kubectl, file: programs/kubectl, path: /usr/bin/kubectl}
disk: {size: 16G, slot: 4G}
outputs: [qcow2]
"""
CONTAINER = "  - {{name: {name}, definition: {definition}, runtime: cri, enable: false}}\n"
KUBECTL = "export KUBECONFIG=/etc/kubernetes/admin.conf; "


def read_version() -> str:
    """That of the programs, as images are tagged with it."""
    done = subprocess.run([f"{PROGRAMS}/kubeadm", "version", "-o", "short"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_node_image(store: Store, version: str, out: Path, containers: dict[str, str], more: str = "") -> Path:
    """``build.json`` of the image of a cluster's machines, with the images of containers in it.

    Args:
        containers: those of the test by name: their definitions, relative to ``out``.
        more: further lines of the definition.
    """
    shutil.copytree(REPOSITORY / "configs" / "containers", out / "containers", dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "overlays" / "web", out / "overlays" / "web", dirs_exist_ok=True)
    shutil.rmtree(out / "programs", ignore_errors=True)
    shutil.copytree(PROGRAMS, out / "programs")
    for name in IMAGES:
        # base-files brings /lib64, in which programs that are not static look for what loads them.
        packages = "base-files, base-passwd, iptables, conntrack, kmod" if name == "kube-proxy" else "ca-certificates"
        text = IMAGE.format(name=name, version=version, packages=packages, program=f"../programs/{name}")
        (out / "containers" / f"{name}.yaml").write_text(text)
    all_of_them = {name: f"containers/{name}.yaml" for name in ("pause", *IMAGES)} | containers
    rows = "".join(CONTAINER.format(name=name, definition=path) for name, path in all_of_them.items())
    return build_text(f"{DEFINITION}{more}containers:\n{rows}", out, store)


def make_keys(tools: Tools, folder: Path) -> str:
    """etcd's certificates and the cluster's authority; returns the hash of its public key."""
    authority = Authority(tools, folder)
    certificate = authority.issue("node-1", "10.77.0.10", "127.0.0.1")
    for source, target in (
        (authority.path, "ca.crt"),
        (certificate.path, "member.crt"),
        (certificate.key, "member.key"),
    ):
        shutil.copyfile(source, folder / target)
    key, path = folder / "kubernetes-ca.key", folder / "kubernetes-ca.crt"
    usage = (
        "-addext",
        "basicConstraints=critical,CA:true",
        "-addext",
        "keyUsage=critical,keyCertSign,digitalSignature",
    )
    days = ("-not_before", "19700101000000Z", "-days", "36500")
    tools.run("openssl", "req", "-x509", *CURVE, "-subj", "/CN=kubernetes", *usage, *days, "-keyout", key, "-out", path)
    public = folder / "kubernetes-ca.der"
    tools.run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER", "-out", public)
    return f"sha256:{hashlib.sha256(public.read_bytes()).hexdigest()}"


def make_config(folder: Path, name: str, configs: tuple[str, ...], /, **values: str) -> Path:
    """A machine's first-boot config of several of ours, with these values of their variables."""
    out = folder / f"{name}.json"
    command = [sys.executable, "-m", "builder", "config", "merge", "--files-dir", folder, "-o", out]
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run([*command, *(MACHINES / f"{config}.yaml" for config in configs)], check=True, cwd=REPOSITORY)
    return out


def make_control_plane_config(folder: Path, version: str) -> Path:
    """That of the first machine of a network."""
    return make_config(
        folder,
        "node-1",
        ("etcd", "overlay-network", "kubernetes-control-plane"),
        name="node-1",
        address="10.77.0.10",
        members="node-1=https://10.77.0.10:2380",
        endpoints="https://10.77.0.10:2379",
        kubernetes=version,
        token=TOKEN,
    )


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long something took: for docs/clusters.md."""
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s")


def kubectl(machine: Machine, arguments: str) -> str:
    """What ``kubectl`` says on the control plane."""
    return machine.succeed("sh", "-c", f"{KUBECTL} kubectl {arguments}")


def wait_in(machine: Machine, condition: str) -> None:
    """Wait on the control plane until a command succeeds."""
    machine.succeed("sh", "-c", f"{KUBECTL} until {condition}; do sleep 3; done")


def wait_until_ready(machine: Machine, name: str) -> None:
    """Wait until a machine is a node that takes pods."""
    with timed(f"{name} is ready, waited for after those before it"):
        wait_in(machine, f"kubectl get node {name} --no-headers 2>/dev/null | grep -qw Ready")
