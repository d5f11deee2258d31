"""What is remembered of files that were looked at: any change of them is noticed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.core import seen
from builder.core.seen import SECOND, Seen, is_unchanged, is_young

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _nothing_is_young(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of a test are; where it matters, it says so."""
    monkeypatch.setattr(seen, "YOUNG", -1)
    monkeypatch.setattr(seen, "YOUNG_IN_SECONDS", -1)
    yield
    seen.pause()


def look(at: Callable[[], object]) -> Seen:
    looked_at = Seen()
    seen.start(looked_at)
    try:
        at()
    finally:
        seen.pause()
    return looked_at


def test_files_that_are_opened_to_be_read_are_seen_and_those_to_be_written_are_not(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("x")

    def use() -> None:
        (tmp_path / "read").read_text()
        os.close(os.open(tmp_path / "read", os.O_RDONLY))
        (tmp_path / "written").write_text("y")
        with pytest.raises(FileNotFoundError):
            (tmp_path / "missing").read_bytes()

    paths = look(use).paths
    assert paths[f"{tmp_path}/read"] is not None
    assert paths[f"{tmp_path}/missing"] is None
    assert f"{tmp_path}/written" not in paths


CHANGES: dict[str, Callable[[Path], object]] = {
    "other content": lambda root: (root / "file").write_text("other"),
    "content of the same length and time": lambda root: rewrite_in_secret(root / "file"),
    "a right": lambda root: (root / "file").chmod(0o700),
    "another file in its place": lambda root: replace(root / "file"),
    "gone": lambda root: (root / "file").unlink(),
    "there now": lambda root: (root / "absent").write_text(""),
    "one more in a directory": lambda root: (root / "listed/new").write_text(""),
    "what is in a directory, not read": lambda root: (root / "listed/entry").chmod(0o4755),
    "a link that leads elsewhere": lambda root: redirect(root / "link", root / "listed/entry"),
    "a place that was asked for": lambda root: (root / "place").mkdir(),
}


def rewrite_in_secret(path: Path) -> None:
    status = path.stat()
    path.write_text(path.read_text().upper())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def redirect(link: Path, target: Path) -> None:
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_was_seen_is_noticed(change: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed/entry").write_text("entry")
    (tmp_path / "link").symlink_to("file")

    def use() -> None:
        (tmp_path / "file").read_text()
        (tmp_path / "link").read_text()
        list((tmp_path / "listed").iterdir())
        with pytest.raises(FileNotFoundError):
            (tmp_path / "absent").read_text()
        seen.note(tmp_path / "place")

    paths = look(use).paths
    time.sleep(0.02)  # a tick of the file system's clock
    assert is_unchanged(paths)
    CHANGES[change](tmp_path)
    assert not is_unchanged(paths)


def test_what_lies_behind_a_link_and_above_is_what_the_kernel_takes_for_it(tmp_path: Path) -> None:
    (tmp_path / "real/configs").mkdir(parents=True)
    (tmp_path / "real/shared.txt").write_text("before")
    (tmp_path / "configs").symlink_to("real/configs")
    paths = look((tmp_path / "configs/../shared.txt").read_text).paths
    time.sleep(0.02)
    (tmp_path / "real/shared.txt").write_text("after")
    assert not is_unchanged(paths)


def test_a_file_that_changes_while_it_is_read_was_seen_as_it_was_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")

    def use() -> None:
        with path.open() as file:
            time.sleep(0.02)
            path.write_text("two!")
            assert file.read() == "two!"

    assert not is_unchanged(look(use).paths)


@pytest.mark.parametrize(
    ("changed", "modified", "young"),
    [
        (50_000_001, 9 * SECOND + 1, True),
        (9 * SECOND + 1, 50_000_001, True),
        (9 * SECOND + 1, 9 * SECOND + 1, False),
        # A file system of whole seconds.
        (2 * SECOND, 9 * SECOND + 1, True),
        (9 * SECOND + 1, 2 * SECOND, True),
        (3 * SECOND, 3 * SECOND, False),
        # Changed in the future: another computer's clock. A time of modification may be anything.
        (-5 * SECOND + 1, 9 * SECOND + 1, True),
        (9 * SECOND + 1, -5 * SECOND + 1, False),
    ],
)
def test_what_was_changed_only_just_now_is_young(
    changed: int, modified: int, young: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    now = 1_000 * SECOND
    assert is_young((0o100644, 1, now - changed, now - modified, 7), now) is young


def test_who_saw_something_young_is_not_certain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "YOUNG", 60 * SECOND)
    (tmp_path / "file").write_text("x")
    assert not look((tmp_path / "file").read_text).is_certain
    looked_at = Seen()
    looked_at.is_ours = True
    looked_at.add(tmp_path / "file")
    assert looked_at.is_certain


def test_bytecode_is_seen_with_its_source(tmp_path: Path) -> None:
    looked_at = Seen()
    looked_at.add(tmp_path / "__pycache__/module.cpython-311.pyc")
    assert f"{tmp_path}/module.py" in looked_at.paths


def test_what_the_kernel_says_and_descriptors_are_not_seen() -> None:
    looked_at = Seen()
    for path in ("/proc/self/status", "/dev/null", 3, None):
        looked_at.add(path)
    assert looked_at.paths == {}


def test_nothing_is_seen_before_the_start_and_after_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    looked_at = look(lambda: None)
    (tmp_path / "file").read_text()
    seen.note(tmp_path)
    assert f"{tmp_path}/file" not in looked_at.paths
    assert str(tmp_path) not in looked_at.paths
    assert all(path.endswith(".py") for path in looked_at.paths)  # our own modules


def test_what_stands_in_a_modules_place_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "builder.odd", object())  # type: ignore[arg-type] # as some packages have it
    assert look(lambda: None).is_certain


def test_what_lies_below_a_directory_can_be_forgotten(tmp_path: Path) -> None:
    looked_at = Seen()
    for name in ("out/file", "out", "outside"):
        looked_at.add(tmp_path / name)
    looked_at.forget_below([f"{tmp_path}/out"])
    assert set(looked_at.paths) == {f"{tmp_path}/out", f"{tmp_path}/outside"}
