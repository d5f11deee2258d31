"""Build, boot, and bring the machine along with each change, until Ctrl-C.

What can be put into a machine that runs is put there and said: files of /etc, units and their drop-ins, quadlets,
settings of networks, sysctl, tmpfiles and udev, and the own files of apps. For all else it says why a new image is
needed; Enter builds and boots one then.

  build-os dev
  build-os dev -c configs/machines/demo.yaml -p 8080:8080 configs/demo.yaml
  build-os dev -m web-1                  a machine that runs already, of this definition's last build
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_definition, add_out, require_definition
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.build.live import Changes, Live
    from builder.core.seen import Description
    from builder.core.tools import Tools
    from builder.definition.resolved import Resolved
    from builder.tree.node import Node
    from vm.registry.running import Registry
    from vm.registry.ssh import SshTarget

HELP = "build, boot, and put each change into the machine while it runs"
LOOK = 0.2  # seconds between two looks
SETTLED = 0.05  # and until nothing more is being written


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    add_out(parser)
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="first-boot config, YAML or JSON")
    parser.add_argument(
        "-p", "--publish", action="append", default=[], metavar="HOST:GUEST", help="127.0.0.1:HOST leads to GUEST"
    )
    parser.add_argument("-m", "--machine", metavar="NAME", help="one that runs, instead of booting another")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="default: 2048")
    parser.add_argument("--kernel", action="store_true", help="boot without firmware, which is faster")


def run(args: argparse.Namespace, console: Console) -> int:
    """Follow the definition until Ctrl-C."""
    path = require_definition(args.definition)
    look = look_at(path)  # what is saved from now on, while it is built and boots, is put when it has
    with open_machine(args, path, console) as machine:
        follow(machine, path, look, console, is_asked=open_keyboard())
    return 0


@dataclass
class Followed:
    """A machine, and what it was given.

    Attributes:
        renew: builds and boots another one in its place.
        live: what it has.
        pending: why a new image is needed, as long as it is.
    """

    target: SshTarget
    tools: Tools
    live: Live
    renew: Callable[[], Followed]
    pending: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """A definition, as it was when it was read, and all files that it was read from."""

    resolved: Resolved
    paths: dict[str, Description]

    def has_changed(self) -> bool:
        """Whether it would be read differently now."""
        from builder.core.seen import is_unchanged

        return not is_unchanged(self.paths)


def look_at(path: Path) -> Look:
    """Read a definition and all that it names.

    Raises:
        InputError: it is wrong.
    """
    from builder.core import seen
    from builder.definition.load import load

    looked_at = seen.Seen()
    seen.start(looked_at)
    try:
        resolved = load(path).resolved
        for app in resolved.apps:
            for file in app.files.values():
                looked_at.add(file)
    finally:
        seen.pause()
    return Look(resolved, keep_sources(looked_at.paths))


def keep_sources(paths: dict[str, Description]) -> dict[str, Description]:
    """Of all that was looked at, what a person edits: neither Python nor build-os itself, and not the directories that
    the machine and the build write into."""
    from builder.build.live import OF_EDITORS
    from builder.core.inputs import ROOT
    from builder.core.seen import OF_PYTHON

    own = tuple(f"{ROOT}/{name}/" for name in ("builder", "firstboot", "update", "vm"))
    ours = (*OF_PYTHON, *own)
    return {
        path: known
        for path, known in paths.items()
        if not path.startswith(ours)
        and path not in sys.path
        and not path.endswith(".pyc")
        and not OF_EDITORS.search(path)
    }


def follow(machine: Followed, path: Path, look: Look, console: Console, is_asked: Callable[[float], bool]) -> None:
    """Put each change into the machine, until Ctrl-C.

    Args:
        look: at the definition, before the machine was described by it.
        is_asked: waits for so many seconds; whether somebody wants the new image meanwhile.
    """
    from builder.core.errors import BuildError

    console.note(f"watching {path} and the {len(look.paths)} files and directories that it is made of; Ctrl-C ends it")
    while True:
        try:
            wanted = is_asked(LOOK)
            if wanted and machine.pending:
                machine = machine.renew()
            if not look.has_changed():
                continue
            started = time.monotonic()
            time.sleep(SETTLED)
            look = look_again(look, path)
            bring_along(machine, path, look.resolved, started, console)
        except KeyboardInterrupt:
            return
        except (BuildError, OSError, ValueError) as error:  # of what is half-written, or gone, just now
            console.warn(str(error))


def look_again(before: Look, path: Path) -> Look:
    """The definition as it is now; one that is wrong is looked at again when it has changed once more.

    Raises:
        InputError: it is wrong.
        OSError: a file went away meanwhile.
    """
    from builder.core.errors import BuildError
    from builder.core.seen import describe

    now = {name: describe(name) for name in before.paths}
    try:
        return look_at(path)
    except (BuildError, OSError, ValueError):
        before.paths.update(now)
        raise


def bring_along(machine: Followed, path: Path, resolved: Resolved, started: float, console: Console) -> None:
    """Do for a machine what can be done, and say what; say why a new image is needed, if one is."""
    from builder.build.live import Live, decide_changes, describe_live

    now = describe_live(resolved)
    changes = decide_changes(machine.live, now)
    if not changes.is_empty:
        put(machine, changes, started, console)
    for name in changes.apps:
        send_app(machine, path, resolved, name, console)
    # What needs a new image is compared with what the machine's image has, until there is one.
    machine.live = Live(keep_of_image(machine.live, now, changes), now.presets, now.apps, machine.live.rest)
    pending = list(changes.reboot)
    if pending and pending != machine.pending:
        console.warn(f"needs a new image: {', '.join(pending)} (Enter builds it and boots)")
    elif machine.pending and not pending:
        console.note("no new image is needed any more")
    machine.pending = pending


def keep_of_image(before: Live, now: Live, changes: Changes) -> dict[str, Node]:
    """The files that the machine has now: those of the definition, but for what could not be put there."""
    done = {put.of_image for put in changes.files}
    names = before.files.keys() | now.files.keys()
    after = {name: (now if name in done else before).files.get(name) for name in names}
    return {name: node for name, node in after.items() if node is not None}


def put(machine: Followed, changes: Changes, started: float, console: Console) -> None:
    """Put files into a machine and let it read them.

    Raises:
        VmError: it cannot be asked.
    """
    from builder.build.live import PROGRAM, decode_outcome, encode_changes

    program = ["python3", "-IS", "-c", PROGRAM.read_text(encoding="utf-8")]
    outcome = decode_outcome(ask(machine, program, encode_changes(changes)))
    for file in changes.files:
        if file.path in outcome.kept:
            console.warn(f"{file.path} stays as it is: the machine has changed it itself")
        else:
            what = "put" if file.node is not None else "taken away"
            beside = f", in the place of {file.of_image}" if file.path != file.of_image else ""
            remains = "; what it has set stays until a reboot" if file.path in changes.remains else ""
            console.note(f"{what}: {file.path}{beside}{remains}")
    failed = {command for command, _ in outcome.failed}
    for command, said in outcome.failed:
        console.warn(f"{shlex.join(command)}: {said or 'it failed'}")
    for command in changes.commands:
        if command not in failed and command[1:] != ("daemon-reload",):
            console.note(f"done: {shlex.join(command)}")
    console.note(f"{time.monotonic() - started:.1f} s")


def ask(machine: Followed, command: Sequence[str], data: bytes) -> str:
    """What a program on the machine prints.

    Raises:
        VmError: it fails, or nobody can log in.
    """
    from builder.cli.ssh import read_terminal_environment
    from builder.core.errors import VmError
    from vm.registry.ssh import make_argv

    done = subprocess.run(
        machine.tools.make_argv(*make_argv(machine.target, [shlex.join(command)])),
        env=read_terminal_environment(machine.tools),
        input=data,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        details = done.stderr.decode("utf-8", "replace").splitlines()[-10:]
        raise VmError(f"the machine at port {machine.target.port} did not do it", details=details)
    return done.stdout.decode("utf-8", "replace")


def send_app(machine: Followed, path: Path, resolved: Resolved, name: str, console: Console) -> None:
    """The app's own files, as 'build-os app push' sends them."""
    from builder.cli.app import lock_app_environment, send_version

    app = next(app for app in resolved.apps if app.name == name)
    environment = lock_app_environment(path, resolved, app, console)
    send_version(path, app, environment, machine.target, machine.tools, console)


