"""Root writes nothing where a user's link led, unless that user could have: in a directory that is the user's own."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.apply.accounts import Account
from firstboot.apply.action import Machine, Refused
from firstboot.apply.files import MakeDirectory, Ownership, WriteFile
from firstboot.apply.keys import CONFIG_FRAGMENT, write_keys
from firstboot.apply.root import Root
from tests.support.fuzz import examples
from tests.unit.firstboot.conftest import FakePrograms

pytestmark = [pytest.mark.unit, pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")]

CORE, BOB = 1000, 1001
USER = Account("core", CORE, CORE, "/home/core")


class Layout:
    """A machine: a home that core does with as core likes, and /precious, which only root writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("precious", "var/home", "var/home/core", "var/home/bob", "shared", "etc"):
            (root / directory).mkdir(parents=True)
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
        (root / "home").symlink_to("var/home")
        self.give("var/home/core", CORE)
        self.give("var/home/bob", BOB)
        (root / "shared").chmod(0o777)
        for name in ("shadow", "script", "inner/file"):
            path = root / "precious" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("precious")
        self.before = self.precious()

    def give(self, path: str, uid: int) -> None:
        os.chown(self.root / path, uid, uid, follow_symlinks=False)

    def directory(self, path: str, uid: int) -> None:
        (self.root / path).mkdir()
        self.give(path, uid)

    def link(self, path: str, target: str, uid: int) -> None:
        (self.root / path).symlink_to(target)
        self.give(path, uid)

    def precious(self) -> dict[str, Any]:
        """All that is in /precious, with owners and modes."""
        found = {}
        for path in (self.root / "precious", *sorted((self.root / "precious").rglob("*"))):
            there = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (there.st_mode, there.st_uid, there.st_gid, content)
        return found


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "machine"
    root.mkdir()
    return Layout(root)


@pytest.fixture
def door(layout: Layout) -> Iterator[Root]:
    with Root(layout.root) as root:
        yield root
    assert layout.precious() == layout.before


UNSAFE: dict[str, list[tuple[Any, ...]]] = {
    "an absolute link of the user's": [("link", "var/home/core/d", "/precious", CORE)],
    "a relative one": [("link", "var/home/core/d", "../../../precious", CORE)],
    "one by way of the user's own home": [("link", "var/home/core/d", "../core/../../../precious", CORE)],
    "two links, the second one root's": [
        ("link", "var/home/core/d", "/etc/e", CORE),
        ("link", "etc/e", "/precious", 0),
    ],
    "root's link that the user can move": [("link", "var/home/core/d", "/precious", 0)],
    "root's link below root's directory in the home": [
        ("directory", "var/home/core/config", 0),
        ("link", "var/home/core/config/e", "/precious", 0),
        ("link", "var/home/core/d", "config/e", CORE),
    ],
    "a link to another user's": [("link", "var/home/core/d", "/home/bob", CORE)],
    "a link of another user in the user's home": [("link", "var/home/core/d", "/home/core", BOB)],
    "a link to what is not there": [("link", "var/home/core/d", "/precious/new/deep", CORE)],
}


@pytest.mark.parametrize("why", UNSAFE)
def test_nothing_is_written_where_a_users_link_leads(door: Root, layout: Layout, why: str) -> None:
    for kind, *arguments in UNSAFE[why]:
        getattr(layout, kind)(*arguments)
    assert door.see("/home/core/d/x").unsafe
    before = sorted(layout.root.rglob("*"))
    ways: list[Callable[[], object]] = [
        lambda: door.write("/home/core/d/x", b"", mode=0o644),
        lambda: door.make_directory("/home/core/d/x"),
        lambda: door.make_directory("/home/core/d/x/y/z"),
        lambda: door.make_symlink("/home/core/d/x", "y"),
        lambda: door.change("/home/core/d/script", mode=0o777, uid=CORE),
        lambda: door.append("/home/core/d/script", b"x"),
        lambda: door.make_hard_link("/home/core/mine", "/home/core/d/script"),
    ]
    for do in ways:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what matters
            do()
        assert caught.value.errno in (errno.ENOLINK, errno.ENOENT)
    if door.has("/home/core/d"):
        with pytest.raises(OSError, match="is a link that"):
            door.remove("/home/core/d/script")
    assert sorted(layout.root.rglob("*")) == before


SAFE: dict[str, list[tuple[Any, ...]]] = {
    "no link at all": [("directory", "var/home/core/d", CORE)],
    "a link to the user's own": [("directory", "var/home/core/e", CORE), ("link", "var/home/core/d", "e", CORE)],
    "an absolute link to the user's own": [
        ("directory", "var/home/core/e", CORE),
        ("link", "var/home/core/d", "/home/core/e", CORE),
    ],
    "root's directory in the home": [("directory", "var/home/core/d", 0)],
    "root's link outside of homes": [("link", "etc/e", "/var/home/core", 0), ("directory", "var/home/core/d", CORE)],
}


