"""A prompt in a machine whose test has failed: each line is run there as root, through the probe."""

from __future__ import annotations

from collections.abc import Callable

from builder.core.errors import VmError
from vm.machine import Machine
from vm.waiting.deadline import Deadline

HOUR = 3600.0
PROMPT = "{name}# "
WELCOME = """\
{name} waits as the test left it. Each line is run by its /bin/sh as root; nothing is kept between lines.
Ctrl-D or 'exit' ends it. {ports}"""


def attend(machine: Machine, ask: Callable[[str], str], say: Callable[[str], None]) -> None:
    """Run what is typed until the person leaves or the machine is off.

    Args:
        ask: gives a line for a prompt; EOFError ends it.
        say: shows text.
    """
    if machine.is_off:
        say("the machine is off")
        return
    machine.deadline = Deadline(HOUR)  # somebody is thinking
    ports = ", ".join(f"127.0.0.1:{host} leads to port {guest}" for guest, host in machine.forwards.items())
    name = machine.folder.root.name
    say(WELCOME.format(name=name, ports=ports).rstrip())
    while not machine.is_off:
        try:
            line = ask(PROMPT.format(name=name)).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line == "exit":
            return
        if line:
            say(_run(machine, line))


def _run(machine: Machine, line: str) -> str:
    try:
        result = machine.run("/bin/sh", "-c", line)
    except VmError as error:
        return str(error)
    status = [f"[status {result.status}]"] if result.status else []
    return "\n".join(text for text in (result.stdout.rstrip("\n"), result.stderr.rstrip("\n"), *status) if text)
