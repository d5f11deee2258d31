"""A program that nobody vouches for, run with a directory as its root and kept from everything else.

bubblewrap, of the tools tree, gives it user, mount, process, network, IPC, UTS and cgroup namespaces of its own, no
capability, no way to more (``no_new_privs``, no user namespaces), a ``/dev`` of six devices, and a filter for system
calls. Who is root here is nobody there: as root, a build starts it as a user who owns nothing else. That it owns its
files as root, and gives them to others, is what fakeroot(1) makes it believe. Where the kernel or a container refuses
any of this, the program is not run.
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from builder.core import enter
from builder.core.clock import stop_clock
from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, ToolError
from builder.core.tools import CANNOT_ENTER_AS_ROOT, CANNOT_ENTER_AS_USER, TAIL_LINES, UMASK, Tools, stop

# In the sandbox: what is ours. Nothing below it is of the program's root.
OURS = "/.build-os"
LAUNCHER, FILTER = (Path(__file__).with_name(name) for name in ("launch.py", "syscalls.py"))
# Nobody's: between the ranges of systemd's UIDS-GIDS.md. Where a container has no such user: its last one, "nobody".
NOBODY, LAST_NOBODY = 2_000_000_000, 65_534
MIB = 1 << 20
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": "0",
}
MOST_STATE = 64 * MIB


@dataclass(frozen=True)
class Limits:
    """What a program may take: seconds, bytes of output and of a file, processes, open files, bytes of memory each."""

    seconds: float = 300.0
    output: int = 4 * MIB
    file: int = 2048 * MIB
    processes: int = 512
    files: int = 1024
    memory: int = 4096 * MIB

    def list_rlimits(self) -> dict[str, int]:
        """As setrlimit(2) has them."""
        return {
            "RLIMIT_FSIZE": self.file,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_AS": self.memory,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True)
class Owner:
    """Who a file belongs to, and its mode, as the program sees it (what the disk has is another thing)."""

    uid: int
    gid: int
    mode: int


@dataclass
class Sandbox:
    """A directory that programs are run over.

    Attributes:
        root: what they see as ``/``. Its files belong to us, or as root to the sandbox' user: :meth:`give_files`.
        shown: host paths that they see, read-only, at paths below :data:`OURS`.
        owners: of files in it that are not root's, by inode; kept up to date.
    """

    tools: Tools
    root: Path
    scratch: Path
    shown: Mapping[str, Path] = field(default_factory=dict)
    owners: dict[int, Owner] = field(default_factory=dict)
    limits: Limits = Limits()

    @property
    def state(self) -> Path:
        """A directory that they may write to, and that is none of their root's."""
        return self.scratch / "state"

    def give_files(self) -> None:
        """Make the files of the root the sandbox' user's."""
        uid = _user()
        if uid is None:
            return
        os.lchown(self.root, uid, uid)
        for directory, directories, names in os.walk(self.root):
            for name in (*directories, *names):
                path = f"{directory}/{name}"
                if name in directories or os.lstat(path).st_nlink == 1:  # not what has a name elsewhere
                    os.lchown(path, uid, uid)

    def run(self, *command: str, env: Mapping[str, str], believes: bool = True) -> str:
        """Run a program of the root to its end.

        Args:
            believes: it owns what root owns, may give files away, and sees a clock that stands still. What such a
                program prints is one text, errors among it; of another one it is what it printed, without errors.

        Raises:
            CapabilityError: this machine does not allow what the sandbox needs.
            ToolError: it failed, or went over a limit.
        """
        if believes and os.getuid() == 0 and _user() is None:
            # What the kernel lets its root do, capabilities or not, no namespace takes away: processes without end.
            raise CapabilityError(
                "root cannot become another user here, and runs no maintainer script as himself",
                hint="build as an ordinary user, or give root CAP_CHOWN, CAP_SETGID, CAP_SETUID and another user",
            )
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="job-") as place:
            job = Path(place)
            job.chmod(0o711)  # it is not the sandbox' user's
            (job / "job").mkdir()
            uid = _user()
            self.state.mkdir(exist_ok=True)
            if uid is not None:
                os.chown(self.state, uid, uid)
            self._write_job(job / "job", command, env, believes=believes)
            with _filter(self.tools) as rules:
                output, status = self._run(self._command(job, uid, rules), command, rules)
            self._read_owners()
        lines = output.decode(errors="replace").splitlines()
        for line in lines:
            self.tools.console.log(line)
        if status != 0:
            how = status if isinstance(status, str) else f"failed with status {status}"
            raise ToolError(
                f"{Path(command[0]).name} {how}", details=("+ " + shlex.join(command), *lines[-TAIL_LINES:])
            )
        return (output if believes else self.read_left_file("out")).decode(errors="replace")

    # --- what is given to it -----------------------------------------------------------------------

    def _write_job(self, place: Path, command: Sequence[str], env: Mapping[str, str], *, believes: bool) -> None:
        todo = {
            "command": list(command),
            "environment": {**ENVIRONMENT, **(self._beliefs() if believes else {}), **env},
            "limits": self.limits.list_rlimits(),
            "keeper": self._keeper() if believes else [],
            "owners": f"{OURS}/job/owners",
            "out": "" if believes else f"{OURS}/state/out",
        }
        device = self.root.stat().st_dev
        known = "".join(
            f"dev={device:x},ino={inode},mode={owner.mode:o},uid={owner.uid},gid={owner.gid},nlink=1,rdev=0\n"
            for inode, owner in sorted(self.owners.items())
        )
        (place / "owners").write_text(known)
        (place / "job.json").write_text(json.dumps(todo))
        (place / "launch.py").write_bytes(LAUNCHER.read_bytes())

    def _keeper(self) -> list[str]:
        loader, library = self.tools.require_loader(f"{OURS}/tools")
        keeper = [loader, "--library-path", library, f"{OURS}/tools/usr/bin/faked-sysv", "--foreground"]
        return [*keeper, "--save-file", f"{OURS}/state/owners"]

    def _beliefs(self) -> dict[str, str]:
        clock = stop_clock(self.tools, int(self.tools.make_environment()["SOURCE_DATE_EPOCH"]))
        fake = f"{OURS}/tools/{self.tools.require_one('usr/lib/*/libfakeroot/libfakeroot-sysv.so')}"
        return {
            "LD_PRELOAD": f"{fake}:{OURS}/tools{clock['LD_PRELOAD']}",
            "FAKETIME": clock["FAKETIME"],
            "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKEROOTDONTTRYCHOWN": "1",
        }

    def _command(self, job: Path, uid: int | None, rules: int) -> list[str]:
        loader, library = self.tools.require_loader(f"{OURS}/tools")
        binds = [(self.root, "/.sandbox/root"), (job / "job", "/.sandbox/job"), (self.state, "/.sandbox/state")]
        shown: list[str] = []
        for number, (inside, path) in enumerate(sorted(self.shown.items())):
            binds.append((path, f"/.sandbox/shown{number}"))
            shown += ["--ro-bind", f"/.sandbox/shown{number}", f"{OURS}/{inside}"]
        # A script may make links here, as where dpkg runs it. bwrap's own /dev has no limit but half of the memory.
        devices = [word for name in enter.DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]
        devices += [
            word for name, target in enter.DEVICE_LINKS.items() for word in ("--symlink", target, f"/dev/{name}")
        ]
        words = [
            *("--unshare-all", "--unshare-user", "--unshare-cgroup", "--disable-userns", "--uid", "0", "--gid", "0"),
            *("--hostname", "localhost", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv"),
            *("--seccomp", str(rules)),
            *("--bind", "/.sandbox/root", "/", "--proc", "/proc"),
            *("--remount-ro", "/proc"),  # its files that are the whole machine's belong to root, whatever he may
            *("--size", str(MIB), "--tmpfs", "/dev", *devices),
            *("--size", str(256 * MIB), "--perms", "1777", "--tmpfs", "/dev/shm"),
            *("--size", str(512 * MIB), "--perms", "1777", "--tmpfs", "/tmp"),
            *("--size", str(64 * MIB), "--tmpfs", "/run", "--size", str(MIB), "--tmpfs", OURS),
            *("--ro-bind", "/usr", f"{OURS}/tools/usr", "--ro-bind", "/.sandbox/job", f"{OURS}/job"),
            *("--bind", "/.sandbox/state", f"{OURS}/state", *shown, "--remount-ro", OURS, "--chdir", "/"),
            *("--setenv", "PYTHONHOME", f"{OURS}/tools/usr", "--setenv", "LC_ALL", "C.UTF-8"),
        ]
        start = [loader, "--library-path", library, f"{OURS}/tools/usr/bin/python3", "-S", "-P", "-B"]
        return self.tools.make_argv(
            "bwrap", *words, "--", *start, f"{OURS}/job/launch.py", f"{OURS}/job/job.json",
            binds=binds, closed=True, uid=uid,
        )  # fmt: skip

    # --- and what comes back -----------------------------------------------------------------------

    def _run(self, argv: Sequence[str], command: Sequence[str], rules: int) -> tuple[bytes, int | str]:
        """What was printed, and how it ended: a status, or in words."""
        with self.tools.console.note_program("(sandbox) " + shlex.join(command)):
            process = subprocess.Popen(
                argv,
                cwd="/",
                env=self.tools.make_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=(rules,),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                umask=UMASK,
            )
            try:
                output, gone_over = _read(process, self.limits)
            except BaseException:
                stop(process, 0)
                raise
        if gone_over:
            return output, gone_over
        if process.returncode == enter.CANNOT_ENTER or (process.returncode == 1 and output.startswith(b"bwrap: ")):
            raise CapabilityError(
                "this machine does not allow the sandbox that a maintainer script is run in",
                details=output.decode(errors="replace").splitlines()[-5:],
                hint=CANNOT_ENTER_AS_ROOT if os.getuid() == 0 else CANNOT_ENTER_AS_USER,
            )
        return output, process.returncode

    def read_left_file(self, name: str) -> bytes:
        """What a program left in a file of the state; empty if there is none. It may have put anything there."""
        try:
            opened = os.open(self.state / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        with os.fdopen(opened, "rb") as file:
            return file.read(MOST_STATE) if stat.S_ISREG(os.fstat(opened).st_mode) else b""

    def _read_owners(self) -> None:
        """What faked kept; a program may have written there too, and can do no more than to give its files away."""
        kept = self.read_left_file("owners")
        if kept:
            self.owners.clear()  # faked has read them, and forgets what is deleted
        for line in kept.decode(errors="replace").splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split(","))
            try:
                owner = Owner(int(fields["uid"]), int(fields["gid"]), int(fields["mode"], 8))
                self.owners[int(fields["ino"])] = owner
            except (KeyError, ValueError):
                continue


def _read(process: subprocess.Popen[bytes], limits: Limits) -> tuple[bytes, str]:
    """Read until a program ends; what it printed, and over which limit it went, if it did (it is ended then)."""
    assert process.stdout is not None
    deadline = time.monotonic() + limits.seconds
    pieces: list[bytes] = []
    size = 0
    gone_over = ""
    with selectors.DefaultSelector() as selector, process.stdout as pipe:
        selector.register(pipe, selectors.EVENT_READ)
        while not gone_over:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                gone_over = f"took longer than {limits.seconds:.0f} s"
                break
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > limits.output:
                gone_over = f"printed more than {limits.output} bytes"
    if gone_over:
        stop(process, 0)
    process.wait()
    return b"".join(pieces)[: limits.output], gone_over


@contextmanager
def _filter(tools: Tools) -> Iterator[int]:
    """The filter for system calls, as an open file."""
    with tempfile.TemporaryFile() as file:
        file.write(_filter_of(tools.root))
        file.seek(0)
        yield file.fileno()


@cache
def _filter_of(root: Path) -> bytes:
    tools = Tools(root, QuietConsole())
    # Its text: a file below /usr, where build-os may be installed, is not in the tree.
    argv = tools.make_argv("python3", "-I", "-B", "-c", FILTER.read_text(encoding="utf-8"), closed=True)
    done = subprocess.run(
        argv, env=tools.make_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0 or not done.stdout:
        raise CapabilityError(
            "the filter for system calls cannot be made", details=done.stderr.decode(errors="replace").splitlines()
        )
    return done.stdout


def _user() -> int | None:
    """Whom root runs the sandbox as; ``None`` for an ordinary user, who runs it himself, and for root of a container
    who has no other users."""
    if os.getuid() != 0 or not _can_change_users():
        return None
    rows = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for uid in (NOBODY, LAST_NOBODY):
        if any(inside <= uid < inside + count for inside, _, count in rows):
            return uid
    return None


def _can_change_users() -> bool:
    """CAP_CHOWN, CAP_SETGID and CAP_SETUID (capabilities(7))."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(effective >> capability & 1 for capability in (0, 6, 7))
