"""Files are whole or absent, and one build at a time writes where two would collide."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.core.console import QuietConsole
from builder.core.files import hash_file, open_replacement, sync_file_system, sync_names, write_file
from builder.core.locks import format_command_line, hold_lock, hold_lock_if_free
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit


class Listener(QuietConsole):
    """Remembers notes, and says when there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.told = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.told.set()


def test_a_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    with open_replacement(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_where_files_need_a_name_a_new_one_has_it_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def without_tmpfile(path: str | Path, flags: int, mode: int = 0o777, **options: int | None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", without_tmpfile)
    with open_replacement(tmp_path / "file") as file:
        file.write(b"new")
        assert [path.name.startswith(".file.") for path in tmp_path.iterdir()] == [True]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ValueError, match="half"), open_replacement(tmp_path / "file") as file:
        raise ValueError("half")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_replaces_none_never_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Path, target: Path) -> Path:
        raise SystemExit(f"killed before {self} became {target}")

    monkeypatch.setattr(Path, "replace", killed)
    write_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def break_off(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error), open_replacement(path) as file:
        break_off(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_durable_file_survives_a_power_cut_and_others_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    path = tmp_path / "deep" / "er" / "file"
    if before is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(before)
    disk = SyncedDisk(monkeypatch)
    write_file(path, b"new")
    assert disk.after_a_power_cut(path) is None
    write_file(path, b"newer", durable=True)
    assert disk.after_a_power_cut(path) == b"newer"


def test_the_directories_made_for_a_durable_file_survive_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    write_file(tmp_path / "deep" / "er" / "file", b"new", durable=True)
    assert disk.after_a_power_cut(tmp_path / "deep") is not None
    assert disk.after_a_power_cut(tmp_path / "deep" / "er") is not None


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    disk = SyncedDisk(monkeypatch)
    seen = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(list(disk.order))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write_file(tmp_path / "file", b"new", durable=True)
    assert [len(steps) for steps in seen] == [1]
    assert disk.order[-1] == f"{tmp_path}/"


def test_a_disk_that_fails_is_an_error_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_file(tmp_path / "file", b"new", durable=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_where_directories_cannot_be_synced_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unsupported)
    sync_names(tmp_path)


def test_a_whole_file_system_is_synced_or_says_why_not(tmp_path: Path) -> None:
    sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "gone")


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755])
def test_the_mode_is_as_asked_whatever_the_umask_is(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "file", "text", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_everybody_may_read_a_file_unless_told_otherwise(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_file_is_whole_at_the_moment_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(self.read_bytes())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    (tmp_path / "file").write_bytes(b"old")
    write_file(tmp_path / "file", b"all of it")
    assert seen == [b"all of it"]


def test_replacing_a_link_replaces_the_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(target)
    write_file(link, "new")
    assert target.read_text() == "mine"
    assert not link.is_symlink()


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    write_file(tmp_path / ("n" * 255), b"x")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


def test_a_files_hash_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hash_file(tmp_path / "file") == expected


def test_a_free_lock_is_taken_without_a_word_and_names_us_while_we_have_it(tmp_path: Path) -> None:
    console = Listener()
    path = tmp_path / "locks" / "a"
    with hold_lock(path, console, "building"):
        assert path.read_text().split()[0] == str(os.getpid())
    assert path.read_text() == ""
    assert console.notes == []


def test_the_second_waits_for_the_first_and_says_for_whom(tmp_path: Path) -> None:
    console = Listener()
    path = tmp_path / "lock"
    order = []

    def second() -> None:
        with hold_lock(path, console, "building into out"):
            order.append("second")

    with hold_lock(path, QuietConsole(), "building into out"):
        thread = threading.Thread(target=second)
        thread.start()
        assert console.told.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    (said,) = console.notes
    since = time.strftime("%H:", time.localtime())
    assert said.startswith(f"waiting for process {os.getpid()}, which is building into out, since {since}")
    assert said.endswith(f"({format_command_line(sys.argv)})")


def test_a_holder_is_named_as_it_was_typed() -> None:
    assert format_command_line(["/x/bin/build-os", "run", "a b"]) == "build-os run 'a b'"
    assert format_command_line(["/x/pytest/__main__.py", "-q"]) == "pytest -q"
    assert format_command_line([]) == ""
    assert len(format_command_line(["pytest", *(["x"] * 500)])) == 200


@pytest.mark.parametrize("written", ["", "4194305\t1\tbuild-os build\n", "half"])
def test_a_holder_who_is_not_known_is_no_number(tmp_path: Path, written: str) -> None:
    path = tmp_path / "lock"
    console = Listener()
    with hold_lock(path, QuietConsole(), "building"):
        path.write_text(written)  # of those who share it, the last one may have gone
        thread = threading.Thread(target=hold, args=(path, console))
        thread.start()
        assert console.told.wait(10)
    thread.join(10)
    assert console.notes == ["waiting for another process, which is building"]


def test_a_lock_that_is_given_back_at_once_is_not_worth_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.core.locks.MOMENT", 60)
    console = Listener()
    with hold_lock(tmp_path / "lock", QuietConsole(), "building"):
        thread = threading.Thread(target=hold, args=(tmp_path / "lock", console))
        thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert console.notes == []


class Waiter(threading.Thread):
    """Somebody who waits for a lock, and keeps it until it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.console = path, Listener()
        self.has_it, self.may_go = threading.Event(), threading.Event()
        self.start()
        assert self.console.told.wait(10), "it says for whom it waits"

    def run(self) -> None:
        with hold_lock(self.path, self.console, "booting", in_turn=True):
            self.has_it.set()
            self.may_go.wait(10)


def test_who_waits_longest_is_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold_lock(path, QuietConsole(), "booting", in_turn=True):
        waiters = [Waiter(path) for _ in range(5)]
    for number, waiter in enumerate(waiters):
        assert waiter.has_it.wait(10)
        assert not any(later.has_it.is_set() for later in waiters[number + 1 :])
        waiter.may_go.set()
    for waiter in waiters:
        waiter.join(10)
    assert waiters[0].console.notes[0].startswith(f"waiting for process {os.getpid()}, which is booting")
    assert waiters[3].console.notes[0].endswith(", and 3 more who came before us")
    assert [path.name for path in (tmp_path / "lock.queue").iterdir()] == ["lock"]


def test_who_comes_when_the_lock_is_given_back_does_not_overtake(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold_lock(path, QuietConsole(), "booting", in_turn=True):
        first, second = Waiter(path), Waiter(path)
    assert first.has_it.wait(10)
    third = Waiter(path)
    first.may_go.set()
    assert second.has_it.wait(10)
    assert not third.has_it.is_set()
    second.may_go.set()
    assert third.has_it.wait(10)
    third.may_go.set()
    third.join(10)


def test_who_is_killed_while_it_waits_holds_up_nobody(tmp_path: Path) -> None:
    """The kernel drops the lock of its ticket and leaves the file."""
    path, queue = tmp_path / "lock", tmp_path / "lock.queue"
    queue.mkdir()
    (queue / "000000001").touch()
    with hold_lock(path, QuietConsole(), "booting", in_turn=True):
        assert [ticket.name for ticket in queue.iterdir()] == ["lock"]
        killed = (queue / "000000001").open("wb")
        fcntl.flock(killed, fcntl.LOCK_EX)
        waiter = Waiter(path)
        assert waiter.console.notes[0].endswith(", and 1 more who came before us")
    assert not waiter.has_it.is_set()
    killed.close()
    assert waiter.has_it.wait(10)
    waiter.may_go.set()
    waiter.join(10)


def test_a_lock_can_be_tried_without_waiting(tmp_path: Path) -> None:
    with hold_lock_if_free(tmp_path / "lock") as first, hold_lock_if_free(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with hold_lock_if_free(tmp_path / "lock") as third:
        assert third


def test_a_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    console = Listener()
    with pytest.raises(ValueError, match="no"), hold_lock(tmp_path / "lock", console, "building"):
        raise ValueError("no")
    with hold_lock(tmp_path / "lock", console, "building"):
        pass
    assert console.notes == []


def test_what_a_killed_build_left_in_the_lock_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("4194304\n")
    console = Listener()
    with hold_lock(path, console, "building"):
        assert path.read_text().split()[0] == str(os.getpid())
    assert console.notes == []


def test_a_lock_can_be_shared_and_keeps_out_who_wants_it_alone(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock", QuietConsole(), "building", shared=True):
        with hold_lock(tmp_path / "lock", QuietConsole(), "building", shared=True):
            pass
        console = Listener()
        started = threading.Thread(target=hold, args=(tmp_path / "lock", console))
        started.start()
        assert console.told.wait(10)
        assert console.notes[0].startswith(f"waiting for process {os.getpid()}, which is building, since ")
    started.join(10)


def hold(path: Path, console: QuietConsole) -> None:
    with hold_lock(path, console, "building"):
        pass


@pytest.mark.parametrize("pieces", [[], [(0, b"x")], [(3 << 20, b"y" * 70_000)], [(5, b"a"), ((9 << 20) - 3, b"end")]])
def test_a_file_with_holes_has_the_hash_of_its_content(tmp_path: Path, pieces: list[tuple[int, bytes]]) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(9 << 20)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    assert path.stat().st_blocks * 512 < path.stat().st_size
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    read: list[int] = []
    real = os.lseek

    def watched(descriptor: int, position: int, how: int) -> int:
        read.append(position)
        return real(descriptor, position, how)

    monkeypatch.setattr(os, "lseek", watched)
    assert hash_file(path) == "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"
    assert read == [0]
