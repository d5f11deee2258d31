"""What docs/scale.md says of a Job's image: its commands make one, and in it works what the Job asks of it.

The runtime is crun on this machine, without a network, told what the emitted pod tells a kubelet, but for
``hostUsers``: its users are the machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.build.shared import push_entry
from builder.core.console import QuietConsole
from builder.core.kept import TOOLS, read_entry
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.oci.sign import read_signing_key
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import make_ed25519_pair
from builder.toolstree import derive_tools_key
from tests.support.builder_image import Project
from tests.support.debian_programs import open_programs
from tests.support.docker_registry import run_docker_registry
from tests.support.users import REPOSITORY

pytestmark = [pytest.mark.image, pytest.mark.skipif(os.getuid() != 0, reason="containers of root")]

MIRROR = "http://mirror.example/debian"
CGROUPS = "mount -t cgroup2 none /sys/fs/cgroup"
CELL = "demo-gce"
# What a build does for a package whose scripts run in the sandbox: with the tools at /tools, over the files at /root.
SANDBOX = """
from pathlib import Path
from builder.core.console import QuietConsole
from builder.core.sandbox import Sandbox
from builder.core.tools import Tools
scratch = Path("/build-os/scratch")
scratch.mkdir(exist_ok=True)
print(Sandbox(Tools(Path("/tools"), QuietConsole()), Path("/files"), scratch).run("/usr/bin/busybox", "uname", env={}))
"""


@dataclass(frozen=True)
class Pod:
    """The emitted pod, on a node of which crun is all there is.

    Attributes:
        bundle: of the image, unpacked.
        places: what its volumes are here.
    """

    programs: Tools
    bundle: Path
    spec: dict[str, Any]
    places: dict[str, Path]

    def run(self, *command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in place of the pod's own, in a container of its own."""
        config = json.loads((self.bundle / "config.json").read_text(encoding="utf-8"))
        self._configure(config, command, environment or {})
        place = self.bundle.parent / "container"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        script = f"{CGROUPS}; exec crun --root {self.bundle.parent}/state run --bundle {place} builder"
        return subprocess.run(
            self.programs.make_argv("bash", "-ec", script),
            env=self.programs.make_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _configure(self, config: dict[str, Any], command: tuple[str, ...], environment: dict[str, str]) -> None:
        """What a kubelet makes of a pod: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/."""
        (container,) = self.spec["containers"]
        security, own = self.spec["securityContext"], container["securityContext"]
        process = config["process"]
        process["args"] = list(command)
        process["user"] = {"uid": security["runAsUser"], "gid": security["runAsGroup"]}
        process["noNewPrivileges"] = not own["allowPrivilegeEscalation"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        process["capabilities"] = {}
        assert security["seccompProfile"] == {"type": "Unconfined"}
        del config["linux"]["seccomp"]
        process["env"] += [f"{row['name']}={row['value']}" for row in container["env"]]
        process["env"] += [f"{name}={value}" for name, value in environment.items()]
        if own["procMount"] == "Unmasked":
            config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
        config["root"]["path"] = str(self.bundle / "rootfs")
        for mount in container["volumeMounts"]:
            config["mounts"].append(
                {
                    "destination": mount["mountPath"],
                    "type": "bind",
                    "source": str(self.places[mount["name"]]),
                    "options": ["rbind"],
                }
            )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, demo: Path, store: Store) -> Iterator[Project]:
    """A repository with two cells of the demo, in which the page's commands were typed."""
    directory = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "configs", directory / "configs")
    programs = open_programs(store, "base-files", "docker-registry")
    with run_docker_registry(programs, tmp_path_factory.mktemp("registry")) as registry:
        project = Project(directory, registry.host)
        matrix = "definitions: [configs/demo.yaml]\noutputs: [raw, gce]\n"
        project.write({"matrix.yaml": matrix, ".gitignore": "/keys/\n"}, more="outputs: [oci, bundle]\n")
        project.commit()
        for line in project.list_commands():
            project.type(line)
        yield project


