"""The same cells for engines that people run already: a Job of Kubernetes, a workflow of GitHub, a pipeline of GitLab.

Each job runs ``build-os matrix build --cell NAME`` against the same cache; none of them knows anything else of cells.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from builder.core.errors import InputError
from builder.matrix.cells import Cell, LoadedMatrix
from builder.sharing import KEYS, SIGN_KEY, URL
from builder.sharing.open import find_directory

INSTALL = "pip install 'build-os[scale]'"
SECONDS = 3600  # of a cell, where the matrix has no limit
# What one matrix may have: docs.github.com, "Using a matrix for your jobs"; docs.gitlab.com, "parallel:matrix".
MOST_OF_GITHUB, MOST_OF_GITLAB = 256, 200
# Where a pod writes, and where it finds the files of the Secret.
PLACE, SECRET = "/build-os", "build-os-keys"
PLACE_OF_SECRET = f"/run/{SECRET}"
USER = 1000  # any will do: who is root nowhere enters the tools tree by a user namespace
# What user_namespaces(7) and mount(2) take, and the filters of runtimes refuse. No capability comes with it.
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "seccompProfile": {"type": "Unconfined"},
    "appArmorProfile": {"type": "Unconfined"},
}
# The sandbox of scripts mounts a /proc, which the kernel lets no user namespace do where that of the container is
# covered in part. Kubernetes uncovers it in pods that are users of their own (hostUsers).
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "procMount": "Unmasked",
}


@dataclass(frozen=True)
class Wanted:
    """What an emitted text is made of.

    Attributes:
        image: a container image with build-os and the definitions in its working directory.
        install: what brings build-os onto a machine that has Python.
        sharing: arguments that name a shared cache and its keys, where the environment does not.
        cache: its URL.
    """

    matrix: LoadedMatrix
    cells: Sequence[Cell]
    out: Path
    image: str | None
    install: str = INSTALL
    sharing: Sequence[str] = ()
    cache: str | None = None

    @property
    def argv(self) -> list[str]:
        """The command, but for the cell."""
        words = ["build-os", "matrix", "build", self.matrix.path.as_posix(), "-o", self.out.as_posix(), "--locked"]
        return [*words, *self.sharing]

    @property
    def seconds(self) -> int:
        """How long a cell may take."""
        return self.matrix.matrix.limits.seconds or SECONDS


def emit_matrix(system: str, wanted: Wanted) -> str:
    """The text for a system.

    Raises:
        InputError: it cannot run so many cells, or something is not named that it needs.
    """
    document = SYSTEMS[system](wanted)
    head = f"# Made by 'build-os matrix emit {system}' of {wanted.matrix.path.name}.\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=120)


def make_github_workflow(wanted: Wanted) -> dict[str, Any]:
    """A workflow: https://docs.github.com/actions/reference/workflow-syntax-for-github-actions."""
    _require_few(wanted, MOST_OF_GITHUB, "a matrix of GitHub")
    limit = wanted.matrix.matrix.limits.jobs
    return {
        "name": "build-os matrix",
        "on": {"push": {}, "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "jobs": {
            "cell": {
                "runs-on": "ubuntu-latest",
                "timeout-minutes": -(-wanted.seconds // 60),
                "strategy": {
                    "fail-fast": False,
                    **({"max-parallel": limit} if limit else {}),
                    "matrix": {"cell": [cell.id for cell in wanted.cells]},
                },
                "env": {name: f"${{{{ vars.{name} }}}}" for name in (URL, KEYS, SIGN_KEY)},
                "steps": [
                    {"uses": "actions/checkout@v4"},
                    {"run": wanted.install},
                    {"run": f"{shlex.join(wanted.argv)} --cell '${{{{ matrix.cell }}}}'"},
                    {
                        "uses": "actions/upload-artifact@v4",
                        "if": "always()",
                        "with": {
                            "name": "${{ matrix.cell }}",
                            "path": f"{wanted.out.as_posix()}/${{{{ matrix.cell }}}}",
                        },
                    },
                ],
            }
        },
    }


def make_gitlab_pipeline(wanted: Wanted) -> dict[str, Any]:
    """A child pipeline: https://docs.gitlab.com/ci/yaml/."""
    _require_few(wanted, MOST_OF_GITLAB, "a matrix of GitLab")
    out = wanted.out.as_posix()
    return {
        "stages": ["build"],
        "cell": {
            "stage": "build",
            **({"image": wanted.image} if wanted.image else {}),
            "interruptible": True,
            "timeout": f"{-(-wanted.seconds // 60)} minutes",
            "parallel": {"matrix": [{"CELL": [cell.id for cell in wanted.cells]}]},
            "script": [*([] if wanted.image else [wanted.install]), f'{shlex.join(wanted.argv)} --cell "$CELL"'],
            "artifacts": {"when": "always", "paths": [f"{out}/$CELL"]},
        },
    }


def require_paths_of_pods(wanted: Wanted) -> None:
    """Of this machine's own, a pod has none.

    Raises:
        InputError: a key, or where to build, is at a path that a pod does not have.
    """
    keys = [word for name, word in pairwise(wanted.sharing) if name in ("--cache-key", "--cache-sign-key")]
    if wrong := [key for key in keys if not Path(key).is_relative_to(PLACE_OF_SECRET)]:
        raise InputError(
            f"{wrong[0]} is a path of this machine: pods have the keys of the Secret '{SECRET}'",
            hint=f"{PLACE_OF_SECRET}/{Path(wrong[0]).name}, from 'kubectl create secret generic {SECRET}'",
        )
    if wanted.out.is_absolute() or ".." in wanted.out.parts:
        raise InputError(f"-o {wanted.out}: pods build below {PLACE}", hint="a relative path, or none")


def make_kubernetes_job(wanted: Wanted) -> dict[str, Any]:
    """An Indexed Job: https://kubernetes.io/docs/tasks/job/indexed-parallel-processing-static/."""
    if wanted.image is None:
        raise InputError(
            "a Job needs an image",
            hint="--image HOST/NAME:TAG, with build-os and the definitions in it; docs/scale.md makes one",
        )
    require_paths_of_pods(wanted)
    names = [word for cell in wanted.cells for word in ("--cell", cell.id)]
    count = len(wanted.cells)
    wanted = replace(wanted, out=Path(PLACE, wanted.out))
    places: dict[str, tuple[str, dict[str, Any]]] = {
        "work": (PLACE, {"emptyDir": {}}),
        "keys": (PLACE_OF_SECRET, {"secret": {"secretName": SECRET, "optional": True}}),
    }
    if (directory := find_directory(wanted.cache)) is not None:
        if wanted.cache and "://" not in wanted.cache and not Path(wanted.cache).is_absolute():
            raise InputError(
                f"--cache {wanted.cache}: of a directory of the nodes the whole path is needed",
                hint="--cache /mnt/cache",
            )
        places["cache"] = (str(directory), {"hostPath": {"path": str(directory), "type": "Directory"}})
    container = {
        "name": "cell",
        "image": wanted.image,
        "command": [*wanted.argv, *names, "--number", "$(JOB_COMPLETION_INDEX)"],
        "env": [{"name": "BUILD_OS_CACHE", "value": f"{PLACE}/store"}],
        "envFrom": [{"configMapRef": {"name": "build-os-cache", "optional": True}}],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in places.items()],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "build-os-matrix", "labels": {"app.kubernetes.io/name": "build-os"}},
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": min(count, wanted.matrix.matrix.limits.jobs or count),
            # A cell that fails stops no other.
            "backoffLimitPerIndex": 1,
            "maxFailedIndexes": count,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": wanted.seconds,
                    "automountServiceAccountToken": False,
                    "hostUsers": False,
                    "securityContext": POD_SECURITY,
                    "containers": [container],
                    "volumes": [{"name": name, **source} for name, (_, source) in places.items()],
                }
            },
        },
    }


SYSTEMS: dict[str, Callable[[Wanted], dict[str, Any]]] = {
    "kubernetes": make_kubernetes_job,
    "github": make_github_workflow,
    "gitlab": make_gitlab_pipeline,
}


def _require_few(wanted: Wanted, most: int, what: str) -> None:
    if len(wanted.cells) > most:
        raise InputError(
            f"these are {len(wanted.cells)} cells, and {what} has at most {most}", hint="--only GLOB chooses some"
        )