@pytest.mark.parametrize("why", SAFE)
def test_what_the_user_could_have_written_is_written(door: Root, layout: Layout, why: str) -> None:
    for kind, *arguments in SAFE[why]:
        getattr(layout, kind)(*arguments)
    door.write("/home/core/d/x", b"new", mode=0o600, uid=CORE, gid=CORE)
    assert door.read("/home/core/d/x") == b"new"
    assert not door.see("/home/core/d/x").unsafe


def test_keys_do_not_go_where_a_users_link_leads(door: Root, layout: Layout) -> None:
    layout.directory("var/home/core/.ssh", CORE)
    layout.link("var/home/core/.ssh/authorized_keys.d", "/precious", CORE)
    with pytest.raises(OSError, match=r"authorized_keys.d' is a link that user 1000 can change, and it leads to /prec"):
        write_keys(door, USER, CONFIG_FRAGMENT, b"key")


def test_keys_go_into_a_home_that_is_not_there_yet(door: Root, layout: Layout) -> None:
    (layout.root / "root").symlink_to("var/roothome")
    write_keys(door, Account("root", 0, 0, "/root"), CONFIG_FRAGMENT, b"key")
    assert (layout.root / "var/roothome" / CONFIG_FRAGMENT).read_bytes() == b"key"
    shutil.rmtree(layout.root / "var/home/core")
    write_keys(door, USER, CONFIG_FRAGMENT, b"key")
    for name in ("", ".ssh", ".ssh/authorized_keys.d", CONFIG_FRAGMENT):
        there = (layout.root / "var/home/core" / name).lstat()
        assert (there.st_uid, there.st_mode & 0o077) == (CORE, 0)


def test_a_hard_link_to_what_the_user_may_not_write_stays_as_it_is(door: Root, layout: Layout) -> None:
    os.link(layout.root / "precious/shadow", layout.root / "var/home/core/x")
    before = layout.before = layout.precious()
    ways: list[Callable[[], object]] = [
        lambda: door.append("/home/core/x", b"x"),
        lambda: door.change("/home/core/x", mode=0o666, uid=CORE),
    ]
    for do in ways:
        with pytest.raises(OSError, match="hard link"):
            do()
    assert layout.precious() == before


def test_a_users_own_program_does_not_become_roots(door: Root, layout: Layout) -> None:
    path = layout.root / "var/home/core/x"
    path.write_text("evil")
    layout.give("var/home/core/x", CORE)
    with pytest.raises(OSError, match="run as somebody else"):
        door.change("/home/core/x", uid=0, gid=0, mode=0o4755)
    assert path.stat().st_uid == CORE


def test_the_owner_of_a_link_is_changed_and_not_of_what_it_leads_to(door: Root, layout: Layout) -> None:
    door.make_symlink("/home/core/l", "/precious/shadow", uid=CORE, gid=CORE)
    assert (layout.root / "var/home/core/l").lstat().st_uid == CORE
    door.change("/home/core/l", uid=BOB, gid=BOB)
    assert (layout.root / "var/home/core/l").lstat().st_uid == BOB


# --- whatever a user makes ---

NAMES = st.sampled_from(["a", "b", "c"])
WHERE = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PLACES = [
    "/precious", "/precious/inner", "../../../precious", "..", "../..", ".", "a", "b", "c", "a/b", "../bob",
    "/home/core", "/home/core/a", "../../../precious/shadow", "/precious/shadow", "/shared", "/shared/a", "/",
    "/home/core/../../../precious",
]  # fmt: skip
PART = st.tuples(st.sampled_from(["directory", "link", "link", "file", "hard"]), WHERE, st.sampled_from(PLACES), NAMES)
BASES = st.sampled_from(["/home/core", "/home/core", "/home/core", "/shared", "/home/bob"])
DO = st.tuples(
    st.sampled_from(["write", "directory", "append", "change", "symlink", "remove", "hard", "keys", "overwrite"]),
    BASES, WHERE, WHERE,
)  # fmt: skip


def make_part(layout: Layout, base: str, part: tuple[str, str, str, str], uid: int) -> None:
    """What a user can make: in directories that are theirs, or that are everybody's."""
    kind, path, target, _ = part
    where = layout.root / base / path
    above = os.path.realpath(where.parent)
    if not above.startswith(str(layout.root / "var/home")) and not above.startswith(str(layout.root / "shared")):
        return
    if os.path.lexists(where):
        return  # it may be a hard link, which a user cannot write through
    with contextlib.suppress(OSError):
        match kind:
            case "directory":
                where.mkdir()
            case "link":
                where.symlink_to(target)
            case "file":
                where.write_text("user's")
            case _:  # where the kernel's fs.protected_hardlinks is off
                os.link(layout.root / "precious/script", where)
                return
        os.chown(where, uid, uid, follow_symlinks=False)


