"""The one door to other programs.

Programs come from a *tools tree*: Debian packages unpacked by build-os itself, never from the host. They run with
the tools tree as their ``/usr`` and ``/etc`` and with every other directory of the host where it is, so a path means
the same inside and outside. That takes a mount namespace: as an ordinary user inside a user namespace
(``user_namespaces(7)``), as root directly.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from builder.core import enter
from builder.core.console import Console
from builder.core.errors import CapabilityError, ToolError

TAIL_LINES = 40
# What a program makes may end up in an image: its mode must not depend on the caller's umask.
UMASK = 0o022
CANNOT_ENTER_AS_USER = "unprivileged user namespaces must be allowed, or build-os run as root; see 'build-os doctor'"
CANNOT_ENTER_AS_ROOT = (
    "root in a container needs user namespaces (Docker: --security-opt seccomp=unconfined; Podman allows them) "
    "or CAP_SYS_ADMIN; see 'build-os doctor'"
)
# Of a tools tree, as JSON: paths of what maintainer scripts call, for images that do not have it.
FOR_SCRIPTS = ".for-scripts"
SEARCH = ("usr/bin", "usr/sbin", "usr/lib/systemd")


_running: set[subprocess.Popen[bytes]] = set()
_interrupted = threading.Event()


@dataclass(frozen=True)
class Tools:
    """Runs programs from the tools tree at ``root``.

    ``environment`` is all that a program sees besides the fixed part; nothing leaks in from the caller's.
    """

    root: Path
    console: Console
    environment: Mapping[str, str] = field(default_factory=dict)

    def find(self, program: str) -> Path | None:
        """The path on the host of a program, given by its name or by its path in the tree, or ``None``."""
        if program.startswith("/"):
            path = self.root / program[1:]
            return path if path.exists() or path.is_symlink() else None
        for directory in SEARCH:
            path = self.root / directory / program
            if path.exists() or path.is_symlink():
                return path
        return None

    def require(self, program: str) -> str:
        """The program's path inside the tools tree.

        Raises:
            CapabilityError: the tree does not have it.
        """
        path = self.find(program)
        if path is None:
            raise CapabilityError(
                f"the tools tree has no {program}",
                hint="run 'build-os doctor'; 'build-os cache clear --tools' makes it anew",
            )
        return "/" + str(path.relative_to(self.root))

    def require_loader(self, place: str) -> tuple[str, str]:
        """The tree's dynamic loader and the directory of its libraries, where the tree is seen at ``place``: where its
        ``/usr`` is not the root's, its programs find neither by themselves.

        Raises:
            CapabilityError: the tree has none.
        """
        loader = f"{place}/{self.require_one('usr/lib/*/ld-linux*.so.*')}"
        return loader, loader.rpartition("/")[0]

    def require_one(self, pattern: str) -> Path:
        """The first file that matches a pattern, relative to the tree.

        Raises:
            CapabilityError: the tree has none.
        """
        place = min(self.root.glob(pattern), default=None)
        if place is None:
            raise CapabilityError(
                f"the tools tree has no {pattern}", hint="'build-os build --relock' makes it with today's tools"
            )
        return place.relative_to(self.root)

    def make_argv(
        self,
        *command: str | Path,
        binds: Sequence[tuple[Path, str]] = (),
        outlive: bool = False,
        closed: bool = False,
        uid: int | None = None,
    ) -> list[str]:
        """The host command line that runs ``command`` inside the tools tree.

        ``binds`` makes further host paths visible at paths of the new root, for programs that insist on one.
        The program is killed when the thread that started it ends, unless it may ``outlive`` us. A ``closed`` one has
        no network, sees no other processes and no devices; ``uid`` is who it runs as, if not who we are.
        """
        program = self.require(str(command[0]))
        extra = [f"--bind={source}:{target}" for source, target in binds]
        if outlive:
            extra.append("--outlive")
        if closed:
            extra.append("--closed")
        if uid is not None:
            extra.append(f"--as={uid}")
        # -I -S: no site-packages, no environment; the launcher needs neither and starts in 10 ms.
        return [
            sys.executable,
            "-I",
            "-S",
            enter.__file__,
            *extra,
            str(self.root),
            program,
            *map(str, command[1:]),
        ]

    def make_environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program sees as its environment."""
        return {
            "PATH": "/usr/bin:/usr/sbin:/usr/lib/systemd",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": "/nonexistent",
            "SOURCE_DATE_EPOCH": "0",
            # A tools tree stays as it was unpacked.
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
            **(extra or {}),
        }

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        binds: Sequence[tuple[Path, str]] = (),
        pass_fds: Sequence[int] = (),
    ) -> str:
        """Run a program to its end and return its standard output. It has files to work on, and nothing else: no
        network, no devices, no sight of other processes.

        Raises:
            CapabilityError: the program is not in the tree, or this machine cannot enter the tree.
            ToolError: it failed; carries the command and its last lines.
        """
        argv = self.make_argv(*command, binds=binds, closed=True)
        if _interrupted.is_set():
            raise ToolError(f"{Path(str(command[0])).name} was not started: we were interrupted")
        with self.console.note_program(shlex.join(map(str, command))):
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=self.make_environment(env),
                stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                umask=UMASK,
            )
            _running.add(process)
            try:
                if _interrupted.is_set():
                    process.terminate()
                out, err = process.communicate(input)
            except BaseException:
                # Ctrl-C reaches the child through the terminal as well; make sure it is gone before we go on.
                stop(process)
                raise
            finally:
                _running.discard(process)
        text = err.decode(errors="replace")
        for line in text.splitlines():
            self.console.log(line)
        if process.returncode != 0:
            raise self.make_error(
                command, process.returncode, [*out.decode(errors="replace").splitlines(), *text.splitlines()]
            )
        return out.decode(errors="replace")

    @contextmanager
    def spawn(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        binds: Sequence[tuple[Path, str]] = (),
        new_session: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a program and make sure that it is gone when the block ends."""
        self.console.log("+ " + shlex.join(map(str, command)))
        process = subprocess.Popen(
            self.make_argv(*command, binds=binds),
            cwd=cwd,
            env=self.make_environment(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=new_session,
            umask=UMASK,
        )
        try:
            yield process
        finally:
            stop(process)

    def start_in_empty_root(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program that has nothing but itself, its arguments, and the pipes to its standard input and output:
        the tree's ``/usr`` is at :data:`builder.core.enter.PROGRAMS`. It is killed when the thread that started it
        ends.

        Raises:
            CapabilityError: the tree does not have it.
        """
        self.console.log(f"+ (empty root) {program}")
        loader, library = self.require_loader(enter.PROGRAMS)
        path = f"{enter.PROGRAMS}{self.require(program)}"
        launch = [sys.executable, "-I", "-S", enter.__file__, "--closed", "--empty", str(self.root)]
        return subprocess.Popen(
            [*launch, loader, "--library-path", library, path, *arguments],
            cwd="/",
            env={"PYTHONHOME": f"{enter.PROGRAMS}/usr", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=UMASK,
        )

    def make_error(self, command: Sequence[str | Path], status: int, lines: Sequence[str]) -> Exception:
        """How a program failed that ended with this status and these lines: that this machine does not let us enter the
        tree, or a ``ToolError``."""
        if status == enter.CANNOT_ENTER:
            return CapabilityError(
                "this machine does not let us enter the tools tree",
                details=lines[-5:],
                hint=CANNOT_ENTER_AS_ROOT if os.getuid() == 0 else CANNOT_ENTER_AS_USER,
            )
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
        return ToolError(
            f"{Path(str(command[0])).name} {how}",
            details=("+ " + shlex.join(map(str, command)), *deque(lines, TAIL_LINES)),
        )


def end_programs() -> None:
    """End all programs that :meth:`Tools.run` waits for, and start no more: for the handler of a signal.

    A thread that waits for its program would otherwise be waited for, for as long as that takes.
    """
    _interrupted.set()
    for process in list(_running):
        process.terminate()


def stop(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """Ask a process to end, then make it; always reaps it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def can_enter() -> str | None:
    """``None`` when this process may make the namespaces it needs, else the reason why not."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", enter.__file__, "--probe"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )
    return None if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")
