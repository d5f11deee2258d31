"""``check``, ``plan`` and ``apply`` for configs and a directory: for people and tests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstboot.apply.action import Machine
from firstboot.apply.durable import sync
from firstboot.apply.root import Root
from firstboot.config.loaded import LoadedConfig
from firstboot.config.models import BLOCK_DEVICES
from firstboot.config.origins import ConfigError, draw_each
from firstboot.config.text import Problem, decode
from firstboot.engine.compile import check, compile_all
from firstboot.engine.errors import EXPECTED, WRONG_CONFIG, describe
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import plan
from firstboot.engine.remote import Remote
from firstboot.engine.resources import fetch_files
from firstboot.log import Log
from firstboot.places import Places

FAILED, WRONG = 1, 2


def run_command(arguments: list[str]) -> int:
    """Run the command that the arguments name.

    Returns:
        0; 1 if something failed; 2 if a config is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "check":
                return _check(options.files)
            case "plan":
                return _plan(options.root, options.files)
            case _:
                return _apply(options.root, options.files)
    except EXPECTED as error:
        print(describe(error), file=sys.stderr)
        return WRONG if isinstance(error, WRONG_CONFIG) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firstboot", description="make a machine what its config says")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="the machine's first boot (takes no arguments)")
    for name, text in (
        ("status", "say what was applied to this machine"),
        ("diff", "say what has changed since"),
        ("factory-reset", "begin again at the next boot"),
    ):
        commands.add_parser(name, help=text)  # see firstboot.cli.drift
    for name, text in (
        ("check", "say what is wrong with configs, as they would be merged"),
        ("plan", "say what would be done to a directory"),
        ("apply", "do it to a directory, or to this machine again: 'firstboot apply --check'"),
    ):
        command = commands.add_parser(name, help=text)
        if name != "check":
            command.add_argument("--root", required=True, type=Path, help="the directory that becomes /")
        command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a config; later ones win")
    return parser


def _texts(paths: list[Path]) -> list[tuple[str, bytes]]:
    return [(str(path), path.read_bytes()) for path in paths]


def _check(paths: list[Path]) -> int:
    complaints = check([(name, decode(data, name)) for name, data in _texts(paths)])
    for complaint in draw_each(complaints):
        print(complaint, file=sys.stderr)
    return WRONG if any(complaint.problem.severity == "error" for complaint in complaints) else 0


@contextmanager
def _loaded(paths: list[Path], machine: Machine) -> Iterator[LoadedConfig]:
    """The configs as one, with everything it names at hand for ``machine``."""
    # Nothing that only a certain platform may read: this can run anywhere.
    remote = Remote(Places(), "metal", Log())
    loaded = compile_all(_texts(paths), remote)
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    with fetch_files(loaded, remote.adapt_to(loaded.config.ignition), None, machine.programs) as machine.fetched:
        yield loaded


def _plan(directory: Path, paths: list[Path]) -> int:
    with Root(directory) as root:
        machine = Machine(root)
        with _loaded(paths, machine) as loaded:
            refuse_devices(loaded)
            actions = plan(loaded, machine)
            for warning in machine.warnings:
                print(warning, file=sys.stderr)
    for action in actions:
        print(action.describe())
    if not actions:
        print("nothing")
    return 0


def _apply(directory: Path, paths: list[Path]) -> int:
    with Root(directory) as root:
        machine = Machine(root)
        with _loaded(paths, machine) as loaded:
            refuse_devices(loaded)
            carry_out(plan(loaded, machine), loaded, machine, Log())
        sync(machine)
    return 0


def refuse_devices(loaded: LoadedConfig) -> None:
    """A directory has no disks and no kernel, as a container has none.

    Raises:
        ConfigError
    """
    storage = loaded.config.storage
    problems = [
        Problem(("storage", name, index), f"storage.{name} cannot be carried out in a directory", "only on a machine")
        for name in BLOCK_DEVICES
        for index in range(len(getattr(storage, name)))
    ]
    wanted = loaded.config.kernel_arguments
    if wanted.should_exist or wanted.should_not_exist:
        message = "kernelArguments cannot be carried out in a directory"
        problems.append(Problem(("kernelArguments",), message, "only on a machine", on_key=True))
    if problems:
        raise ConfigError([loaded.make_complaint(problem) for problem in problems])
