"""Another version of an app on a machine that runs, without a new image: for development, and until the next one.

The app's own directory is sent there, and its environment of wheels if that is not the image's; then the app is started
with them. Where it does not become ready, what ran before is started again. The image's own version stays where it is:
'revert', or a new machine, has it.

  build-os app push shop                       the only machine that runs
  build-os app push shop -m web-1 --watch      again at each change, until Ctrl-C
  build-os app push shop --host core@203.0.113.7
  build-os app revert shop
  build-os app list

What the definition says of the app (arguments, sockets, settings) is in its units, which only a new image changes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console

if TYPE_CHECKING:
    from builder.build.app_environment import AppEnvironment
    from builder.build.request import BuildRequest
    from builder.core.tools import Tools
    from builder.definition.resolved import Resolved
    from builder.definition.resolved_app import ResolvedApp
    from vm.registry.ssh import SshTarget

HELP = "another version of an app on a machine that runs"
PROGRAM = "/usr/lib/build-os/switch-app"
NOT_THERE = 3  # how the program ends for want of an environment
LOOK = 0.2  # seconds between two looks at an app's files


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    push = actions.add_parser("push", help="send an app's directory, and start the app with it")
    revert = actions.add_parser("revert", help="start the image's own version again")
    listing = actions.add_parser("list", help="the apps of a definition, a line each")
    for action in (push, revert):
        action.add_argument("name", metavar="APP")
        action.add_argument("-m", "--machine", metavar="NAME", help="default: the only one that runs")
        action.add_argument("--host", metavar="USER@HOST[:PORT]", help="a machine elsewhere, by ssh")
        action.add_argument("-i", "--identity", type=Path, help="private key for it")
    push.add_argument("--watch", action="store_true", help="push again whenever a file changes")
    for action in (push, listing):
        action.add_argument(
            "-f", "--file", type=Path, metavar="DEFINITION", help="the definition (default: os.yaml)", dest="definition"
        )


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what is asked."""
    from builder.core.errors import InputError

    match args.action:
        case "list":
            return show_apps(args.definition)
        case "push" | "revert":
            return change_version(args, console)
        case _:
            raise InputError("say what to do with apps", hint="push, revert or list")


def show_apps(definition: Path | None) -> int:
    """Name, units and description of each."""
    from builder.definition.load import load
    from builder.stages.app_units import list_services

    for app in load(definition or Path("os.yaml")).resolved.apps:
        print("\t".join([app.name, " ".join(list_services(app)), app.app.description or ""]).rstrip())
    return 0


def change_version(args: argparse.Namespace, console: Console) -> int:
    """Send a version, or go back to the image's."""
    target, tools = find_machine(args, console)
    if args.action == "revert":
        return call(target, tools, ["revert", args.name], b"")
    path = args.definition or Path("os.yaml")
    if args.watch:
        with keep_connection(target, tools) as kept:
            return follow_changes(args.name, path, kept, tools, console)
    resolved, app = require_app(path, args.name)
    environment = lock_app_environment(path, resolved, app, console)
    return send_version(path, app, environment, target, tools, console)


def follow_changes(name: str, path: Path, target: SshTarget, tools: Tools, console: Console) -> int:
    """Send a version, and another one at each change, until Ctrl-C; returns the status of the last."""
    from builder.core.errors import BuildError

    resolved, app = require_app(path, name)
    environment = lock_app_environment(path, resolved, app, console)
    seen = stamp_files(app, resolved)  # before it is sent: what changes meanwhile is sent next
    status = send_version(path, app, environment, target, tools, console)
    while True:
        try:
            while (now := stamp_files(app, resolved)) == seen:
                time.sleep(LOOK)
            changed, seen = {name for name, _ in {*now.items()} ^ {*seen.items()}}, now
            before = {*app.files.values()}
            resolved, app = require_app(path, name)
            if changed & {str(file) for file in list_inputs(resolved)}:
                environment = lock_app_environment(path, resolved, app, console)
            elif before == {*app.files.values()} and not changed & {str(file) for file in before}:
                continue  # what an editor keeps beside them
            seen = stamp_files(app, resolved)
            status = send_version(path, app, environment, target, tools, console)
        except KeyboardInterrupt:
            return status
        except BuildError as error:  # of what is half-written just now, or does not start
            console.warn(str(error))


