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
        pytest.param(UNKNOWN_VERSION, "3.99.0", ":1:", id="unknown-version"),
    ],
)
def test_a_bad_config_stops_the_machine_with_its_message(
    vm_factory: Any, config: str, message: str, where: str
) -> None:
    machine = vm_factory(config=config, boot="kernel", memory=2048, probe=False)
    shown = require_stopped(machine, message, where)
    assert "emergency#" not in shown


def test_a_config_that_allows_a_shell_gets_one_that_can_see_what_was_told(vm_factory: Any) -> None:
    machine = vm_factory(config=READ_ONLY, boot="kernel", memory=2048, probe=False)
    require_stopped(machine, "/usr/lib/second", ":7:")
    seen_within(machine, "emergency#", 120)
    machine.type("cat result.json; echo END-OF-RESULT\n")
    result = between(seen_within(machine, "\nEND-OF-RESULT", 60), "result.json; echo END-OF-RESULT", "END-OF-RESULT")
    said = json.loads(result)
    assert (said["result"], said["shell"]) == ("failed", True)
    assert [(each["line"], each["path"]) for each in said["problems"]] == [(7, "$.storage.files[1].path")]
    machine.type(
        "journalctl -q -o cat --output-fields=FIRSTBOOT_LINE,MESSAGE MESSAGE_ID=42dd22d2dc2e454093124a2f222b3ab0\n"
    )
    shown = seen_within(machine, "first boot failed: fw_cfg", 60)
    assert "first boot failed: fw_cfg opt/com.coreos/config:7:" in shown
    machine.type("ls /etc/first /usr/lib/firstboot/__init__.py\n")
    shown = seen_within(machine, "'/etc/first': No such file", 60)


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
    shown = seen_within(machine, "stopped before its root was started", 120)
    assert "build-os first boot failed" in shown
    assert message in shown
    assert "login:" not in shown
    return shown


def seen_within(machine: Machine, text: str, seconds: float) -> str:
    """The console once it shows ``text``. The harness's own waits end at once by now: it has heard the bad news."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = "\n".join(line.text for line in machine.transcript.lines())
        if text in shown:
            return shown
        time.sleep(0.5)
    raise AssertionError(f"{text!r} is not on the console after {seconds} s:\n{shown}")
