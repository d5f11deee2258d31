"""The builder's side of the escape tests: lays out what could be reached, and runs :mod:`tests.support.attacks` in a
sandbox. A program of its own, so that it can be somebody else and have a terminal.

Usage: python -m tests.support.escaping TOOLS PLACE attempts
       python -m tests.support.escaping TOOLS PLACE attempts program
       python -m tests.support.escaping TOOLS PLACE outside ATTEMPT ...
       python -m tests.support.escaping TOOLS PLACE limits NAME
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.errors import BuildError
from builder.core.sandbox import OURS, Limits, Sandbox
from builder.core.tools import Tools

ATTACKS = Path(__file__).with_name("attacks.py")
MARKER = "marker-of-the-host"
SHM_KEY = 0x62757366
MIB = 1 << 20
FORK_BOMB = """
import os, signal
children = 0
while True:
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        raise SystemExit(f"{children} children, then no more")
    children += 1
"""
# What a program does that takes too much, and what it may have.
GREEDY: Mapping[str, tuple[str, Limits]] = {
    "fork bomb": (FORK_BOMB, Limits(processes=64)),
    "endless": ("while True: pass", Limits(seconds=3)),
    "sleeper": ("import time\nprint('there', flush=True)\ntime.sleep(1000)", Limits(seconds=3)),
    "chatter": ("while True: print('x' * 1000)", Limits(output=MIB)),
    "large file": ("f = open('/var/large', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", Limits(file=16 * MIB)),
    "sparse file": ("open('/var/sparse', 'wb').truncate(1 << 40)", Limits(file=16 * MIB)),
    "memory": ("x = bytearray(8 << 30)", Limits(memory=512 * MIB)),
    "full tmp": ("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * (1 << 20)); f.flush()", Limits()),
    "full dev": ("f = open('/dev/x', 'wb')\nwhile True: f.write(b'x' * (1 << 16)); f.flush()", Limits(file=16 * MIB)),
}
# What is said of each.
LIMITS_SAY: Mapping[str, str] = {
    "fork bomb": "children, then no more",
    "endless": "took longer than 3 s",
    "sleeper": "took longer than 3 s",
    "chatter": "printed more than 1048576 bytes",
    "large file": "File too large",
    "sparse file": "File too large",
    "memory": "MemoryError",
    "full tmp": "No space left on device",
    "full dev": "No space left on device",
}
# Leaves processes behind that would write once the sandbox has ended.
LINGERING = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        while True:
            open('/var/late', 'a').write('x')
            time.sleep(0.05)
    os._exit(0)
time.sleep(0.3)
"""


@contextmanager
def outside(place: Path) -> Iterator[dict[str, str]]:
    """What is outside the sandbox: a file, sockets, shared memory, a process, a terminal, open files."""
    secret = place / "secret"
    secret.write_text("the host's secret")
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(SHM_KEY, 4096, 0o1666)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{MARKER}-{os.getpid()}")
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(str(place / "socket"))
        named.listen()
        bystander = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)", MARKER], stdin=subprocess.DEVNULL
        )
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        left_open = os.open(secret, os.O_RDONLY)
        os.set_inheritable(left_open, True)
        stack.callback(os.close, left_open)
        yield {
            "secret": str(secret),
            "builder": str(os.getpid()),
            "bystander": str(bystander.pid),
            "port": str(tcp.getsockname()[1]),
            "abstract": f"{MARKER}-{os.getpid()}",
            "socket": str(place / "socket"),
            "marker": MARKER,
            "shm": str(SHM_KEY),
            "tmp": str(place),
        }
    libc.shmctl(segment, 0, None)


def sandbox(tools: Path, place: Path, told: Path, limits: Limits | None = None) -> Sandbox:
    """An empty root; programs of the tools are what runs in it."""
    root = place / "root"
    (root / "var").mkdir(parents=True, exist_ok=True)
    made = Sandbox(
        Tools(tools, QuietConsole()), root, place, shown={"told": told}, limits=Limits() if limits is None else limits
    )
    made.give_files()
    return made


def python(tools: Path) -> list[str]:
    """The tools' Python, as a program of the sandbox starts it."""
    loader = next(iter(sorted(tools.glob("usr/lib/*/ld-linux*.so.*")))).relative_to(tools)
    return [
        f"{OURS}/tools/{loader}",
        "--library-path",
        f"{OURS}/tools/{loader.parent}",
        f"{OURS}/tools/usr/bin/python3",
    ]


def main(tools: Path, place: Path, what: str, *name: str) -> None:
    """Print what came of it, as JSON."""
    told = place / "told"
    told.mkdir()
    os.environ["SECRET"] = MARKER
    environment = {"PYTHONHOME": f"{OURS}/tools/usr", "PATH": "/usr/bin"}
    if what == "attempts":
        take_terminal()
        (told / "attacks.py").write_bytes(ATTACKS.read_bytes())
        with outside(place) as targets:
            (told / "targets").write_text(json.dumps(targets))
            boxed = sandbox(tools, place, told)
            words = [*python(tools), f"{OURS}/told/attacks.py", f"{OURS}/told/targets"]
            found = json.loads(boxed.run(*words, env=environment, believes=name != ("program",)))
            sys.stdout.write(json.dumps({**found, "who": (boxed.root / "var").stat().st_uid}))
        return
    if what == "outside":
        # The control: the same program, with a marker in its environment as the builder has it, and no sandbox.
        with outside(place) as targets:
            (told / "targets").write_text(json.dumps(targets))
            words = [sys.executable, str(ATTACKS), str(told / "targets"), *name]
            sys.stdout.write(
                subprocess.run(words, stdout=subprocess.PIPE, text=True, close_fds=False, check=True).stdout
            )
        return
    text, limits = (LINGERING, Limits()) if name == ("lingering",) else GREEDY[name[0]]
    (told / "program.py").write_text(text)
    boxed = sandbox(tools, place, told, limits)
    try:
        boxed.run(*python(tools), f"{OURS}/told/program.py", env=environment)
        said = "it ended"
    except BuildError as error:
        said = str(error)
    sizes = sizes_in(place / "root/var")
    time.sleep(0.5 if name == ("lingering",) else 0)
    sys.stdout.write(json.dumps({"said": said, "sizes": sizes, "later": sizes_in(place / "root/var")}))


def sizes_in(directory: Path) -> dict[str, int]:
    """Of its files."""
    return {path.name: path.stat().st_size for path in directory.iterdir()}


def take_terminal() -> None:
    """Have a controlling terminal, as a build that a person starts has."""
    if os.getpid() != os.getsid(0):
        os.setsid()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    # What is typed into it must not be what we print.
    threading.Thread(target=lambda: os.read(master, 1 << 16), daemon=True).start()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as below:
        main(Path(sys.argv[1]), Path(below), *sys.argv[3:])