def do_it(root: Root, what: tuple[str, str, str, str]) -> None:
    kind, base, path, other = what
    place = f"{base}/{path}"
    machine = Machine(root, FakePrograms())
    match kind:
        case "write":
            root.write(place, b"new", mode=0o4755, uid=CORE, gid=CORE)
        case "directory":
            MakeDirectory((), place, 0o777, Ownership(CORE, CORE), clear=len(path) > 3).perform(machine)
        case "append":
            root.append(place, b"more")
        case "change":
            root.change(place, uid=CORE, gid=CORE, mode=0o777)
        case "symlink":
            root.make_symlink(place, "/precious", uid=CORE, gid=CORE)
        case "remove":
            root.remove(place)
        case "hard":
            root.make_hard_link(place, f"{base}/{other}")
        case "keys":
            write_keys(root, Account("core", CORE, CORE, f"{base}/{path}"), CONFIG_FRAGMENT, b"key")
        case _:
            WriteFile((), place, 0o600, Ownership(CORE, CORE), b"new", replace=True).perform(machine)


@given(
    parts=st.lists(st.tuples(BASES.map(lambda text: text.replace("/home", "var/home").lstrip("/")), PART), max_size=9),
    owners=st.lists(st.sampled_from([CORE, CORE, CORE, BOB]), min_size=9, max_size=9),
    todo=st.lists(DO, min_size=1, max_size=6),
)
@examples(60)
def test_whatever_users_make_nothing_of_roots_changes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[Any], owners: list[int], todo: list[Any]
) -> None:
    directory = tmp_path_factory.mktemp("fuzz") / "machine"
    directory.mkdir()
    layout = Layout(directory)
    try:
        for (base, part), uid in zip(parts, owners, strict=False):
            make_part(layout, base, part, uid)
        before = layout.precious()
        with Root(directory) as root:
            for what in todo:
                with contextlib.suppress(OSError, Refused):
                    do_it(root, what)
        assert layout.precious() == before
    finally:
        shutil.rmtree(directory.parent)


# --- and however quick they are ---


def raced(turn: Callable[[], None], do: Callable[[int], object], times: int) -> int:
    """How often root got through while somebody kept turning things round."""
    stop = threading.Event()
    through = 0

    def keep_turning() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                turn()

    thread = threading.Thread(target=keep_turning)
    thread.start()
    try:
        for number in range(times):
            with contextlib.suppress(OSError, Refused):
                do(number)
                through += 1
    finally:
        stop.set()
        thread.join()
    return through


def test_a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere(door: Root, layout: Layout) -> None:
    layout.directory("var/home/core/d", CORE)
    layout.link("var/home/core/l", "/precious", CORE)
    (layout.root / "var/home/core/d/script").write_text("mine")
    layout.give("var/home/core/d/script", CORE)
    home = os.open(layout.root / "var/home/core", os.O_PATH)
    names = itertools.cycle([("d", "tmp"), ("l", "d"), ("d", "l"), ("tmp", "d")])

    def turn() -> None:
        os.rename(*next(names), src_dir_fd=home, dst_dir_fd=home)

    machine = Machine(door, FakePrograms())
    ways: list[Callable[[], object]] = [
        lambda: door.write("/home/core/d/x", b"root's", mode=0o4755),
        lambda: door.append("/home/core/d/script", b"x"),
        lambda: door.change("/home/core/d/script", mode=0o777, uid=CORE, gid=CORE),
        lambda: WriteFile((), "/home/core/d/script", 0o777, Ownership(CORE), b"", replace=True).perform(machine),
        lambda: MakeDirectory((), "/home/core/d/inner", 0o777, Ownership(CORE)).perform(machine),
        lambda: door.remove("/home/core/d/shadow"),
        lambda: door.make_symlink("/home/core/d/new", "x", uid=CORE, gid=CORE),
        lambda: write_keys(door, Account("core", CORE, CORE, "/home/core/d"), CONFIG_FRAGMENT, b"key"),
    ]
    try:
        assert raced(turn, lambda number: ways[number % len(ways)](), 2400) > 50
    finally:
        os.close(home)


def test_a_file_that_is_swapped_meanwhile_does_not_become_roots(door: Root, layout: Layout) -> None:
    home = layout.root / "var/home/core"
    machine = Machine(door, FakePrograms())

    def turn() -> None:
        for path in (home / "x", *home.glob(".firstboot-*")):
            (home / "evil").write_text("evil")
            os.chown(home / "evil", CORE, CORE)
            (home / "evil").rename(path)

    def do(_number: int) -> None:
        WriteFile((), "/home/core/x", 0o4755, Ownership(0, 0), b"good", replace=True).perform(machine)

    assert raced(turn, do, 1000) > 50
    (home / "x").unlink()

    def change(_number: int) -> None:
        WriteFile((), "/home/core/x", 0o4755, Ownership(0, 0), None).perform(machine)

    raced(turn, change, 1000)
    there = (home / "x").stat()
    assert (home / "x").read_text() == "good" or (there.st_uid == CORE and not there.st_mode & 0o6000)
