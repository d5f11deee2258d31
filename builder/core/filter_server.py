"""Runs filters of text, one after the other, in an empty root (:mod:`builder.core.filters`). Standard library only.

Usage: filter_server.py LOADER LIBRARY PROGRAMS SECONDS BYTES

Each line of the standard input is a call, as JSON, and each line of the standard output what became of it, with the
call's ``id``; of a call that cannot be made, ``refused`` says why. Everything
that a program may open is made for the call and is gone after it; there is no ``/dev``, no ``/proc`` and no shell.
"""

import json
import os
import resource
import signal
import sys

TYPE_CHECKING = False  # typing takes as long to import as all the rest
if TYPE_CHECKING:
    from typing import Any

OURS = "/.build-os"
MEMORY = 1 << 30
FILES = 64
WAITS = 12  # times as long may a program wait as it may calculate: a busy machine is no reason
UNREAD = (0, 10**18)  # atime and mtime of a file that nobody has opened
DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them
ERRORS = "surrogateescape"  # a text may be any bytes


def main(loader: str, library: str, programs: str, seconds: str, size: str) -> None:
    """Answer until nobody asks any more."""
    # Signals that say so end what goes over a limit; all but the time is inherited from here.
    for limit, value in (("FSIZE", int(size)), ("AS", MEMORY), ("NOFILE", FILES), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    start = [loader, "--library-path", library, "--argv0"]
    for line in sys.stdin.buffer:
        call = json.loads(line)
        try:
            made = make_files(call)
            answer = run(call, start, programs, int(seconds))
            answer["files"], answer["read"] = find_changes(made)
        except (OSError, ValueError, MemoryError) as error:  # of this call: the next one may be another script's
            answer = {"refused": getattr(error, "strerror", None) or str(error) or type(error).__name__}
        finally:
            remove_files()
        sys.stdout.write(json.dumps({**answer, "id": call["id"]}) + "\n")
        sys.stdout.flush()


def make_files(call: "dict[str, Any]") -> "dict[str, tuple[int, ...]]":
    """Make what a call brings; what each file is, by path."""
    for path in call["directories"]:
        os.makedirs(path, exist_ok=True)
    for path, text in call["files"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8", errors=ERRORS) as file:
            file.write(text)
        os.utime(path, ns=UNREAD)
    for path, target in call["links"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    return {path: describe_file(os.stat(path)) for path in call["files"]}


def describe_file(status: os.stat_result) -> "tuple[int, ...]":
    """What is not the same for a file that was written or replaced."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def run(call: "dict[str, Any]", start: "list[str]", programs: str, seconds: int) -> "dict[str, Any]":
    """Run a program to its end; its status is negative if a signal ended it."""
    os.chdir(call["directory"])
    name, *arguments = call["argv"]
    words = [*start, name, f"{programs}/{call['program']}", *arguments]
    descriptors = [os.memfd_create(title) for title in ("input", "output", "complaints")]
    try:
        write_all(descriptors[0], call["input"].encode(errors=ERRORS))
        # One may be pending, of a child that was waited for in vain or could not be executed.
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        child = os.posix_spawn(
            start[0],
            [word.encode(errors=ERRORS) for word in words],
            {key.encode(errors=ERRORS): value.encode(errors=ERRORS) for key, value in call["environment"].items()},
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)],
            setsigmask=(),
            setsigdef=DEFAULTS,
        )
        resource.prlimit(child, resource.RLIMIT_CPU, (seconds, seconds + 1))
        if signal.sigtimedwait({signal.SIGCHLD}, seconds * WAITS) is None:
            os.kill(child, signal.SIGXCPU)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {
            "status": status,
            "reads_input": os.lseek(descriptors[0], 0, os.SEEK_CUR) > 0,
            "output": read_all(descriptors[1]) if status >= 0 else "",
            "complaints": read_all(descriptors[2]) if status >= 0 else "",
        }
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write from the beginning, and go back to it."""
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)


def read_all(descriptor: int) -> str:
    """All that was written."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return file.read().decode(errors=ERRORS)


def find_changes(made: "dict[str, tuple[int, ...]]") -> "tuple[dict[str, str], list[str]]":
    """The files that were written, with what is in them, and those that were read."""
    written, read = {}, []
    for place, names in list_files():
        for name in names:
            path = f"{place}/{name}"
            status = os.lstat(path)
            if path in made and describe_file(status) == made[path]:
                if status.st_atime_ns != UNREAD[0]:
                    read.append(path)
            elif not os.path.islink(path):
                with open(path, newline="", encoding="utf-8", errors=ERRORS) as file:
                    written[path] = file.read()
    return written, read


def remove_files() -> None:
    """Have an empty root again."""
    os.chdir("/")
    for place, names in list(list_files())[::-1]:
        for name in names:
            os.unlink(f"{place}/{name}")
        if place:
            os.rmdir(place)


def list_files() -> "list[tuple[str, list[str]]]":
    """All directories that are not ours, the root's name being empty, with the names of what else is in each."""
    directories, pending = [], [""]
    while pending:
        place = pending.pop()
        names = []
        for entry in os.scandir(place or "/"):
            if entry.is_dir(follow_symlinks=False):
                if entry.path != OURS:
                    pending.append(f"{place}/{entry.name}")
            else:
                names.append(entry.name)
        directories.append((place, names))
    return directories


if __name__ == "__main__":
    main(*sys.argv[1:])
