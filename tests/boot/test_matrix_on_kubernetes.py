"""A Job of ``build-os matrix emit kubernetes`` on a cluster of one machine: its pod takes a cell from a shared cache.

Needs Kubernetes' programs, as :mod:`tests.support.kubernetes` says. Indexed Jobs are new in 1.21: this test gives the
cluster, whatever it is, the Job's pod as a plain Job, with the number that an Indexed one would give it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.build.shared import IMAGES, push_build, push_entry
from builder.core.console import QuietConsole
from builder.core.files import hash_file
from builder.core.image import read_image
from builder.core.kept import TOOLS, derive_shared_name, read_entry
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.oci.sign import read_signing_key
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.toolstree import derive_tools_key
from tests.boot.conftest import REPOSITORY
from tests.support.builder_image import Project
from tests.support.clusters import connected
from tests.support.kubernetes import (
    PROGRAMS,
    kubectl,
    make_control_plane_config,
    make_keys,
    make_node_image,
    read_version,
    timed,
    wait_in,
    wait_until_ready,
)
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = REPOSITORY / "out" / "matrix-on-kubernetes"
CACHE = "/usr/share/matrix-cache"  # on the node: what NFS would be elsewhere
WORK = "/var/lib/pod-work"
LASTING = {"name": "work", "hostPath": {"path": WORK, "type": "Directory"}}
CELL = "tiny-gce"
MATRIX = "definitions: [tiny.yaml]\noutputs: [raw, gce]\n"
TINY = "name: tiny\nversion: 1.0.0\nfeatures: [base]\n"
# What a Job of 1.20 does not have.
NEWER = ("completionMode", "backoffLimitPerIndex", "maxFailedIndexes")
LONG = 3600.0  # seconds: what making took where the cache was filled, which emulation is slower than to fetch


@dataclass(frozen=True)
class Farm:
    """A node of a cluster, and what was built for its cache: hashes of the cell's files."""

    node: Machine
    project: Project
    built: dict[str, str]


def fill_cache(project: Project, store: Store, cache: Path) -> dict[str, str]:
    """Have the cell, and the tools that it takes, in a cache that a key of the project's signs; what is there as it
    should be stays, and with it the image of the node."""
    if not (project.directory / "keys").exists():
        project.type("build-os key keys --for cache")
    out = project.directory / "out/matrix" / CELL
    project.type(f"build-os matrix build --only {CELL}")
    key = read_signing_key(project.directory / "keys/cache.key", None)
    built = json.loads((out / "build.json").read_text(encoding="utf-8"))
    tools = read_entry(store, TOOLS, derive_tools_key(Lock.load(project.directory / "tiny.lock").tools))
    assert tools is not None
    place = DirectoryPlace(cache)
    if {*place.list_names()} != {derive_shared_name(IMAGES, built["key"]), derive_shared_name(TOOLS, tools.key)}:
        shutil.rmtree(cache, ignore_errors=True)
        shared = SharedCache(place, [key.public], QuietConsole(), key)
        push_build(shared, out, LONG)
        push_entry(shared, tools, LONG)
    shutil.copyfile(project.directory / "keys/cache.pub", cache / "cache.pub")
    return {artifact["path"]: artifact["sha256"] for artifact in built["artifacts"].values()}


def make_farm_image(store: Store, version: str) -> tuple[Path, Project, dict[str, str]]:
    """The image of the node, with the builder's image and the cache in it: nothing is pulled."""
    project = Project(OUT / "project")
    project.write(
        {
            "matrix.yaml": MATRIX,
            "tiny.yaml": TINY,
            ".gitignore": "/keys/\n/out/\n/wheels/\n/project.tar\n/job.yaml\n/builder.lock\n",
        }
    )
    if not (project.directory / "tiny.lock").exists():
        project.type("build-os lock tiny.yaml")
    project.commit()
    for line in project.list_commands():
        if line.startswith(("pip ", "git ")):
            project.type(line)
    (wheel,) = (project.directory / "wheels").glob("build_os-*.whl")
    if (OUT / "os.lock").exists() and hash_file(wheel) not in (OUT / "os.lock").read_text(encoding="utf-8"):
        (OUT / "os.lock").unlink()  # of the same version, and another
    built = fill_cache(project, store, OUT / f"overlays/cache{CACHE}")
    more = "overlays: [cache]\n"
    return make_node_image(store, version, OUT, {"builder": "project/builder.yaml"}, more), project, built


