"""The commands of a machine that is provisioned: ``status``, ``diff``, ``apply``, ``factory-reset``.

status [--json]                    what was applied, when, by which image, and whether it still is so
diff [--all] [--json]              what has changed since, path by path; --all: also what others made in /etc
apply --check | --apply [FILE...]  make files, units and users what the config says again; or say what that would do
factory-reset [--yes | --cancel]   begin again at the next boot: everything on the state partition goes
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from firstboot.apply.action import Machine
from firstboot.apply.root import Root
from firstboot.config.loaded import LoadedConfig
from firstboot.drift import reset, undo
from firstboot.drift.both_sides import read_both_sides
from firstboot.drift.changes import Change, list_changes
from firstboot.drift.others import list_others
from firstboot.drift.reapply import Again, apply_again, prepare_again, read_recorded_config
from firstboot.drift.units_after import reload_units
from firstboot.engine.compile import compile_all
from firstboot.engine.errors import EXPECTED, WRONG_CONFIG, describe
from firstboot.engine.keyfiles import translate_keyfiles
from firstboot.engine.provision import read_base_configs
from firstboot.engine.record import Record, read_record
from firstboot.engine.remote import Remote
from firstboot.log import Log
from firstboot.places import KEPT_RESULT, Places
from firstboot.platform_index import load_index
from firstboot.platforms import Fetched

FAILED, WRONG, DIFFERS = 1, 2, 3
PATIENCE = 30  # seconds: somebody sits and waits, or a timer will try again
COMMANDS = ("status", "diff", "apply", "factory-reset")


class Trouble(Exception):
    """Something that the user can do something about."""


class Quiet(Log):
    """Only what goes wrong."""

    def note(self, text: str) -> None:
        """Nothing."""


def run_command(arguments: list[str], places: Places | None = None) -> int:
    """Run one of :data:`COMMANDS`.

    Returns:
        0; 1 if it failed; 2 if a config or the command line is wrong; 3 if something differs from what was applied.
    """
    options = _parser().parse_args(arguments)
    places = places or Places()
    try:
        with Root(places.root) as root:
            machine = Machine(root, places.programs)
            match options.command:
                case "status":
                    return _status(options, machine)
                case "diff":
                    return _diff(options, machine, places)
                case "apply":
                    return _apply(options, machine, places)
                case _:
                    return _factory_reset(options, root, places)
    except PermissionError as error:
        print(f"{error.filename}: only root may do this", file=sys.stderr)
        return FAILED
    except (*EXPECTED, Trouble, reset.CannotReset) as error:
        print(describe(error), file=sys.stderr)
        return WRONG if isinstance(error, WRONG_CONFIG) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firstboot", description="what this machine was made, and what it is now")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="what was applied, when and by which image")
    diff = commands.add_parser("diff", help="what has changed since")
    apply = commands.add_parser("apply", help="make files, units and users what the config says; disks stay")
    how = apply.add_mutually_exclusive_group(required=True)
    how.add_argument("--check", action="store_true", help="say what would be done")
    how.add_argument("--apply", action="store_true", help="do it, all or nothing")
    apply.add_argument(
        "--timeout",
        type=_seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"for each thing to fetch, unless the config says how long; 0 is for ever (default: {PATIENCE})",
    )
    apply.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a config instead of the applied one")
    diff.add_argument(
        "--all",
        action="store_true",
        help="also what is in /etc, and which users there are, by neither image nor config",
    )
    for command in (status, diff, apply):
        command.add_argument("--json", action="store_true", help="one JSON object, for programs")
    factory = commands.add_parser("factory-reset", help="at the next boot empty the state and run the first boot again")
    factory.add_argument("--yes", action="store_true", help="do not ask")
    factory.add_argument("--cancel", action="store_true", help="take the request back")
    return parser


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds")
    return int(text)


# --- looking ---


def _require_record(machine: Machine) -> Record:
    try:
        record = read_record(machine.root)
    except ValueError as error:
        raise Trouble(str(error)) from None
    if record is None:
        raise Trouble("nothing was applied to this machine by a first boot with a config")
    return record


def _status(options: argparse.Namespace, machine: Machine) -> int:
    record = _require_record(machine)
    changes = list_changes(record, read_recorded_config(record).config, machine)
    result: dict[str, Any] = {}
    with suppress(FileNotFoundError, ValueError):
        result = json.loads(machine.root.read(KEPT_RESULT))
    asked = reset.is_requested(machine.root)
    data = {
        "applied": {"time": record.time, "image": {**record.image}},
        "firstboot": result,
        "changed": [change.subject for change in changes],
        "interrupted": undo.is_pending(machine.root),
        "factoryReset": asked,
    }
    if options.json:
        print(json.dumps(data, ensure_ascii=False))
        return 0
    for name, text in _status_lines(record, result):
        print(f"{name:<10} {text}")
    since = f"{_count(len(changes), 'thing')} since: see 'firstboot diff'" if changes else "nothing since"
    print(f"{'changed':<10} {since}")
    if data["interrupted"]:
        print(f"{'warning':<10} a later 'firstboot apply' was cut short; the next one puts everything back first")
    if asked:
        print(f"{'warning':<10} the next boot is a factory reset ('firstboot factory-reset --cancel' takes it back)")
    return 0


def _status_lines(record: Record, result: dict[str, Any]) -> list[tuple[str, str]]:
    image = record.image
    lines = [("applied", f"{record.time} by {image.get('id', '?')} {image.get('version', '?')}")]
    if not result:
        return lines
    config = result.get("config")
    lines.append(("first boot", f"{result['result']} at {result['time']} in {result['seconds']} s"))
    lines.append(("platform", str(result["platform"])))
    lines.append(("config", f"{config['name']} (sha256 {config['sha256']})" if config else "the image's own"))
    lines += [("base", base["name"]) for base in result.get("base", ())]
    lines += [("warning", str(warning).splitlines()[0]) for warning in result.get("warnings", ())]
    return lines


def _diff(options: argparse.Namespace, machine: Machine, places: Places) -> int:
    record = _require_record(machine)
    config = read_recorded_config(record).config
    changes = [*list_changes(record, config, machine), *_list_both_sides(places)]
    if options.all:
        changes += list_others(record, config, machine.root, machine.names)
    if options.json:
        print(
            json.dumps(
                {"since": record.time, "changes": [change.make_json_object() for change in changes]}, ensure_ascii=False
            )
        )
    else:
        for change in changes:
            print(f"{change.subject}: {', '.join(change.what)}")
            if change.diff:
                print("".join(f"    {line}\n" for line in change.diff.splitlines()), end="")
        if not changes:
            print(f"nothing has changed since {record.time}")
    return DIFFERS if changes else 0


def _list_both_sides(places: Places) -> Iterator[Change]:
    """What an update of the image has changed in ``/etc``, and this machine as well."""
    both = read_both_sides(places.root, places.read_image_identity()["version"])
    if both is not None:
        for path in both.paths:
            yield Change(path, (f"the image has changed it as well, from version {both.source} to {both.version}",))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- applying ---


def _apply(options: argparse.Namespace, machine: Machine, places: Places) -> int:
    if undo.is_pending(machine.root):
        if options.check:
            raise Trouble("an earlier 'firstboot apply' was cut short; 'firstboot apply --apply' puts it back first")
        left = undo.undo(machine)
        print("an earlier run was cut short: what it had changed was put back", file=sys.stderr)
        if left:
            print(undo.describe_left(left), file=sys.stderr)
    record = read_record(machine.root) if options.files else _require_record(machine)
    # Nothing that only a certain platform may read; and who waits for a server is told.
    remote = Remote(places, "metal", Log(sys.stderr), patience=options.timeout)
    loaded = (
        _given(options.files, machine, places, remote) if options.files else read_recorded_config(_required(record))
    )
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    kernel = loaded.config.kernel_arguments
    if loaded.config.has_devices or kernel.should_exist or kernel.should_not_exist:
        print("disks and kernel arguments are for a first boot alone: left as they are", file=sys.stderr)
    with prepare_again(loaded, machine, record, remote) as again:
        for warning in machine.warnings:
            print(warning, file=sys.stderr)
        if options.apply:
            apply_again(again, machine, places.read_image_identity(), Quiet())
        _tell(again, options)
    if options.apply and again.actions and machine.root.is_system:
        for line in reload_units(again.actions, machine.programs):
            print(line, file=sys.stderr)
    return DIFFERS if options.check and again.actions else 0


def _required(record: Record | None) -> Record:
    assert record is not None
    return record


def _given(files: Sequence[Path], machine: Machine, places: Places, remote: Remote) -> LoadedConfig:
    """The image's base configs with these on top, as a first boot would merge them."""
    texts = [*read_base_configs(places), *(Fetched(str(path), path.read_bytes()) for path in files)]
    return translate_keyfiles(compile_all(texts, remote), machine.root)


def _tell(again: Again, options: argparse.Namespace) -> None:
    lines = [action.describe() for action in again.actions]
    if options.json:
        print(json.dumps({"applied": bool(options.apply), "actions": lines}, ensure_ascii=False))
    elif lines:
        print("\n".join(lines))
    else:
        print("nothing")


# --- beginning again ---


def _factory_reset(options: argparse.Namespace, root: Root, places: Places) -> int:
    if options.cancel:
        reset.cancel(root)
        print("the next boot is an ordinary one")
        return 0
    image = places.read_image_identity()
    if not options.yes:
        print("At the next boot everything on this machine's state partition is removed: /var, with all data, and the")
        print("changes to /etc. Then the first boot runs again. Other disks stay as they are.")
        if reset.has_lost_its_config(root, load_index().with_deletion):
            print("The platform no longer has this machine's config: it will come up as its image is, without users.")
        try:
            answer = input(f"Type the name of the image, {image['id']}, to go on: ")
        except EOFError:
            answer = ""
        if answer.strip() != image["id"]:
            print("nothing was done", file=sys.stderr)
            return FAILED
    reset.request(root)
    print("the next boot is a factory reset: 'systemctl reboot' begins it, '--cancel' takes it back")
    return 0
