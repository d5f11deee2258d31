"""``config plan --root`` and ``config apply --root``: a config and a directory that is taken for /."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.values import read_values
from builder.core.console import Console
from builder.core.errors import BuildError, InputError

if TYPE_CHECKING:
    from firstboot.apply.action import Machine
    from firstboot.drift.reapply import Again


def plan(args: argparse.Namespace, console: Console) -> int:
    """What would be done to the directory; ``nothing`` if it is as the config says."""
    with _planned(args, console) as (again, _):
        return _tell(args, again)


def apply(args: argparse.Namespace, console: Console) -> int:
    """Do it. If anything fails, the directory is as it was."""
    from firstboot.drift.reapply import apply_again
    from firstboot.engine.errors import ActionFailed
    from firstboot.log import Log
    from firstboot.places import Places

    with _planned(args, console) as (again, machine):
        try:
            apply_again(again, machine, Places(args.root).read_image_identity(), Log(StringIO()))
        except ActionFailed as error:
            raise BuildError(str(error), hint=f"everything in {args.root} is as it was before") from error
        return _tell(args, again)


def _tell(args: argparse.Namespace, again: Again) -> int:
    from builder.provisioning.steps import draw, list_steps

    steps = list_steps(again.left, again.actions)
    if args.json:
        sys.stdout.write(
            json.dumps(
                {"root": str(args.root), "file": str(args.file), "steps": [step.make_json_object() for step in steps]}
            )
        )
        sys.stdout.write("\n")
    elif steps:
        sys.stdout.write(f"{args.file} on {args.root}: {draw(steps)}\n")
    else:
        sys.stdout.write("nothing\n")
    return 0


@contextmanager
def _planned(args: argparse.Namespace, console: Console) -> Iterator[tuple[Again, Machine]]:
    from builder.provisioning.fetching import make_remote
    from builder.provisioning.offline import OfflinePrograms
    from builder.provisioning.reading import read_located
    from builder.provisioning.values import require_declared
    from firstboot.apply.action import Machine
    from firstboot.apply.root import Root
    from firstboot.cli.directory import refuse_devices
    from firstboot.drift import undo
    from firstboot.drift.reapply import prepare_again
    from firstboot.engine.compile import finish, merge_documents
    from firstboot.engine.errors import EXPECTED, WRONG_CONFIG, describe
    from firstboot.engine.keyfiles import translate_keyfiles
    from firstboot.engine.record import read_record

    if not args.root.is_dir():
        raise InputError(f"{args.root} is no directory", hint="--root names the directory to take for /")
    if args.root.resolve() == Path("/"):
        raise InputError("this machine's own root is not for trying configs on", hint="--root names a directory")
    try:
        with Root(args.root) as root:
            machine = Machine(root, OfflinePrograms.make(root))
            if undo.is_pending(root):
                if args.action == "plan":
                    raise InputError(f"an earlier 'config apply' in {args.root} was cut short", hint="apply it again")
                left = undo.undo(machine)
                console.note("an earlier run was cut short: what it had changed was put back")
                if left:
                    console.note(undo.describe_left(left))
            remote = make_remote()
            values = read_values(args)
            document = read_located(args.file, args.files_dir, values)
            require_declared(values, [document.located])
            loaded = translate_keyfiles(finish(merge_documents([document], remote)), root)
            refuse_devices(loaded)
            for warning in loaded.warnings:
                console.warn(str(warning))
            with prepare_again(loaded, machine, read_record(root), remote) as again:
                for warning in machine.warnings:
                    console.warn(str(warning))
                yield again, machine
    except WRONG_CONFIG as error:
        raise InputError(str(error)) from error
    except OSError as error:
        where = f"{args.root}{error.filename}" if error.filename else str(args.root)
        raise BuildError(f"{where}: {error.strerror}") from error
    except EXPECTED as error:
        raise BuildError(f"{args.root}: {describe(error)}") from error
