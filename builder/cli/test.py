"""Run tests in virtual machines: pytest, with the words that users of machines know.

A PATTERN is a file, a directory or the id of a test, or else a glob or a part of a test's name.

  build-os test                          every test of this directory that has to do with machines
  build-os test 'test_disk*' --multiply 20
  build-os test tests/test_boot.py::test_login --shell-on-failure
  build-os test --on tcp://127.0.0.1:8786 --cache /mnt/cache --cache-sign-key keys/cache.key
  build-os test --shard 1/3 --results out/results --pytest '-x --durations=5'
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.cli.sharing import add_sharing
from builder.core.console import Console

HELP = "run tests in virtual machines"
# pytest's exit codes (https://docs.pytest.org/en/stable/reference/exit-codes.html) as ours.
STATUS = {0: 0, 1: 5, 2: 130, 5: 2}
RESULTS = Path("out/test-results")  # of the project


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="which tests (default: all with a machine)")
    parser.add_argument("--image", type=Path, metavar="BUILD.JSON", help="default: out/build.json")
    parser.add_argument("--list", action="store_true", help="list the tests instead of running them")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON, with what they are about")
    parser.add_argument("--multiply", type=int, metavar="N", help="run each test N times")
    parser.add_argument("--shard", metavar="I/N", help="the I-th of N parts; tests of one machine stay together")
    parser.add_argument("--rerun", type=int, metavar="N", help="run tests that fail up to N times again; see 'flaky'")
    parser.add_argument("--rerun-failed", action="store_true", help="only those that failed the last time")
    parser.add_argument("--shell-on-failure", action="store_true", help="a prompt in the machine of a test that fails")
    parser.add_argument("--keep", action="store_true", help="machines of failed tests run on ('build-os ssh --list')")
    parser.add_argument("--timeout-scale", type=float, metavar="X", help="all deadlines X times as long")
    parser.add_argument("--denylist", type=Path, metavar="FILE", help="default: tests/denylist.yaml")
    parser.add_argument("--results", type=Path, metavar="DIR", help=f"default: {RESULTS} of the project")
    parser.add_argument("--on", metavar="tcp://HOST:PORT", help="on the workers of a scheduler of Dask's")
    parser.add_argument("--pytest", default="", metavar="'WORDS'", help="further options of pytest's own")
    add_sharing(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Hand over to pytest; its failures are ours."""
    from importlib.util import find_spec

    from builder.core.errors import CapabilityError, InputError
    from vm.testing.project import find_project
    from vm.waiting.deadline import SCALE_VARIABLE

    if find_spec("pytest") is None:
        raise CapabilityError("pytest is not installed here", hint="pip install 'build-os[test]'")
    paths = [text for text in args.patterns if Path(text.partition("::")[0]).exists()]
    patterns = [text for text in args.patterns if text not in paths]
    words = [*make_pytest_words(args, patterns), *shlex.split(args.pytest), *paths]
    if args.list:
        sys.stdout.write(collect_tests(words, as_json=args.json))
        return 0
    results = args.results or find_project(Path.cwd()) / RESULTS
    if args.json:
        raise InputError("--json is for --list", hint=f"results as JSON are in {results}/results.json")
    if args.on is not None:
        return run_elsewhere(args, console, words, results)
    words += [f"--vm-results={results.absolute()}"]
    scale = {} if args.timeout_scale is None else {SCALE_VARIABLE: str(args.timeout_scale)}
    status = run_pytest(words, {**os.environ, **scale})
    if status == 5:
        raise InputError("no test was run", hint="'build-os test --list' shows which there are")
    return STATUS.get(status, 2)


def make_pytest_words(args: argparse.Namespace, patterns: list[str]) -> list[str]:
    """Our options as pytest's. A value is in one word with its option: pytest takes words that are paths for what is to
    be tested, and looks for its settings in the directory that all of them have in common."""
    words = ["--vm-only", *(f"--vm-pattern={pattern}" for pattern in patterns)]
    values = {
        "--build-json": args.image and args.image.absolute(),
        "--vm-multiply": args.multiply,
        "--vm-rerun": args.rerun,
        "--vm-shard": args.shard,
        "--vm-denylist": args.denylist and args.denylist.absolute(),
    }
    words += [f"{name}={value}" for name, value in values.items() if value is not None]
    flags = {"--lf": args.rerun_failed, "--vm-shell": args.shell_on_failure, "--vm-keep": args.keep}
    return words + [name for name, wanted in flags.items() if wanted]


def run_pytest(words: list[str], environment: Mapping[str, str]) -> int:
    """Run it in a process of its own."""
    return run_to_its_end([sys.executable, "-m", "pytest", *words], environment)


def run_to_its_end(argv: list[str], environment: Mapping[str, str], directory: Path | None = None) -> int:
    """Run a program that gets Ctrl-C from the terminal as we do, and puts its machines away before it ends."""
    with subprocess.Popen(argv, env=environment, cwd=directory) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
            except BaseException:
                process.terminate()
                raise


def collect_tests(words: list[str], *, as_json: bool) -> str:
    """The tests that would run, listed; what pytest has to say is shown when it cannot collect them."""
    from builder.core.errors import InputError

    with TemporaryDirectory() as scratch:
        listing = Path(scratch, "tests.json" if as_json else "tests")
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--vm-list={listing}", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode not in (0, 5):
            raise InputError("the tests cannot be collected", details=done.stdout.splitlines()[-40:])
        return listing.read_text(encoding="utf-8")


def run_elsewhere(args: argparse.Namespace, console: Console, words: list[str], results: Path) -> int:
    """Collect here, and have workers run what there is."""
    import json

    from builder.cli.elsewhere import run_tests_elsewhere
    from builder.core.errors import InputError
    from vm.testing.project import choose_build_json

    here = {"--shell-on-failure": args.shell_on_failure, "--keep": args.keep, "--rerun-failed": args.rerun_failed}
    if wrong := [name for name, wanted in here.items() if wanted]:
        raise InputError(f"{wrong[0]} is for machines and results of this host, and not for workers (--on)")
    listing = json.loads(collect_tests(words, as_json=True))
    if not listing:
        raise InputError("no test was run", hint="'build-os test --list' shows which there are")
    return run_tests_elsewhere(args, console, listing, choose_build_json(args.image, Path.cwd()), results)
