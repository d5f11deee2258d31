"""What units of the image start of the provisioner, as its command line takes it."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from firstboot.__main__ import find_front, main

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
CALL = re.compile(r"^ExecStart=/usr/bin/python3 -I -m firstboot (.+)$", re.M)
CALLS = sorted(
    {
        call
        for name in ("units", "overlays")
        for path in (ROOT / name).rglob("*.service")
        for call in CALL.findall(path.read_text(encoding="utf-8"))
    }
)


def test_units_start_the_first_boot_and_the_metadata_commands() -> None:
    assert {"prepare", "run", "metadata --check-in"} <= set(CALLS)


@pytest.mark.parametrize("call", CALLS)
def test_each_has_a_front(call: str) -> None:
    front = find_front(shlex.split(call))
    assert front != "firstboot.cli.directory"
    assert callable(import_module(front).run_command)


@pytest.mark.parametrize("call", [call for call in CALLS if call.startswith("metadata")])
def test_on_a_platform_without_metadata_there_is_nothing_to_do(
    call: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("firstboot.sources.metadata.detect_platform", lambda places: "qemu")
    assert main(shlex.split(call.replace("%i", "core"))) == 0
    assert "the platform qemu has no metadata; nothing to do" in "".join(capfd.readouterr())
