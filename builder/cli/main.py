"""The front door."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from builder.core.console import Console, make_console
from builder.core.errors import BuildError, CapabilityError, InputError

COMMANDS = (
    "init",
    "check",
    "lock",
    "scripts",
    "plan",
    "build",
    "verify",
    "matrix",
    "worker",
    "size",
    "run",
    "machine",
    "ssh",
    "dev",
    "app",
    "test",
    "demo",
    "config",
    "doctor",
    "schema",
    "key",
    "publish",
    "serve",
    "cache",
    "store",
    "pull",
    "push",
    "copy",
    "registry",
)
ABOUT = """\
Build a verified, immutable container OS from one YAML file, and boot it.

  build-os init                     a first definition, in this directory
  build-os build                    os.yaml -> out/NAME.qcow2, as an ordinary user
  build-os run --config FILE        boot it in QEMU, provisioned by FILE
"""
EXIT_CODES = """\
exit codes:
  0  done            4  a program failed
  1  a bug in us     5  a virtual machine did not do what was asked
  2  the definition, the lock or a config is wrong
  3  a tool or capability is missing on this machine
  6  something could not be downloaded, or is not what it should be
  7  two builds of the same inputs are not the same
  130, 143  interrupted
"""


class Version(argparse.Action):
    """``--version``; looked up when it is asked for, because that takes longer than to read a definition."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it and exit."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version("build-os")
        except PackageNotFoundError:
            release = "unknown"
        sys.stdout.write(f"build-os {release}\n")
        parser.exit()


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds like Ctrl-C, so that everything is put away."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands and options.

    Args:
        only: the one command that is wanted: the others' files are not imported then, which takes longer than many
            commands do.
    """
    parser = argparse.ArgumentParser(
        prog="build-os",
        description=ABOUT,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument(
        "--progress",
        choices=("auto", "terminal", "plain", "json"),
        default="auto",
        help="how progress is shown",
    )
    group.add_argument("--debug", action="store_true", help="show a traceback with every error")
    # Of who has started this process as a part of its own work, and may be killed.
    group.add_argument("--end-with-input", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS if only is None else (only,):
        module = importlib.import_module(f"builder.cli.{name}")
        sub = commands.add_parser(
            name,
            parents=[common],
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(sub)
        sub.set_defaults(run=module.run, can_be_remembered=getattr(module, "can_be_remembered", lambda _: False))
    return parser


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with the status that its outcome has."""
    # Imports, definitions and trees are many objects and no garbage: looking for it took a tenth of a build.
    gc.set_threshold(100_000, 50, 100)
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser(typed[0] if typed and typed[0] in COMMANDS else None)
    args, unknown = parser.parse_known_args(typed)
    if unknown:
        hint = "; write -- before a command for the machine" if args.command == "ssh" else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    args.typed = typed
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who starts us in the background of a shell wants no Ctrl-C to reach us.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    if args.end_with_input:
        import threading

        threading.Thread(target=_end_with_input, daemon=True).start()
    out = getattr(args, "out", None)  # of a command that reads directories, a list
    console = make_console(args.progress, out / "build.log" if isinstance(out, Path) else None)
    status = 1
    try:
        status = run(args, console)
    except BuildError as error:
        status = error.exit_code
        _report(error, args.debug, console.log_path)
    except KeyboardInterrupt:
        status = 130
        sys.stderr.write("\ninterrupted; nothing partial is left behind\n")
    except Terminated as error:
        status = 128 + error.number
        sys.stderr.write("\nterminated; nothing partial is left behind\n")
    except BrokenPipeError:
        status = 141  # the reader of our output has gone: as if SIGPIPE had ended us
    except OSError as error:
        known = _explain(error)
        if known is None:
            raise
        status = known.exit_code
        _report(known, args.debug, console.log_path)
    finally:
        console.close()
    sys.exit(status)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run a command, or say again what it said, if it would change nothing and nothing has changed."""
    if not args.can_be_remembered(args):
        return int(args.run(args, console))
    from builder.core import remembered, seen
    from builder.core.store import Store

    store = Store.open()
    key = remembered.derive_answer_key(args.typed, os.environ)
    if (lines := remembered.recall(store, key)) is not None:
        remembered.say(lines, console)
        return 0
    looked_at = seen.Seen()
    seen.start(looked_at)
    args.answer = None
    try:
        status = int(args.run(args, console))
    finally:
        seen.pause()
    if status == 0 and args.answer is not None:
        remembered.remember(store, key, looked_at, args.answer)
    return status


def _end_with_input() -> None:
    """End as by SIGTERM as soon as nobody is at the other end of standard input."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal(2)'s own shape
    # Imported long since if there is a program to end.
    if (tools := sys.modules.get("builder.core.tools")) is not None:
        tools.end_programs()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(number)


def _report(error: BuildError, debug: bool, log: Path | None) -> None:
    if debug:
        traceback.print_exception(error)
    text = str(error)
    sys.stderr.write(text if isinstance(error, InputError) and "\n   |" in text else f"error: {text}")
    sys.stderr.write("\n")
    if log is not None:
        sys.stderr.write(f"the whole log: {log}\n")


def _explain(error: OSError) -> BuildError | None:
    """What a failing disk means to the person at the keyboard; ``None`` for what may be a bug of ours."""
    where = f" on {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CapabilityError(
            f"no space left{where}", hint="'build-os cache clear --stages' frees what can be made again"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename:
        return CapabilityError(f"cannot use {error.filename}: {error.strerror}")
    if error.errno == errno.EIO:
        return CapabilityError(f"the disk failed{where}: {error.strerror}")
    return None
