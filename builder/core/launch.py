"""The first program in the sandbox (:mod:`builder.core.sandbox`): sets limits, has ``faked`` (fakeroot(1)) keep owners,
runs the program, and ends all that is left of it. Run by the tools' Python. Standard library only.

Usage: launch.py JOB, where JOB is a file of JSON.
"""

import json
import os
import resource
import signal
import subprocess
import sys


def main(job: str) -> int:
    """The status of the program, as a shell gives it."""
    with open(job, encoding="utf-8") as file:
        todo = json.load(file)
    environment = dict(todo["environment"])
    keeper = None
    if todo["keeper"]:
        with open(todo["owners"], "rb") as known:
            keeper = subprocess.Popen([*todo["keeper"], "--load"], stdin=known, stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        environment["FAKEROOTKEY"] = keeper.stdout.readline().decode().partition(":")[0]
    for name, value in todo["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    os.umask(0o022)
    if todo["out"]:
        os.dup2(os.open(todo["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    status = _run(todo["command"], environment)
    _end_all_but(os.getpid(), keeper.pid if keeper else 0)
    if keeper is not None:
        keeper.terminate()
        keeper.wait()
    return status


def _run(command: list[str], environment: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(command[0], command, environment)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end_all_but(*kept: int) -> None:
    """What runs on in the background must not write any more; the first process is the sandbox' own."""
    for _ in range(1000):
        others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, *kept)]
        others = [number for number in others if not _is_dead(number)]
        if not others:
            return
        for number in others:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
    raise SystemExit("the program's processes cannot be ended")


def _is_dead(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.exit(code if code >= 0 else 128 - code)