@contextmanager
def open_machine(args: argparse.Namespace, path: Path, console: Console) -> Iterator[Followed]:
    """A machine of what is built now; one that was booted for this ends with it.

    Raises:
        BuildError: it cannot be built or booted, or does not run.
    """
    from contextlib import ExitStack

    from builder.build.live import describe_live
    from builder.cli.app import keep_connection
    from builder.cli.machines import open_kept_machines, open_registry, stop
    from builder.cli.ssh import find_tools
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.core.tools import Tools

    registry = open_registry(Store.open())
    with ExitStack() as stack, ExitStack() as boot:

        def renew() -> Followed:
            if args.machine is not None:
                raise InputError(f"{args.machine} was not booted by this", hint="without -m, a machine is")
            boot.close()  # the connection first, then the machine
            live = describe_live(look_at(path).resolved)  # what changes while it is built comes after
            name = build_and_boot(args, path, registry, console)
            boot.callback(stop, registry, name, console)
            return connect(name, live)

        def connect(name: str | None, live: Live) -> Followed:
            record = registry.find(name, open_kept_machines().list_names())
            tools = Tools(find_tools(record.folder), console)
            target = boot.enter_context(keep_connection(record.find_ssh_target("root"), tools))
            return Followed(target, tools, live, renew)

        stack.callback(boot.close)
        if args.machine is None:
            yield renew()
        else:
            look = look_at(path)
            warn_of_later_changes(look, find_build(args.machine, registry), console)
            yield connect(args.machine, describe_live(look.resolved))


