"""Extensions are taken with the version that they are for, all or nothing; the old ones stay for a rollback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.update.agent.conftest import FakeMachine, Publisher
from update.agent.command import main
from update.documents import (
    RELEASE_FILE,
    Release,
    ReleaseExtension,
    ReleasePart,
    TransferFile,
    format_release,
    parse_release,
)
from vm.fakes.web import Reply

pytestmark = pytest.mark.unit

Make = Callable[..., Path]


def extend(directory: Path, name: str, data: bytes, kind: str = "sysext") -> Release:
    """Add an extension to a version in a directory."""
    release = parse_release((directory / RELEASE_FILE).read_bytes())
    file = TransferFile(f"extension-{name}.zst", len(data), hashlib.sha256(data).hexdigest())
    (directory / file.name).write_bytes(data)
    extension = ReleaseExtension(name, kind, f"What {name} brings.", ReleasePart(file.size, file.sha256, None, (file,)))
    release = release._replace(extensions=(*release.extensions, extension))
    (directory / RELEASE_FILE).write_bytes(format_release(release))
    return release


def put(machine: FakeMachine, *names: str, directory: str = "extensions") -> Path:
    """Images that the machine has."""
    place = machine.root / "var/lib" / directory
    place.mkdir(exist_ok=True)
    for name in names:
        (place / name).write_bytes(b"as it was")
    return place


def apply(machine: FakeMachine, directory: Path) -> int:
    return main(["apply", "--from", str(directory)], machine.host)


def test_what_the_machine_has_is_taken_with_the_version_beside_the_old(machine: FakeMachine, payload: Make) -> None:
    place = put(machine, "store_1.raw", "store_0.raw", "by-hand.raw")
    etc = put(machine, "company_1.raw", directory="confexts")
    version = payload("2")
    extend(version, "store", b"store of 2")
    extend(version, "other", b"other of 2")
    extend(version, "company", b"company of 2", "confext")
    assert apply(machine, version) == 0
    assert sorted(path.name for path in place.iterdir()) == ["by-hand.raw", "store_1.raw", "store_2.raw"]
    assert (place / "store_2.raw").read_bytes() == b"store of 2"
    assert (place / "store_1.raw").read_bytes() == b"as it was"
    assert sorted(path.name for path in etc.iterdir()) == ["company_1.raw", "company_2.raw"]
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]


def test_a_version_without_one_that_the_machine_has_is_not_taken(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    put(machine, "store_1.raw")
    before = machine.disk.read_bytes()
    assert apply(machine, payload("2")) == 1
    said = capsys.readouterr().err
    assert "version 2 has no extension 'store', which this machine has" in said
    assert "'os-update extensions remove store'" in said
    assert machine.disk.read_bytes() == before
    assert machine.list_images() == ["demo_1.efi"]


def test_an_image_that_is_not_what_was_said_stops_the_version(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    place = put(machine, "store_1.raw")
    version = payload("2")
    extend(version, "store", b"store of 2")
    (version / "extension-store.zst").write_bytes(b"evil of 2!")
    before = machine.disk.read_bytes()
    assert apply(machine, version) == 1
    assert "extension-store.zst: its hash is" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["store_1.raw"]
    assert machine.disk.read_bytes() == before
    assert machine.list_images() == ["demo_1.efi"]


def test_the_repository_is_asked_for_those_that_the_machine_has_and_no_others(
    machine: FakeMachine, publisher: Publisher, payload: Make
) -> None:
    place = put(machine, "store_1.raw")
    version = payload("2", root=b"root of 2" * 5000)
    extend(version, "store", b"store of 2")
    extend(version, "other", b"other of 2")
    for file in version.iterdir():
        publisher.add(f"demo/amd64/2/{file.name}", file.read_bytes())
    publisher.publish()
    publisher.server.put(publisher.locate("extension-other.zst"), Reply(b"", status=404))
    assert main(["apply"], machine.host) == 0
    assert (place / "store_2.raw").read_bytes() == b"store of 2"
    assert not (place / "other_2.raw").exists()


@pytest.fixture
def offered(machine: FakeMachine, publisher: Publisher, payload: Make) -> FakeMachine:
    """Version 1, which runs, has two extensions in the repository."""
    version = payload("1")
    extend(version, "store", b"store of 1")
    extend(version, "company", b"company of 1", "confext")
    for file in version.iterdir():
        publisher.add(f"demo/amd64/1/{file.name}", file.read_bytes())
    publisher.publish()
    return machine


def test_one_is_listed_added_and_removed(offered: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extensions", "add", "store"], offered.host) == 0
    assert (offered.root / "var/lib/extensions/store_1.raw").read_bytes() == b"store of 1"
    assert offered.calls[-3:] == [
        ["systemctl", "restart", "systemd-sysext.service"],
        ["systemd-tmpfiles", "--create"],
        ["systemctl", "start", "extension-units.service"],
    ]
    capsys.readouterr()
    assert main(["extensions", "list", "--json"], offered.host) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["store"]["installed"], rows["company"]["installed"]) == (True, False)
    assert (rows["company"]["type"], rows["company"]["size"]) == ("confext", len(b"company of 1"))
    assert main(["extensions", "list"], offered.host) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["*", "company"]
    put(offered, "store_0.raw")
    assert main(["extensions", "remove", "store"], offered.host) == 0
    assert not list((offered.root / "var/lib/extensions").iterdir())
    assert ["systemctl", "restart", "systemd-sysext.service"] in offered.calls[-3:]


def test_what_is_not_there_is_said(offered: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extensions", "add", "sotre"], offered.host) == 1
    assert "version 1 has no extension 'sotre'; it has: store, company" in capsys.readouterr().err
    assert main(["extensions", "remove", "store"], offered.host) == 1
    assert "this machine has no extension 'store'" in capsys.readouterr().err


def test_none_is_added_while_a_version_waits_that_would_be_without_it(
    offered: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--from", str(payload("2"))], offered.host) == 0
    assert main(["extensions", "add", "store"], offered.host) == 1
    assert "version 2 waits to be started, and would be without 'store': add it after that" in capsys.readouterr().err
