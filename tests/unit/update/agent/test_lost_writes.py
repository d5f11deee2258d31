"""Every moment of an update at which the power may go, with what a disk may have lost by then.

What the agent and the stand-in for systemd-sysupdate write is logged, with what they flush. After a power cut a disk
has all that was flushed, and of the rest anything: the old, the new, a part of it. Which version the machine then
starts is worked out as systemd-boot does. There are two answers and no third: the old version until the kernel image
has its name, and after that the new one, whole.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from tests.unit.update.agent.test_power_cuts import is_whole
from update.agent.command import main
from update.agent.state import STATE, read_state

pytestmark = pytest.mark.unit

Make = Callable[..., Path]
RANDOM_MOMENTS = 200
BLOCK = 4096
Content = dict[str, bytes]
"""Files of the EFI system partition and of the agent by their paths, and blocks of the disk by ``disk:OFFSET``."""


class Write(NamedTuple):
    """Something is changed; ``None`` is what is not there. ``renamed`` is the name that it had before, if any."""

    key: str
    data: bytes | None
    renamed: str | None = None


class Flush(NamedTuple):
    """All that begins with this is on the disk."""

    prefix: str


class Recorder:
    """Watches a machine while it takes an update."""

    def __init__(self, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine, self.log, self.watching = machine, list[Write | Flush](), True
        self.first = self.last = self._look()
        fsync, run = os.fsync, machine.run

        def note_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.flush(Path(f"/proc/self/fd/{descriptor}").readlink())

        def note_run(argv: Sequence[str], timeout: float = 0) -> str:
            said = run(argv, timeout)
            if argv[0] == "systemd-sysupdate":
                # It ends when what it wrote is on the disk (systemd-import, systemd-sysupdate: fsync).
                self.flush(machine.disk)
                self.flush(machine.esp)
            return said

        monkeypatch.setattr(os, "fsync", note_fsync)
        monkeypatch.setattr(machine, "run", note_run)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Before each of these calls what the one before has done is noted."""
        if self.watching and event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            self.watching = False
            try:
                self.note()
                if event == "os.rename":
                    self._note_rename(Path(os.fsdecode(arguments[0])), Path(os.fsdecode(arguments[1])))
            finally:
                self.watching = True

    def flush(self, path: Path) -> None:
        self.watching = False
        self.note()
        self.watching = True
        prefix = "disk:" if path == self.machine.disk else self._name(path)
        if prefix is not None:
            self.log.append(Flush(prefix))

    def note(self) -> None:
        now = self._look()
        for key in sorted({*now, *self.last}):
            if now.get(key) != self.last.get(key):
                self.log.append(Write(key, now.get(key)))
        self.last = now

    def _note_rename(self, source: Path, target: Path) -> None:
        one, other = self._name(source), self._name(target)
        if one in self.last and other is not None:
            assert one is not None
            data = self.last[one]
            if one.startswith("esp/"):
                # As FAT does it: the name comes first, and what is in the file after it.
                self.log.append(Write(other, b"", renamed=one))
            self.log += [Write(other, data, renamed=one), Write(one, None)]
            self.last = {key: value for key, value in self.last.items() if key != one} | {other: data}

    def _name(self, path: Path) -> str | None:
        """The key of a file, or the beginning of those of a directory."""
        for name, root in self._roots():
            # The partition is seen at two places while it is mounted.
            for place in (root, self.machine.root / f"run/update/esp.{os.getpid()}") if name == "esp" else (root,):
                if path.is_relative_to(place):
                    return f"{name}/{path.relative_to(place)}".removesuffix("/.")
        return None

    def _roots(self) -> tuple[tuple[str, Path], ...]:
        return ("esp", self.machine.esp), ("state", self.machine.root / STATE.lstrip("/").rpartition("/")[0])

    def _look(self) -> Content:
        content: Content = {}
        for name, root in self._roots():
            # Payloads that are unpacked are made again, and large: they are not what is started.
            files = [path for path in root.rglob("*") if path.is_file() and "staged" not in path.parts]
            content |= {f"{name}/{path.relative_to(root)}": path.read_bytes() for path in files}
        disk = self.machine.disk.read_bytes()
        return content | {f"disk:{at:08x}": disk[at : at + BLOCK] for at in range(0, len(disk), BLOCK)}


def lose(first: Content, log: Sequence[Write | Flush], chance: random.Random) -> Content:
    """What a disk may have when the power goes at the end of a log."""
    sure = len(log)
    versions: dict[str, list[tuple[int, Write]]] = {}
    for index, entry in enumerate(log):
        if isinstance(entry, Write):
            versions.setdefault(entry.key, []).append((index, entry))
    content = dict(first)
    for key, writes in versions.items():
        last = max((at for at in range(sure) if _flushes(log[at], key)), default=-1)
        flushed = [write for at, write in writes if at < last]
        open_ones = [write for at, write in writes if at > last]
        chosen = chance.choice([flushed[-1] if flushed else None, *open_ones])
        data = first.get(key) if chosen is None else chosen.data
        if chosen in open_ones and chosen is not None and data and chosen.renamed is None and chance.random() < 0.5:
            data = data[: chance.randrange(len(data))]
            if key.startswith("disk:"):
                data = data + first[key][len(data) :]
        if data is None:
            content.pop(key, None)
        else:
            content[key] = data
    return content