def find_build(name: str, registry: Registry) -> Path:
    """Where the image of a machine that runs was described when the machine was made.

    Raises:
        InputError: there is no such machine.
    """
    from builder.cli.machines import open_kept_machines

    kept = open_kept_machines()
    folder = registry.find(name, kept.list_names()).folder
    return kept.find(name).build_json if kept.has(name) else folder.parent.parent / "build.json"


def warn_of_later_changes(look: Look, build_json: Path, console: Console) -> None:
    """Say which files are younger than the image, for the machine is taken to have them already."""
    from builder.core.seen import describe

    built = describe(str(build_json))
    newer = [
        path
        for path, known in sorted(look.paths.items())
        if built is not None and known is not None and stat.S_ISREG(known[0]) and known[3] > built[3]
    ]
    if newer:
        more = f" and {len(newer) - 3} more" if len(newer) > 3 else ""
        console.warn(
            f"changed after {build_json} was written, and put only when changed again: {', '.join(newer[:3])}{more}"
        )


def make_name(args: argparse.Namespace) -> str:
    """What the machine is called: another one than 'run' would boot."""
    from builder.core.image import read_image

    return f"{read_image(args.out / 'build.json').name}-dev"


def build_and_boot(args: argparse.Namespace, path: Path, registry: Registry, console: Console) -> str:
    """Build, and leave a machine running; returns its name.

    Raises:
        InputError: nobody could log in, or a machine of this name runs, which is not ours to stop.
        BuildError: it cannot be built, or does not come up.
    """
    from builder.build import BuildRequest, build_definition
    from builder.cli import run as runner
    from builder.cli.build import format_table
    from builder.cli.main import make_parser
    from builder.core.errors import InputError
    from builder.core.store import Store

    result = build_definition(BuildRequest(path, args.out, Store.open(), console))
    if result.seconds:
        for line in format_table(result.manifest):
            console.note(line)
    if not runner.has_ssh_server(result.manifest):
        raise InputError("nobody can log in to this image", hint="add 'ssh' to features")
    name = make_name(args)
    if name in {record.name for record in registry.list()}:
        raise InputError(f"a machine named {name} runs already", hint=f"'build-os dev -m {name}' follows it")
    words = ["run", str(result.manifest), "--detach", "--name", name, "--memory", str(args.memory)]
    words += ["--config", str(args.config)] if args.config else []
    words += [word for pair in args.publish for word in ("--publish", pair)]
    words += ["--kernel"] if args.kernel else []
    runner.run(make_parser("run").parse_args(words), console)
    return name


def open_keyboard() -> Callable[[float], bool]:
    """What waits for Enter, or only waits where nobody can press it."""
    is_open = not sys.stdin.closed

    def wait(seconds: float) -> bool:
        nonlocal is_open
        if not is_open:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if not ready:
            return False
        is_open = bool(os.read(sys.stdin.fileno(), 1024))
        return is_open

    return wait