@contextmanager
def keep_connection(target: SshTarget, tools: Tools) -> Iterator[SshTarget]:
    """The same machine by one connection for all calls: what a login takes is paid once. Calls that come before it is
    there, or after it was cut, log in by themselves."""
    from builder.cli.ssh import read_terminal_environment
    from vm.registry.ssh import make_connection_argv

    with tempfile.TemporaryDirectory(prefix="build-os-ssh-") as directory:
        kept = replace(target, control=Path(directory) / "control")
        with tools.spawn(*make_connection_argv(kept), env=read_terminal_environment(tools)):
            yield kept


def lock_app_environment(path: Path, resolved: Resolved, app: ResolvedApp, console: Console) -> AppEnvironment | None:
    """The app's environment of wheels as the lock has it, which follows the definition; ``None`` if it has none of its
    own that could be another one on a machine."""
    from builder.build.app_environment import lock_environment
    from builder.python.scheme import SYSTEM

    if app.app.python in (None, SYSTEM):
        return None
    return lock_environment(make_request(path, console), resolved, app.app.python)


def make_request(path: Path, console: Console) -> BuildRequest:
    """What a build of this definition would be asked."""
    from builder.build.request import BuildRequest
    from builder.core.store import Store

    return BuildRequest(path, Path("out"), Store.open(), console)


def send_version(
    path: Path,
    app: ResolvedApp,
    environment: AppEnvironment | None,
    target: SshTarget,
    tools: Tools,
    console: Console,
) -> int:
    """One version to one machine; the status is that of the switch.

    Raises:
        VmError: the app did not become ready, or nobody could be asked.
        BuildError: its environment cannot be made.
    """
    from builder.core.errors import VmError

    started = time.monotonic()
    archive = make_archive(app, tools)
    sent = len(archive)
    called = [environment.environment.name, environment.digest] if environment is not None else []
    version = hashlib.sha256(b"".join([archive, *(word.encode() for word in called)])).hexdigest()[:16]
    words = ["push", app.name, version, locate_modules(app), *called]
    status = call(target, tools, words, archive)
    if status == NOT_THERE and environment is not None:
        from builder.build.app_environment import make_environment_archive

        with console.open_step(f"send environment {environment.environment.name}"):
            wheels = make_environment_archive(make_request(path, console), environment, tools)
            call(target, tools, ["environment", environment.digest], wheels)
        sent += len(wheels)
        status = call(target, tools, words, archive)
    if status == NOT_THERE:
        raise VmError(f"{target.host} does not keep the environment of {app.name}", hint="push once more")
    if status == 0:
        seconds = time.monotonic() - started
        console.note(f"{app.name} runs as version {version} ({sent // 1024} KiB, {seconds:.1f} s)")
    return status


def locate_modules(app: ResolvedApp) -> str:
    """The directory of an image that holds an app's own modules."""
    from builder.stages.app_units import APPS

    return f"{APPS}/{app.name}"


def make_archive(app: ResolvedApp, tools: Tools) -> bytes:
    """An app's modules with their bytecode, as a tar archive; the same files make the same bytes."""
    from builder.stages.app_installation import install_files
    from builder.tree.bytecode import compile_below
    from builder.tree.tar import write_tar
    from builder.tree.tree import Tree

    tree = Tree()
    install_files(tree, app)
    with tempfile.TemporaryDirectory(prefix="build-os-app-") as scratch:
        compile_below(tree, tools, [locate_modules(app)], origin=f"app:{app.name}", scratch=Path(scratch))
    file = io.BytesIO()
    write_tar(tree, file, latest=0)
    return file.getvalue()


def list_inputs(resolved: Resolved) -> list[Path]:
    """The files that say what is in environments: the definition, its lock, and what it names."""
    from builder.locking import make_lock_path

    files = [resolved.path, make_lock_path(resolved.path)]
    for environment in resolved.python:
        files += [environment.file, *([environment.lock] if environment.lock is not None else [])]
        files += [Path(requirement.file) for requirement in environment.requirements.wanted if requirement.file]
    return list(dict.fromkeys(file.absolute() for file in files))


