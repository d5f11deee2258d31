"""A config that cannot be carried out stops the machine before its root is started, and says what and where."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from builder.core.errors import VmError
from vm.machine import Machine

pytestmark = [
    pytest.mark.boot,
    pytest.mark.allow_console("first boot failed", "Failed to start", "Dependency failed", "emergency", "FAILED"),
]

MALFORMED = "variant: buildos\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/x\n      mode: 0644\n     oops\n"
UNKNOWN_VERSION = '{"ignition": {"version": "3.99.0"}}'
READ_ONLY = """\
variant: buildos
version: 1.0.0
storage:
  files:
    - path: /etc/first
      contents: {inline: "x"}
    - path: /usr/lib/second
      contents: {inline: "y"}
    - path: /etc/firstboot/emergency-shell
"""


@pytest.mark.parametrize(
    ("config", "message", "where"),
    [
        pytest.param(MALFORMED, "YAML syntax", ":7:", id="malformed"),
        pytest.param(UNKNOWN_VERSION, "3.99.0", ":1:", id="unknown-version", marks=pytest.mark.slow),
    ],
)
def test_a_bad_config_stops_the_machine_with_its_message(
    vm_factory: Any, config: str, message: str, where: str
) -> None:
    machine = vm_factory(config=config, check=False, boot="kernel", memory=2048, probe=False)
    shown = require_stopped(machine, message, where)
    assert "emergency#" not in shown


def test_a_config_that_allows_a_shell_gets_one_that_can_see_what_was_told(vm_factory: Any) -> None:
    machine = vm_factory(config=READ_ONLY, check=False, boot="kernel", memory=2048, probe=False)
    require_stopped(machine, "/usr/lib/second", ":7:")
    seen(machine, "emergency#")
    machine.type("cat result.json; echo END-OF-RESULT\n")
    result = between(seen(machine, "\nEND-OF-RESULT"), "result.json; echo END-OF-RESULT", "END-OF-RESULT")
    said = json.loads(result)
    assert (said["result"], said["shell"]) == ("failed", True)
    assert [(each["line"], each["path"]) for each in said["problems"]] == [(7, "$.storage.files[1].path")]
    machine.type(
        "journalctl -q -o cat --output-fields=FIRSTBOOT_LINE,MESSAGE MESSAGE_ID=42dd22d2dc2e454093124a2f222b3ab0\n"
    )
    shown = seen(machine, "first boot failed: fw_cfg")
    assert "first boot failed: fw_cfg opt/com.coreos/config:7:" in shown
    machine.type("ls /etc/first /usr/lib/firstboot/__init__.py\n")
    shown = seen(machine, "'/etc/first': No such file")


def between(text: str, start: str, end: str) -> str:
    """What stands after the last ``start``, up to the last ``end``."""
    return text.rpartition(start)[2].rpartition(end)[0]


def require_stopped(machine: Machine, message: str, where: str) -> str:
    """The machine stops at once with one screen that says what and where; returns what is on the console."""
    with pytest.raises(VmError) as caught:
        machine.wait_console("login:")
    # The harness heard it by its own channel and did not wait for a deadline.
    assert "first boot failed" in caught.value.what
    text = str(caught.value)
    assert message in text
    assert where in text
    shown = seen(machine, "stopped before its root was started")
    assert "build-os first boot failed" in shown
    assert message in shown
    assert "login:" not in shown
    return shown


def seen(machine: Machine, text: str) -> str:
    """The console once it shows ``text``. The harness's own waits end at once by now: it has heard the bad news."""
    while True:
        over = machine.is_off or machine.deadline.expired
        shown = "\n".join(line.text for line in machine.transcript.list_lines())
        if text in shown:
            return shown
        assert not over, f"{text!r} is not on the console:\n{shown}"
        time.sleep(0.1)
