"""Build as you are; build again as somebody else, elsewhere, later; compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.build import BuildRequest, build_definition
from builder.core.console import Console
from builder.core.errors import BuildError
from builder.core.files import write_file
from builder.core.locks import hold_lock
from builder.core.store import Store
from builder.core.tools import Tools, stop
from builder.verify.compare import Built, Compared, compare
from builder.verify.locate import Difference, Locator
from builder.verify.records import find_changes
from builder.verify.surroundings import describe_surroundings

PACKAGE_ROOT = Path(__file__).parent.parent.parent
DAYS = 400
# Neither is on any machine by default; POSIX's own notation needs no file of time zones.
ENVIRONMENT = {
    "PATH": "/nonexistent",
    "TZ": "<+1345>-13:45",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "PYTHONHASHSEED": "4711",
    # With that umask, caches beside our own modules would be unreadable for other users.
    "PYTHONDONTWRITEBYTECODE": "1",
    "SOURCE_DATE_EPOCH": "1234567890",
}
JOBS = 7
TAIL_LINES = 40


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        surroundings: name -> what it was in the first and in the second build.
        cached: the difference is between what the store kept and a build from nothing, in the same surroundings.
    """

    surroundings: Mapping[str, tuple[str, str]]
    compared: tuple[Compared, ...]
    differences: tuple[Difference, ...] = ()
    cached: bool = False

    @property
    def same(self) -> bool:
        """Whether every artifact is the same in both."""
        return all(row.same for row in self.compared)


def verify(request: BuildRequest) -> Report:
    """Build as asked (with all that is kept of earlier builds), then again in other surroundings from nothing.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: a build failed; see :mod:`builder.core.errors`.
    """
    console = request.console
    with console.open_step("first build"):
        first = Built.read(build_definition(request).manifest)
    here = describe_surroundings(caches="all that there are", order="the file system's")
    with _surroundings(request.store, console) as surroundings:
        with console.open_step("second build"):
            second = _build(request, surroundings / "zweites Mal ✓", perturbed=True)
        console.log(f"the second build: {second.data['timings']}")
        there = json.loads((second.manifest.parent.parent / "surroundings.json").read_text(encoding="utf-8"))
        both = {name: (here[name], there[name]) for name in here}
        compared = tuple(compare(first, second))
        if all(row.same for row in compared):
            return Report(both, compared)
        with console.open_step("third build, to find the difference"):
            third = _build(request, surroundings / "third", perturbed=False)
        with console.open_step("compare"):
            cached = all(row.same for row in compare(third, second))
            records = [made.manifest.parent.parent / "stages.jsonl" for made in (third, second)]
            known = None if cached else find_changes(*records)
            tools = Tools(Path(third.data["tools"]), console)
            scratch = surroundings / "scratch"
            scratch.mkdir()
            differences = Locator(first, second, known, tools, scratch).list_differences(compared)
        return Report(both, compared, tuple(differences), cached)


@contextmanager
def _surroundings(store: Store, console: Console) -> Iterator[Path]:
    """A directory for the further builds. One that a kill left is swept by the next build in this store."""
    parent = store.root / "scratch"
    parent.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=parent, prefix="build-verify-", ignore_cleanup_errors=True) as directory,
        hold_lock(Path(directory) / ".alive", console, "verifying"),
    ):
        yield Path(directory)


def _build(request: BuildRequest, directory: Path, *, perturbed: bool) -> Built:
    """Build below ``directory`` in a process of its own, with nothing of earlier builds but the downloads.

    Raises:
        BuildError: it failed; with its last lines.
    """
    places = {name: directory / name for name in ("store", "home", "tmp", "ünï cödé")}
    for path in places.values():
        path.mkdir(parents=True)
    places["home"].chmod(0o555)
    (places["store"] / "blobs").symlink_to(request.store.root / "blobs")
    processors = directory / "processors"
    processors.write_text(f"0-{JOBS - 1}\n")
    umask = os.umask(0o022)
    os.umask(umask)
    spec = {
        "definition": str(request.definition.absolute()),
        "variation": request.variation.describe(),
        "directory": str(directory),
        "cwd": str(places["ünï cödé"]),
        "home": str(places["home"]),
        "processors": str(processors),
        "uid": 4711 if os.getuid() == 0 else 0,
        "hostname": "elsewhere",
        "umask": 0o077 if umask != 0o077 else 0o002,
        "days": DAYS if perturbed else 0,
        "seed": 1,
        "jobs": JOBS,
        "order": "shuffled" if perturbed else "the file system's",
        "key_pair": None if request.key_pair is None else request.key_pair.describe(),
    }
    write_file(directory / "spec.json", json.dumps(spec))
    environment = {**os.environ, "BUILD_OS_CACHE": str(places["store"])}
    if perturbed:
        environment |= {**ENVIRONMENT, "HOME": str(places["home"]), "TMPDIR": str(places["tmp"])}
    # The same build-os as ours, installed or not; -P leaves out the directory it is started in.
    environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    module = "builder.verify.elsewhere" if perturbed else "builder.verify.perturbed"
    _run([sys.executable, "-P", "-m", module, str(directory / "spec.json")], environment, request.console)
    return Built.read(directory / "out" / "build.json")


def _run(argv: list[str], environment: Mapping[str, str], console: Console) -> None:
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, err = process.communicate()
    except BaseException:
        stop(process)
        raise
    lines = err.decode(errors="replace").splitlines()
    for line in lines:
        console.log(line)
    if process.returncode != 0:
        raise BuildError(
            f"the build in other surroundings failed with status {process.returncode}",
            details=lines[-TAIL_LINES:],
            hint="the first build worked, so this is a bug in build-os: please report it",
        )