def stamp_files(app: ResolvedApp, resolved: Resolved) -> dict[str, tuple[int, int]]:
    """What changes when one of an app's files does, or another is there, or what its environment is made of."""
    stamps = {}
    for path in (*app.files.values(), *{path.parent for path in app.files.values()}, *list_inputs(resolved)):
        try:
            status = path.stat()
        except OSError:
            continue  # an editor is replacing it
        stamps[str(path)] = (status.st_mtime_ns, status.st_size)
    return stamps


def require_app(definition: Path, name: str) -> tuple[Resolved, ResolvedApp]:
    """A definition, and an app of it that has modules of its own.

    Raises:
        InputError: there is none of this name, or it has none.
    """
    from builder.core.errors import InputError
    from builder.core.suggest import make_suggestion
    from builder.definition.load import load

    resolved = load(definition).resolved
    apps = {app.name: app for app in resolved.apps}
    if name not in apps:
        known = f"there are {', '.join(apps)}" if apps else "it has none"
        raise InputError(f"{definition} has no app '{name}'{make_suggestion(name, apps)}", hint=known)
    if not apps[name].files:
        raise InputError(
            f"the app '{name}' has no directory of its own", hint="what it runs is in the image's packages"
        )
    return resolved, apps[name]


def find_machine(args: argparse.Namespace, console: Console) -> tuple[SshTarget, Tools]:
    """How to log in, and the programs for it: those of the tools tree that the machine was started with."""
    from builder.cli.login import ROOT
    from builder.cli.machines import open_kept_machines, open_registry
    from builder.cli.ssh import find_tools
    from builder.core.errors import InputError
    from builder.core.image import read_image
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.registry.ssh import SshTarget

    if args.host is None:
        record = open_registry(Store.open()).find(args.machine, open_kept_machines().list_names())
        return record.find_ssh_target(ROOT, args.identity), Tools(find_tools(record.folder), console)
    if args.machine is not None:
        raise InputError("one machine, please", hint="leave out --machine, or --host")
    user, _, place = args.host.rpartition("@")
    host, colon, port = place.rpartition(":")
    if colon and not port.isdigit():
        raise InputError(f"'{args.host}' is not USER@HOST, or USER@HOST:PORT")
    target = SshTarget(int(port) if colon else 22, user or "core", args.identity, host if colon else place)
    build_json = Path("out/build.json")
    if not build_json.exists():
        raise InputError(f"there is no {build_json}, which names the programs for it", hint="build the image first")
    return target, Tools(read_image(build_json).tools, console)


def call(target: SshTarget, tools: Tools, words: Sequence[str], archive: bytes) -> int:
    """Run the machine's own program for it; what that says is shown.

    Returns:
        0, or :data:`NOT_THERE` if the app's environment has to be sent first.

    Raises:
        InputError: the machine has no such app, or cannot have another version of one.
        VmError: the app did not become ready, or nobody could be asked.
    """
    from builder.cli.ssh import read_terminal_environment
    from builder.core.errors import InputError, VmError
    from vm.registry.ssh import make_argv

    rights = [] if target.user == "root" else ["sudo", "-n"]
    command = shlex.join([*rights, PROGRAM, *words])
    status = subprocess.run(
        tools.make_argv(*make_argv(target, [command])),
        env=read_terminal_environment(tools),
        input=archive,
        check=False,
    ).returncode
    if status in (0, NOT_THERE):
        return status
    match status:
        case 2:
            raise InputError(f"there is no app '{words[1]}' on {target.host}", hint="push to a machine of its image")
        case 127:
            raise InputError(f"the image of {target.host} has no apps", hint=f"{PROGRAM} comes with the first one")
        case 255:
            raise VmError(f"cannot log in as {target.user} at {target.host}:{target.port}")
        case _ if words[0] == "environment":
            raise VmError(f"{target.host} could not unpack the environment", hint="above is what it said")
        case _:
            raise VmError(f"{words[1]} did not become ready", hint="above is what it said; what ran before runs again")