@pytest.fixture(scope="module")
def pod(project: Project, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Pod:
    """What the Job's pods are, with an empty cache in a directory of the node."""
    place = tmp_path_factory.mktemp("node")
    places = {name: place / name for name in ("work", "keys", "cache")}
    for path in places.values():
        path.mkdir()
    places["work"].chmod(0o777)  # as an emptyDir is
    private, public = make_ed25519_pair()
    (place / "cache.key").write_bytes(private)
    (places["keys"] / "cache.pub").write_bytes(public)
    bundle = place / "bundle"
    with tarfile.open(project.directory / "out/builder/builder.bundle.tar") as archive:
        archive.extractall(bundle, filter="fully_trusted")
    words = ("--image", "builder:1", "--cache", str(places["cache"]), "--cache-key", "/run/build-os-keys/cache.pub")
    job: dict[str, Any] = project.emit(*words)
    programs = open_programs(store, "bash", "coreutils", "crun", "mount")
    return Pod(programs, bundle, job["spec"]["template"]["spec"], places)


def list_command(pod: Pod, cell: str) -> list[str]:
    """What the Job's pod for a cell runs."""
    (container,) = pod.spec["containers"]
    words = container["command"]
    number = [words[at + 1] for at, word in enumerate(words) if word == "--cell"].index(cell)
    return [word.replace("$(JOB_COMPLETION_INDEX)", str(number)) for word in words]


def build_here(project: Project, place: Path) -> dict[str, str]:
    """Build the cell on this machine and put it into the cache of the pods; hashes of its files."""
    out = place / "out"
    sharing = ("--cache", place / "cache", "--cache-sign-key", place / "cache.key")
    argv = [sys.executable, "-m", "builder", "matrix", "build", "-o", out, "--cell", CELL, "--offline", *sharing]
    done = subprocess.run(argv, cwd=project.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_hashes(out / CELL)


def read_hashes(directory: Path) -> dict[str, str]:
    artifacts = json.loads((directory / "build.json").read_text(encoding="utf-8"))["artifacts"]
    return {name: artifact["sha256"] for name, artifact in artifacts.items()}


def test_the_commands_of_the_page_push_an_image_and_print_a_job_of_all_cells(project: Project) -> None:
    assert project.type("build-os registry tags registry.example/team/builder").split() == ["1"]
    job = yaml.safe_load((project.directory / "job.yaml").read_text(encoding="utf-8"))
    assert job["spec"]["completions"] == 2
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{project.registry}/team/builder:1"


def test_nothing_is_missing_in_it(pod: Pod) -> None:
    version = pod.run("build-os", "--version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("build-os 0.")
    doctor = pod.run("build-os", "doctor", environment={"BUILD_OS_MIRROR": MIRROR})
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "the tools tree can be entered in a user namespace" in doctor.stdout
    # What it does not know by itself, it says.
    assert pod.run("build-os", "doctor").returncode == 3


def test_it_has_the_definitions_and_their_locks(pod: Pod) -> None:
    plan = pod.run("build-os", "matrix", "plan")
    assert plan.returncode == 0, plan.stderr
    assert "demo-raw  to build" in plan.stdout
    assert "2 cells: 2 to build" in plan.stdout


def test_a_pod_takes_from_the_cache_what_another_machine_has_built(project: Project, pod: Pod, store: Store) -> None:
    place = pod.places["cache"].parent
    built = build_here(project, place)
    lock = Lock.load(project.directory / "configs/demo.lock")
    tools = read_entry(store, TOOLS, derive_tools_key(lock.tools))
    assert tools is not None
    key = read_signing_key(place / "cache.key", None)
    push_entry(SharedCache(DirectoryPlace(pod.places["cache"]), [key.public], QuietConsole(), key), tools, 3600.0)
    done = pod.run(*list_command(pod, CELL))
    assert done.returncode == 0, done.stderr
    assert "is as the shared cache has it" in done.stderr
    assert "the cache gave 2 entries" in done.stderr
    assert read_hashes(pod.places["work"] / "out/matrix" / CELL) == built


def add_volumes(pod: Pod, places: dict[str, Path], **security: str) -> Pod:
    """A pod that has these besides, by where it sees them."""
    (container,) = pod.spec["containers"]
    mounts = [{"name": path, "mountPath": path} for path in places]
    more = {
        "volumeMounts": [*container["volumeMounts"], *mounts],
        "securityContext": {**container["securityContext"], **security},
    }
    return replace(pod, spec={**pod.spec, "containers": [{**container, **more}]}, places={**pod.places, **places})


def test_the_sandbox_of_scripts_wants_a_proc_that_is_not_covered(
    pod: Pod, store: Store, tmp_path: Path, demo: Path
) -> None:
    files = tmp_path / "files"
    (files / "usr/bin").mkdir(parents=True)
    shutil.copy(open_programs(store, "bash", "busybox-static").root / "usr/bin/busybox", files / "usr/bin")
    for path in (files, files / "usr", files / "usr/bin"):
        os.chown(path, 1000, 1000)
    places = {"/files": files, "/tools": Path(json.loads(demo.read_text(encoding="utf-8"))["tools"])}
    script = ("/usr/lib/python-environments/build-os/bin/python", "-c", SANDBOX)
    refused = add_volumes(pod, places, procMount="Default").run(*script)
    assert refused.returncode != 0
    assert "this machine does not allow the sandbox" in refused.stderr
    allowed = add_volumes(pod, places).run(*script)
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stdout.split() == ["Linux"]


@pytest.mark.slow
def test_a_pod_builds_what_nobody_has_built(project: Project, pod: Pod, store: Store, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "store").mkdir(parents=True)
    for path in (work, work / "store"):
        path.chmod(0o777)
    # What a mirror would send it.
    (work / "store/blobs").symlink_to("/blobs")
    (tmp_path / "cache").mkdir()
    alone = replace(pod, places={**pod.places, "work": work, "cache": tmp_path / "cache"})
    alone = add_volumes(alone, {"/blobs": store.root / "blobs"})
    done = alone.run(*list_command(pod, CELL), "--offline")
    assert done.returncode == 0, done.stderr
    assert "is as the shared cache has it" not in done.stderr
    out = tmp_path / "here"
    argv = [sys.executable, "-m", "builder", "matrix", "build", "-o", out, "--cell", CELL, "--offline"]
    subprocess.run(argv, cwd=project.directory, check=True, capture_output=True)
    assert read_hashes(work / "out/matrix" / CELL) == read_hashes(out / CELL)
