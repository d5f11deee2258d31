"""A project that builds in under a second: a container of a few small packages, from a mirror of our own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pysequoia
import pytest

from builder.locking import require_host_arch
from builder.toolstree import EXCLUDE, list_tool_packages
from tests.support.debs import Deb, make_deb, tar_directory, tar_entry, tar_link
from tests.support.mirror import FileServer, SignedArchive, serving

DRIVER = Path(__file__).parent / "driver.py"
DEFINITION = (
    "kind: container\nname: web\nversion: 1.0.0\npackages: [one, two, three, four]\nentrypoint: [/usr/bin/one]\n"
)
# Hidden names that belong to what is finished.
FINISHED = (".lock", ".root", ".for-scripts")
SUITES = ("trixie", "trixie-updates", "trixie-security")


@dataclass
class Project:
    """A definition in a directory, a store, and the mirror that its packages come from.

    Attributes:
        room: bytes that must be free for a build to begin.
        patience: seconds for which a silent mirror is waited for: long, because the machine that tests may be busy.
        prefix: the words of a command that runs another one, before the builder's.
        environment: what differs from ours.
    """

    directory: Path
    store: Path
    archive: SignedArchive
    mirror: FileServer
    debs: dict[str, Deb]
    room: int = 0
    patience: float = 60
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def definition(self) -> Path:
        return self.directory / "web.yaml"

    @property
    def lock(self) -> Path:
        return self.directory / "web.lock"

    @property
    def out(self) -> Path:
        return self.directory / "out"

    def publish(self, **options: object) -> None:
        """Sign the archive anew, as of an hour ago."""
        options.setdefault("date", datetime.now(UTC) - timedelta(hours=1))
        arch = require_host_arch()
        self.archive.publish(*self.debs.values(), arch=arch, **options)  # type: ignore[arg-type]
        for suite in SUITES[1:]:
            self.archive.publish(suite=suite, arch=arch, date=options["date"])  # type: ignore[arg-type]

    def start(self, *command: object, out: Path | None = None, hold: str = "") -> subprocess.Popen[str]:
        """``build-os COMMAND ...``; without one, ``build`` into the output directory.

        The step titled ``hold`` is held when it opens, until standard input is closed.
        """
        words = list(map(str, command)) or ["build", str(self.definition), "-o", str(out or self.out)]
        trust = self.archive.trust
        driver = [str(DRIVER), str(trust.keyrings[0]), *trust.fingerprints, str(self.room), str(self.patience), hold]
        return subprocess.Popen(
            [*self.prefix, sys.executable, *driver, *words],
            env={
                **os.environ,
                "BUILD_OS_MIRROR": self.mirror_setting,
                **self.environment,
                "BUILD_OS_CACHE": str(self.store),
            },
            cwd=self.directory,
            stdin=subprocess.PIPE if hold else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def start_held(self, step: str, *command: object, out: Path | None = None) -> subprocess.Popen[str]:
        """A command that is now at the beginning of this step, and stays there until :func:`ended` is asked for it."""
        process = self.start(*command, out=out, hold=step)
        wait_until_said(process, "held: ")
        return process

    @property
    def mirror_setting(self) -> str:
        return f"{self.mirror.url} security={self.mirror.url}"

    def run(self, *command: object, out: Path | None = None) -> Ended:
        """The same, to its end."""
        return ended(self.start(*command, out=out))

    def artifact(self, out: Path | None = None) -> str:
        """The hash of what was built."""
        return hashlib.sha256(((out or self.out) / "web.oci.tar").read_bytes()).hexdigest()

    def forget(self) -> None:
        """Make the next build do it all again, but from the same store."""
        self.out.joinpath("build.json").unlink(missing_ok=True)

    def fetched(self) -> list[str]:
        """The debs that the mirror was asked for, by name."""
        return [Path(path).name for path in self.mirror.paths if path.endswith(".deb")]

    def leftovers(self) -> list[Path]:
        """What no finished or stopped build leaves: unfinished files and directories, below store and output."""
        roots = [root for root in (self.store, self.out) if root.is_dir()]
        found = [path for root in roots for path in root.rglob(".*") if path.name not in FINISHED]
        return found + list((self.store / "scratch").glob("*"))


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status and what it said on standard error."""

    status: int
    said: str


def wait_until_said(process: subprocess.Popen[str], words: str) -> str:
    """Wait until a process says this on standard error; all that it said until then."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return "".join(said)
    raise AssertionError(f"it never said {words!r}:\n{''.join(said)}")


def ended(process: subprocess.Popen[str], seconds: float = 300) -> Ended:
    """Let a process go on that is held, and wait for its end."""
    _, said = process.communicate(timeout=seconds)
    return Ended(process.returncode, said)


@pytest.fixture(scope="session")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("An archive <archive@example.org>")


@cache
def packages() -> dict[str, Deb]:
    """The image's four packages of two megabytes that do not compress, and an empty one for each tool."""
    arch = require_host_arch()
    debs = {}
    for name in ("one", "two", "three", "four"):
        noise = hashlib.shake_256(name.encode()).digest(2_000_000)
        files = (
            tar_directory("./usr/"), tar_directory("./usr/bin/"), tar_entry(f"./usr/bin/{name}", noise, mode=0o755),
            tar_link(f"./usr/bin/{name}-link", name),
        )  # fmt: skip
        debs[name] = make_deb(name, files=files, arch=arch, compression="gz", Installed_Size="2000")
    for name in (*list_tool_packages(arch), *EXCLUDE):
        debs[name] = make_deb(name, arch=arch)
    return debs


@pytest.fixture
def project(tmp_path: Path, key: pysequoia.Tsk) -> Iterator[Project]:
    """The project, published and not yet locked."""
    archive = SignedArchive(key, tmp_path / "keyring.pgp")
    directory = tmp_path / "project"
    directory.mkdir()
    with serving(archive.files) as mirror:
        made = Project(directory, tmp_path / "store", archive, mirror, packages())
        made.definition.write_text(DEFINITION)
        made.publish()
        yield made
