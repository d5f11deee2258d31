"""``os-update``: what a machine does about new versions of its OS.

status [--json]             which version runs, whether it has proven itself, and what became of others
check [--json]              ask the repository for a newer version
apply [--from PATH] [--now]  take the version that it offers, or one that lies here
rollback [--once] [--now]   start the version before; with --once for one boot only
pin VERSION, unpin          take only this version; any again
extensions list|add|remove  what extends the version that runs, on this machine
drift [--json]              files of /etc that the image and this machine have both changed
history [--json]            what happened to which version, and why
firmware-keys FILE          tell firmware whom it trusts as well, or what it starts no more
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstboot.config.lazy import import_lazily
from firstboot.config.update_words import SETTINGS_FILE
from firstboot.drift.both_sides import BothSides
from update.agent import trial
from update.agent.archive import clear_archive, unpack_archive
from update.agent.esp import find_image, mount_esp
from update.agent.etc import describe_drift, keep_own, read_drift, show_difference, take_default
from update.agent.extensions import remove_extension
from update.agent.firmware_keys import ENCRYPTED_STATE, read_change, refuse_to_lock_out, write_change
from update.agent.fleet_lock import read_held
from update.agent.host import Host
from update.agent.identity import read_identity
from update.agent.lock import hold_lock
from update.agent.migrations import begin_migration, end_migration, note_state_version
from update.agent.payload import read_release
from update.agent.rollback import find_other, start_other
from update.agent.settings import has_development_keys, read_settings
from update.agent.state import Event, format_state, read_state, write_state
from update.agent.take import Taking, check_wanted, take
from update.errors import UpdateError
from update.times import format_time
from update.versions import is_version

if TYPE_CHECKING:
    from update.agent import online
else:
    # requests and python-tuf: a boot does without them.
    online = import_lazily("update.agent.online")

FAILED, INTERRUPTED = 1, 130
_REBOOT = ["systemctl", "reboot", "--no-block"]


def main(arguments: Sequence[str], host: Host | None = None) -> int:
    """Run a command.

    Returns:
        0 if it was done, 1 if it was not, 2 if the command line is wrong, 130 after Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    host = host or Host()
    try:
        COMMANDS[options.command](host, options)
    except (UpdateError, OSError) as error:
        print(f"os-update: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("os-update: interrupted; the version that runs was not touched", file=sys.stderr)
        return INTERRUPTED
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("os-update", description="Updates of this machine's operating system.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, words: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")

    add("status", "say which version runs, and what became of others").add_argument("--json", action="store_true")
    add("check", "ask the repository for a newer version").add_argument("--json", action="store_true")
    apply = add("apply", "take a version, which is started at the next boot")
    apply.add_argument(
        "--from", dest="source", metavar="PATH", type=Path, help="where it lies; default: the repository"
    )
    apply.add_argument("--now", action="store_true", help="reboot at once")
    apply.add_argument("--again", action="store_true", help="also a version that has failed on this machine")
    rollback = add("rollback", "start the version before at the next boot")
    rollback.add_argument("--once", action="store_true", help="and this one again after that")
    rollback.add_argument("--now", action="store_true", help="reboot at once")
    add("pin", "take no other version than this one").add_argument("version", metavar="VERSION")
    add("unpin", "take any version again")
    drift = add("drift", "list the files of /etc that the image and this machine have both changed")
    drift.add_argument("--json", action="store_true")
    what = drift.add_mutually_exclusive_group()
    what.add_argument("--show", metavar="PATH", help="how the machine's file differs from the image's")
    what.add_argument("--keep", metavar="PATH", help="the machine's file is right: list it no more")
    what.add_argument("--take", metavar="PATH", help="replace the machine's file by the image's")
    extensions = add("extensions", "list what extends this machine's system, add to it, and remove from it")
    verbs = extensions.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("list", help="what the version that runs has, and what this machine has of it").add_argument(
        "--json", action="store_true"
    )
    verbs.add_parser("add", help="take one, now and of each new version").add_argument("name", metavar="NAME")
    verbs.add_parser("remove", help="take one away").add_argument("name", metavar="NAME")
    add("history", "say what happened to which version, and why").add_argument("--json", action="store_true")
    keys = add("firmware-keys", "tell firmware of other keys (db.auth), or of images that it starts no more (dbx.auth)")
    keys.add_argument("file", metavar="FILE", type=Path, help="as 'build-os key --trust' and '--revoke' make it")
    keys.add_argument(
        "--recovery-key", action="store_true", help="that of the encrypted state is at hand, for the next boot"
    )
    # What units call.
    for name in ("auto", "boot", "bless", "give-up", "migrate", "migrated", "steady"):
        commands.add_parser(name)
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


def _status(host: Host, options: argparse.Namespace) -> None:
    taking = _prepare(host)
    identity, state, held = taking.identity, taking.state, read_held(host)
    other, left, both = find_other(host, identity), None, read_drift(host, identity.version)
    if host.is_counted():
        with mount_esp(host) as esp:
            image = find_image(esp, identity.name, identity.version)
            left = None if image is None else image.left
    report: dict[str, Any] = {
        "name": identity.name,
        "running": identity.version,
        "on_trial": left is not None,
        "tries_left": left,
        "other": other,
        **{key: value for key, value in format_state(state).items() if key != "history"},
        "pin": taking.find_pin(),
        "drift": [] if both is None else [*both.paths],
        "development_keys": has_development_keys(host),
        "fleet_lock": None if held is None else {"url": held.url, "group": held.group},
    }
    if options.json:
        print(json.dumps(report))
        return
    word = "good" if left is None else f"on trial, {left} more tries"
    print(f"running   {identity.name} {identity.version} ({word})")
    if other is not None:
        print(f"other     {other}{_describe_other(report, other)}")
    if report["development_keys"]:
        print("keys      for development: whoever has made them to try things out can update this machine")
    if report["pin"] is not None:
        print(f"pinned    {report['pin']}")
    if report["drift"]:
        print(f"drift     {describe_drift(report['drift'])}")
    if held is not None:
        print(f"locked    a reboot of the group {held.group}, by {held.url}")
    for version, failure in state.failed.items():
        print(f"failed    {version} at {format_time(failure.when)}: {failure.reason}")


def _describe_other(status: dict[str, Any], other: str) -> str:
    if status["pending"] is not None and status["pending"]["version"] == other:
        return " (is started at the next boot)"
    return " (has failed)" if other in status["failed"] else ""


def _prepare(host: Host) -> Taking:
    return Taking(host, read_identity(host), read_settings(host), read_state(host))


def _check(host: Host, options: argparse.Namespace) -> None:
    with hold_lock(host):
        taking = _prepare(host)
        choice = online.look(taking).choice
    if options.json:
        print(json.dumps({"running": taking.identity.version, "available": choice.version, "reason": choice.reason}))
    elif choice.version is None:
        _say(choice.reason)
    else:
        _say(f"version {choice.version} is there{choice.reason and ': '}{choice.reason}")


def _apply(host: Host, options: argparse.Namespace) -> None:
    with hold_lock(host):
        taking = _prepare(host)
        if options.source is None:
            offer = online.look(taking, again=options.again)
            taken = online.take_offer(taking, offer, _say, again=options.again)
        else:
            try:
                source = unpack_archive(host, options.source)
                release = read_release(source)
                check_wanted(taking, release, again=options.again)
                take(taking, release, source, _say)
            finally:
                clear_archive(host)
            taken = True
    if options.now and taken:
        host.run(_REBOOT)


def _auto(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    """What the timer starts: take what is offered, and reboot when nobody minds."""
    with hold_lock(host):
        is_free = online.run_by_itself(_prepare(host), _say)
    if is_free:
        _say("the machine reboots into the new version")
        host.run(_REBOOT)


def _steady(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    with hold_lock(host):
        online.settle(_prepare(host), _say)


def _rollback(host: Host, options: argparse.Namespace) -> None:
    with hold_lock(host):
        version = start_other(host, once=options.once)
    _say(f"version {version} is started at the next boot{', once' * options.once}")
    if options.now:
        host.run(_REBOOT)


def _change_firmware_keys(host: Host, options: argparse.Namespace) -> None:
    name, data, entries = read_change(options.file)
    with hold_lock(host):
        identity = read_identity(host)
        if name == "dbx":
            with mount_esp(host) as esp:
                refuse_to_lock_out(esp, identity.name, identity.version, entries)
        if host.locate(ENCRYPTED_STATE).exists() and not options.recovery_key:
            raise UpdateError(
                "the TPM opens this machine's state for firmware that trusts what it trusts now: after this, the next "
                "boot asks for the recovery key. Say --recovery-key if it is at hand"
            )
        write_change(host, name, data)
    what = "trusts" if name == "db" else "does not start any more what belongs to"
    _say(f"firmware {what} {len(entries)} more {'entry' if len(entries) == 1 else 'entries'}, from the next boot on")


def _pin(host: Host, options: argparse.Namespace) -> None:
    if not is_version(options.version):
        raise UpdateError(f"'{options.version}' is not a version")
    _set_pin(host, options.version)
    _say(f"this machine takes no other version than {options.version}")


def _unpin(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    _set_pin(host, None)
    pin = _prepare(host).find_pin()
    _say("this machine takes any newer version" if pin is None else f"{SETTINGS_FILE} pins it to version {pin} still")


def _set_pin(host: Host, version: str | None) -> None:
    with hold_lock(host):
        state = read_state(host)
        what = "unpinned" if version is None else "pinned"
        event = Event(int(host.now()), what, version or state.pin or "")
        write_state(host, state._replace(pin=version).add_event(event))


def _history(host: Host, options: argparse.Namespace) -> None:
    events = read_state(host).history
    if options.json:
        print(json.dumps([event._asdict() for event in events]))
        return
    for event in events:
        source = f" (from {event.source})" if event.source else ""
        print(
            f"{format_time(event.when)}  {event.what:<11} {event.version}{source}{event.reason and ': '}{event.reason}"
        )


def _drift(host: Host, options: argparse.Namespace) -> None:
    version = read_identity(host).version
    both = read_drift(host, version) or BothSides(version, version, {})
    if options.show is not None:
        print(show_difference(host, both, options.show), end="")
    elif options.keep is not None or options.take is not None:
        with hold_lock(host):
            if options.keep is not None:
                keep_own(host, both, options.keep)
            else:
                take_default(host, both, options.take)
    elif options.json:
        print(json.dumps({"version": both.version, "source": both.source, "paths": [*both.paths]}))
    else:
        for path in both.paths:
            print(path)


def _extensions(host: Host, options: argparse.Namespace) -> None:
    with hold_lock(host):
        if options.verb == "add":
            online.add_extension(_prepare(host), options.name, _say)
            return
        if options.verb == "remove":
            remove_extension(host, options.name)
            _say(f"{options.name} is taken away; what it had started runs until it is stopped")
            return
        rows = online.list_extensions(_prepare(host))
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{'*' if row['installed'] else ' '} {row['name']:<20} {row['type']:<8} {row['description']}".rstrip())


def _boot(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    note_state_version(host)
    if line := trial.begin(host):
        _say(line)


def _bless(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    _say(trial.bless(host))


def _migrate(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    _say(begin_migration(host))


def _migrated(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    _say(end_migration(host))


def _give_up(host: Host, options: argparse.Namespace) -> None:  # noqa: ARG001 - every command has the same door
    if line := trial.give_up(host):
        _say(line)


COMMANDS: dict[str, Callable[[Host, argparse.Namespace], None]] = {
    "status": _status,
    "check": _check,
    "apply": _apply,
    "auto": _auto,
    "rollback": _rollback,
    "pin": _pin,
    "unpin": _unpin,
    "drift": _drift,
    "firmware-keys": _change_firmware_keys,
    "extensions": _extensions,
    "history": _history,
    "boot": _boot,
    "bless": _bless,
    "give-up": _give_up,
    "migrate": _migrate,
    "migrated": _migrated,
    "steady": _steady,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