def _flushes(entry: Write | Flush, key: str) -> bool:
    return isinstance(entry, Flush) and key.startswith(entry.prefix)


def put_back(machine: FakeMachine, content: Content) -> None:
    state = machine.root / STATE.lstrip("/").rpartition("/")[0]
    for root in (machine.esp, state):
        shutil.rmtree(root, ignore_errors=True)
    for key, data in content.items():
        if not key.startswith("disk:"):
            name, _, path = key.partition("/")
            target = (machine.esp if name == "esp" else state) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    machine.disk.write_bytes(b"".join(content[key] for key in sorted(content) if key.startswith("disk:")))


def choose_started(machine: FakeMachine) -> str:
    """As systemd-boot: the newest that has tries left or needs none. A file without its name's content is no image."""
    whole = [path.name for path in (machine.esp / "EFI/Linux").iterdir() if path.stat().st_size]
    images = [name for name in whole if re.fullmatch(r"demo_\d+(\+[1-9]\d*-\d+)?\.efi", name)]
    return max(re.sub(r"\+.*|\.efi$", "", name).removeprefix("demo_") for name in images)


def record(machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    machine.add_image("demo_0.efi", "0")
    for number in (5, 6):
        machine.set_label(number, "demo_0")
    with monkeypatch.context() as patch:
        recorder = Recorder(machine, patch)
        assert main(["apply", "--from", str(payload("2", root=b"root of 2" * 3000))], machine.host) == 0
        recorder.watching = False
        recorder.note()
    return recorder


def check(machine: FakeMachine, first: Content, *, old_only: bool) -> str:
    started = choose_started(machine)
    if "demo_0.efi" in machine.list_images():
        # Somebody may choose it from the menu.
        disk = b"".join(first[key] for key in sorted(first) if key.startswith("disk:"))
        assert machine.disk.read_bytes() == disk
    assert started in ("1", "2")
    assert not (old_only and started == "2")
    kernel = next(path for path in (machine.esp / "EFI/Linux").iterdir() if path.name.startswith(f"demo_{started}"))
    assert kernel.read_text().startswith(f"kernel of {started} roothash=")
    if started == "2":
        assert is_whole(machine, "2")
        pending = read_state(machine.host).pending
        assert pending is not None
        assert (pending.version, pending.source) == ("2", "1")
    elif (machine.root / STATE.lstrip("/")).exists():
        # What the old version makes of it: it waits for nothing that never comes.
        machine.boot("1", "d" * 32)
        assert main(["boot"], machine.host) == 0
        assert read_state(machine.host).pending is None
    return started


def find_rename(log: Sequence[Write | Flush]) -> int:
    renames = (at for at, entry in enumerate(log) if isinstance(entry, Write) and entry.renamed and entry.data)
    return next(at for at in renames if "demo_2" in log[at][0])


def test_every_flush_of_an_update_leaves_the_old_version_or_the_new_one(
    machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = record(machine, payload, monkeypatch)
    log, rename = recorder.log, find_rename(recorder.log)
    started = []
    for end in range(len(log) + 1):
        content = dict(recorder.first)
        for entry in log[:end]:
            if isinstance(entry, Write):
                content = {key: data for key, data in content.items() if key != entry.key}
                content |= {} if entry.data is None else {entry.key: entry.data}
        put_back(machine, content)
        started.append(check(machine, recorder.first, old_only=end <= rename))
    assert started == ["1"] * (rename + 1) + ["2"] * (len(log) - rename)
    flushes = sum(isinstance(entry, Flush) for entry in log)
    print(f"{len(log) + 1} states of an update with {flushes} flushes: {rename + 1} start the old version")


def test_what_a_disk_loses_at_random_moments_starts_no_third_version(
    machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = record(machine, payload, monkeypatch)
    rename, chance = find_rename(recorder.log), random.Random(14)
    started = []
    for _ in range(RANDOM_MOMENTS):
        end = chance.randrange(len(recorder.log) + 1)
        put_back(machine, lose(recorder.first, recorder.log[:end], chance))
        started.append(check(machine, recorder.first, old_only=end <= rename))
    assert {"1", "2"} == {*started}
    print(f"{len(started)} random moments: {started.count('1')} start the old version, the others the new one")


def test_a_kernel_image_before_its_root_would_be_noticed(
    machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = record(machine, payload, monkeypatch)
    writes = [entry for entry in recorder.log if isinstance(entry, Write)]
    content = dict(recorder.first)
    content |= {entry.key: entry.data for entry in writes if entry.data is not None and entry.key.startswith("esp/")}
    put_back(machine, content)
    with pytest.raises(AssertionError):
        check(machine, recorder.first, old_only=False)
