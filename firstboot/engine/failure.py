"""What a first boot that failed tells, and whom: the console, the host, the journal, programs, the emergency shell."""

from __future__ import annotations

import errno
import traceback
from typing import TYPE_CHECKING, Any

from firstboot import report
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.redaction import conceal
from firstboot.config.text import format_path, make_printable
from firstboot.engine.errors import EXPECTED, describe, list_complaints
from firstboot.fetch.errors import FetchError

if TYPE_CHECKING:
    from firstboot.apply.root import Root
    from firstboot.config.origins import Complaint
    from firstboot.engine.attempt import Attempt
    from firstboot.log import Log
    from firstboot.places import Places

SHELL_FILE = "/etc/firstboot/emergency-shell"
"""A config that would write this file allows a shell if it cannot be carried out."""

CORRECT_THE_CONFIG = (
    "Correct the config and start the machine again: nothing of this attempt is kept.",
    "'build-os check --config FILE' finds most of this on your own machine, before a boot.",
)
_NOT_THERE = (
    "See to it that the machine can reach this and start it again: nothing of this attempt is kept.",
    "If the config names the wrong place, correct it there.",
)
_DISKS_STAY = (
    "Disks were set up already, and stay as they are now; files, users and units are not kept.",
    "See to what is said above, and start the machine again: it begins anew.",
)
_DISK_FAILS = (
    "A disk of this machine cannot be read or written as it should. Replace it, or see what it is connected to,",
    "and start the machine again: it begins anew.",
)
_OF_DISKS = (errno.EIO, errno.EROFS, errno.EBADMSG, errno.EUCLEAN)
_BUG = ("This is a bug in build-os, not in your config. Please report what is above.",)


class Failure(NamedTuple):
    """An error in the words of its reader.

    Attributes:
        text: everything that is known, of any length.
        message: one line of it.
        problems: what is wrong and where, for programs; empty where no config is to blame.
        screen: what fits a console.
        bug: whether it is a mistake of ours.
    """

    text: str
    message: str
    problems: tuple[dict[str, Any], ...]
    screen: str
    bug: bool


def explain(error: Exception, attempt: Attempt) -> Failure:
    """What an error means to whoever set the machine up."""
    if not isinstance(error, EXPECTED):
        text = conceal("".join(traceback.format_exception(error)).strip())
        return Failure(text, text.splitlines()[-1], (), report.render_screen(text, _BUG), bug=True)
    text = conceal(describe(error).strip()) or type(error).__name__
    problems = tuple(_described(complaint) for complaint in list_complaints(error))
    screen = report.render_screen(text, _advice(error, attempt))
    return Failure(text, text.splitlines()[0], problems, screen, bug=False)


def tell(failure: Failure, attempt: Attempt, places: Places, root: Root, log: Log) -> None:
    """Say it on the console, in the journal and in the result, and let a shell in if that is allowed."""
    log.complain(failure.text)
    shell = is_shell_allowed(attempt)
    report.write_failure(root, failure.text + "\n", attempt.describe() | _as_result(failure, shell=shell), shell=shell)
    report.show_on_console(places, failure.screen)
    report.send_to_journal(places, _as_entry(failure))


def is_shell_allowed(attempt: Attempt) -> bool:
    """Whether a config allows a shell after a failure. One that is wrong allows nothing."""
    return any(file.path == SHELL_FILE for config in attempt.configs for file in config.storage.files)


def _as_result(failure: Failure, *, shell: bool) -> dict[str, Any]:
    return {
        "result": "failed",
        "message": failure.message,
        "problems": list(failure.problems),
        "bug": failure.bug,
        "shell": shell,
    }


def _advice(error: Exception, attempt: Attempt) -> tuple[str, ...]:
    if any(isinstance(cause, OSError) and cause.errno in _OF_DISKS for cause in (error, error.__cause__)):
        return _DISK_FAILS
    if attempt.disks:
        return _DISKS_STAY
    return _NOT_THERE if isinstance(error, FetchError) else CORRECT_THE_CONFIG


def _described(complaint: Complaint) -> dict[str, Any]:
    located, problem = complaint
    secrets = located.get_secrets()
    mark = located.mark_of(problem.path, on_key=problem.on_key)
    return {
        "config": located.name,
        "line": None if mark is None else mark.line,
        "column": None if mark is None else mark.column,
        "path": format_path(problem.path),
        "message": make_printable(secrets.conceal(problem.message)),
        "hint": None if problem.hint is None else make_printable(secrets.conceal(problem.hint)),
    }


def _as_entry(failure: Failure) -> dict[str, str]:
    """What programs find by its MESSAGE_ID and read by its fields (systemd.journal-fields(7))."""
    fields = {
        "MESSAGE_ID": report.FAILED_MESSAGE_ID,
        "PRIORITY": "2",
        "SYSLOG_IDENTIFIER": "firstboot",
        "MESSAGE": f"first boot failed: {failure.message}",
        "FIRSTBOOT_TEXT": failure.text,
    }
    if failure.problems:
        first = failure.problems[0]
        fields |= {f"FIRSTBOOT_{name.upper()}": str(first[name]) for name in ("config", "line", "column", "path")}
    return fields
