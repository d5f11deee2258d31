"""Another version of an app on a machine that runs, without a new image: for development, and until the next one.

The app's own directory is sent there, and the app started with it; where it does not become ready, what ran before is
started again. The image's own version stays where it is: 'revert', or a new machine, has it.

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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console

if TYPE_CHECKING:
    from builder.core.tools import Tools
    from builder.definition.resolved_app import ResolvedApp
    from vm.registry.ssh import SshTarget

HELP = "another version of an app on a machine that runs"
PROGRAM = "/usr/lib/build-os/switch-app"
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
    from builder.core.errors import VmError

    target, tools = find_machine(args, console)
    if args.action == "revert":
        return call(target, tools, ["revert", args.name], b"")
    path = args.definition or Path("os.yaml")
    app = require_app(path, args.name)
    status = send_version(app, target, tools, console)
    while args.watch:
        before = stamp_files(app)
        try:
            while stamp_files(app) == before:
                time.sleep(LOOK)
                app = require_app(path, args.name)
        except KeyboardInterrupt:
            return status
        try:
            status = send_version(app, target, tools, console)
        except VmError as error:
            console.warn(str(error))
    return status


def send_version(app: ResolvedApp, target: SshTarget, tools: Tools, console: Console) -> int:
    """One version to one machine; the status is that of the switch."""
    started = time.monotonic()
    archive = make_archive(app, tools)
    version = hashlib.sha256(archive).hexdigest()[:16]
    place = locate_modules(app)
    status = call(target, tools, ["push", app.name, version, place], archive)
    if status == 0:
        seconds = time.monotonic() - started
        console.note(f"{app.name} runs as version {version} ({len(archive) // 1024} KiB, {seconds:.1f} s)")
    return status


def locate_modules(app: ResolvedApp) -> str:
    """The directory of an image that holds an app's own modules."""
    from builder.stages.app_units import APPS

    return f"{APPS}/{app.name}"


def make_archive(app: ResolvedApp, tools: Tools) -> bytes:
    """An app's modules with their bytecode, as a tar archive; the same files make the same bytes."""
    from builder.stages.apps import install_files
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


def stamp_files(app: ResolvedApp) -> list[tuple[str, int, int]]:
    """What changes when one of an app's files does."""
    found = []
    for name, path in app.files.items():
        try:
            status = path.stat()
        except OSError:
            continue  # an editor is replacing it
        found.append((name, status.st_mtime_ns, status.st_size))
    return found


def require_app(definition: Path, name: str) -> ResolvedApp:
    """An app of a definition that has modules of its own.

    Raises:
        InputError: there is none of this name, or it has none.
    """
    from builder.core.errors import InputError
    from builder.core.suggest import make_suggestion
    from builder.definition.load import load

    apps = {app.name: app for app in load(definition).resolved.apps}
    if name not in apps:
        known = f"there are {', '.join(apps)}" if apps else "it has none"
        raise InputError(f"{definition} has no app '{name}'{make_suggestion(name, apps)}", hint=known)
    if not apps[name].files:
        raise InputError(
            f"the app '{name}' has no directory of its own", hint="what it runs is in the image's packages"
        )
    return apps[name]


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
    """Run the machine's own program for it; what that says is shown. Returns 0.

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
    match status:
        case 0:
            return 0
        case 2:
            raise InputError(f"there is no app '{words[1]}' on {target.host}", hint="push to a machine of its image")
        case 127:
            raise InputError(f"the image of {target.host} has no apps", hint=f"{PROGRAM} comes with the first one")
        case 255:
            raise VmError(f"cannot log in as {target.user} at {target.host}:{target.port}")
        case _:
            raise VmError(f"{words[1]} did not become ready", hint="above is what it said; what ran before runs again")
