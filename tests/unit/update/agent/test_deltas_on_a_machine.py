"""A part that can be made of what runs is not downloaded in full; where it cannot, it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.unit.update.agent.conftest import FakeMachine, Publisher, publisher, server
from update.agent import repository
from update.agent.command import main
from update.delta import METHOD
from update.documents import RELEASE_FILE, Delta, format_release, parse_release
from update.errors import UpdateError

pytestmark = pytest.mark.unit

__all__ = ["publisher", "server"]
ROOT = b"root of 2" * 5000


def add_delta(publisher: Publisher, source: str = "1") -> None:
    """The root of version 2 can be made of that of another."""
    path = f"demo/amd64/2/{RELEASE_FILE}"
    release, data = parse_release(publisher.targets[path]), b"a delta"
    digest = hashlib.sha256(data).hexdigest()
    delta = Delta(source, "root", "root.delta", len(data), digest, 100, "0" * 64, METHOD)
    publisher.add(path, format_release(release._replace(deltas=(delta,))))
    publisher.add("demo/amd64/2/root.delta", data)
    publisher.publish()


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What deltas were applied to."""
    used: list[str] = []

    def apply(old: Path, delta: Path, out: BinaryIO, *, size: int, sha256: str) -> None:
        used.append(old.name)
        assert delta.read_bytes() == b"a delta"
        out.write(ROOT)

    monkeypatch.setattr(repository, "apply_delta", apply)
    return used


def test_a_part_is_made_of_the_one_that_runs(machine: FakeMachine, publisher: Publisher, applied: list[str]) -> None:
    add_delta(publisher)
    assert main(["apply"], machine.host) == 0
    assert applied == ["vda2"]
    assert publisher.server.asked(publisher.locate("root.zst")) == []
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert sorted(path.name for path in (machine.root / "var/lib/update").iterdir()) == [
        *("downloads", "etc.json", "metadata", "staged", "state.json")
    ]


def test_a_delta_of_another_version_is_none_for_this_machine(
    machine: FakeMachine, publisher: Publisher, applied: list[str]
) -> None:
    add_delta(publisher, "0.9")
    assert main(["apply"], machine.host) == 0
    assert applied == []


def test_a_delta_that_does_not_fit_costs_a_full_download(
    machine: FakeMachine,
    publisher: Publisher,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UpdateError("root.delta: makes something else of this old version")

    monkeypatch.setattr(repository, "apply_delta", fail)
    add_delta(publisher)
    assert main(["apply"], machine.host) == 0
    assert "root is downloaded in full, because its delta cannot be used: root.delta: makes" in capsys.readouterr().out
    assert len(publisher.server.asked(publisher.locate("root.zst"))) == 1
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