@pytest.fixture(scope="module")
def farm(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A control plane that takes pods, with the key of the cache in a Secret."""
    if not PROGRAMS:
        pytest.skip("BUILD_OS_KUBERNETES names no directory with Kubernetes' programs")
    version = read_version()
    manifest, project, built = make_farm_image(store, version)
    folder = tmp_path_factory.mktemp("keys")
    make_keys(Tools(read_image(manifest).tools, QuietConsole()), folder)
    config = make_control_plane_config(folder, version)
    with connected(OUT / "machines", store) as start:
        node = start("node-1", manifest, config=config, memory=5120, seconds=1500)
        node.wait_firstboot()
        node.wait_unit("basic.target")
        wait_until_ready(node, "node-1")
        wait_in(node, "kubectl get serviceaccount default >/dev/null 2>&1")  # a pod is not made before it is there
        kubectl(node, f"create secret generic build-os-keys --from-file={CACHE}/cache.pub")
        yield Farm(node, project, built)


def make_plain_job(job: dict[str, Any], number: int) -> dict[str, Any]:
    """The same pod, once, for a cluster without Indexed Jobs; what such a cluster does not know of it is left out."""
    spec = {name: value for name, value in job["spec"].items() if name not in NEWER}
    pod = dict(spec["template"]["spec"])
    del pod["hostUsers"]
    security = {name: value for name, value in pod["securityContext"].items() if name != "appArmorProfile"}
    (container,) = pod["containers"]
    own = {name: value for name, value in container["securityContext"].items() if name != "procMount"}
    index = {"name": "JOB_COMPLETION_INDEX", "value": str(number)}
    container = {**container, "env": [*container["env"], index], "securityContext": own}
    pod |= {"securityContext": security, "containers": [container]}
    spec |= {"completions": 1, "parallelism": 1, "backoffLimit": 0, "template": {"spec": pod}}
    return {**job, "spec": spec}


def run_job(node: Machine, name: str, job: dict[str, Any]) -> tuple[bool, str]:
    """Run a Job to its end: whether it succeeded, and what its pod said."""
    job = {**job, "metadata": {**job["metadata"], "name": name}}
    node.write(f"/run/{name}.json", json.dumps(job))
    with timed(f"the Job {name}"):
        kubectl(node, f"apply -f /run/{name}.json")
        ended = f"kubectl get job {name} -o jsonpath='{{.status.succeeded}}{{.status.failed}}' | grep -q 1"
        wait_in(node, ended)
    said = kubectl(node, f"logs job/{name}")
    return kubectl(node, f"get job {name} -o jsonpath='{{.status.succeeded}}'") == "1", said


def emit_job(farm: Farm) -> dict[str, Any]:
    """The Job, as ``build-os`` prints it, for this cluster's cache."""
    words = ("--image", "localhost/builder:1", "--cache", CACHE, "--cache-key", "/run/build-os-keys/cache.pub")
    return farm.project.emit(*words)


def test_a_pod_may_make_user_namespaces_by_what_is_emitted_and_not_without(farm: Farm) -> None:
    job = make_plain_job(emit_job(farm), 0)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["command"] = ["build-os", "doctor"]
    container["env"] += [{"name": "BUILD_OS_MIRROR", "value": "http://mirror.example/debian"}]
    succeeded, said = run_job(farm.node, "doctor", job)
    assert succeeded, said
    assert "the tools tree can be entered in a user namespace" in said
    job["spec"]["template"]["spec"]["securityContext"]["seccompProfile"] = {"type": "RuntimeDefault"}
    succeeded, said = run_job(farm.node, "doctor-in-a-filter", job)
    assert not succeeded
    assert "the tools tree cannot be entered" in said


def test_the_pod_of_a_cell_takes_it_from_the_cache(farm: Farm) -> None:
    job = emit_job(farm)
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    plain = make_plain_job(job, 1)
    # A volume that is there when the pod is gone.
    volumes = plain["spec"]["template"]["spec"]["volumes"]
    volumes[:] = [LASTING if volume["name"] == "work" else volume for volume in volumes]
    farm.node.succeed(f"install -d -m 0777 {WORK}")
    succeeded, said = run_job(farm.node, "cell", plain)
    assert succeeded, said
    assert "is as the shared cache has it" in said
    assert "the cache gave 2 entries" in said
    # What the pod left in its volume is what was built elsewhere.
    lines = farm.node.succeed(
        "sh", "-c", f"cd {WORK}/out/matrix/{CELL} && sha256sum -- {' '.join(farm.built)}"
    ).splitlines()
    assert {line.split()[1]: line.split()[0] for line in lines} == farm.built
