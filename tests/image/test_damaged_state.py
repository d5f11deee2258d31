"""A state partition that is damaged between two boots: what the initrd's check makes of it, by the program it runs.

Each damage is done to a machine's state as its disk would do it, and looked at twice: as it lies there (the kernel has
noticed nothing), and after the kernel has noted an error, which it does when it comes upon one. The check ends in one
of three ways: in order, repaired, stopped. Never may something be gone, or be another, without a word, and never may
the machine be taken for one that has not had its first boot. That the kernel notices is for the boots of
``tests/boot/test_damaged_state.py`` to show; here debugfs stands for it, which looks at the same checksums.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.core.errors import ToolError
from builder.core.tools import Tools
from firstboot.log import Log
from firstboot.places import Places
from firstboot.prepare import prepare
from tests.support.state_partition import BLOCK, DAMAGES, Check, End, State

pytestmark = pytest.mark.image

SIZE = 192 << 20
FILES = {
    "firstboot/complete": '{"attempt": "0123456789abcdef"}\n',
    "provisioned": '{"attempt": "0123456789abcdef", "second": true}\n',
    "etc/upper/machine-id": "00112233445566778899aabbccddeeff\n",
    "etc/upper/hostname": "precious\n",
    "etc/upper/ssh/key": "secret\n",
    "var/lib/firstboot/result.json": "{}\n",
    "var/lib/large": "0123456789abcdef" * 300_000,
    "var/lib/empty": "",
    **{f"var/lib/app/{number}": f"file {number}\n" for number in range(400)},
}
# In CI one of each kind; `make slow-test` runs all.
SAMPLE = (
    "superblock: magic",
    "group descriptors: one byte",
    "inode bitmap: zeros",
    "inode of the mark: zeros",
    "inode of a file: size",
    "directory firstboot: one byte",
    "directory of many files: a leaf",
    "journal: its superblock, and it is needed",
)


@pytest.fixture(scope="module")
def whole(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a machine, switched off in good order."""
    directory = tmp_path_factory.mktemp("state")
    for name, text in FILES.items():
        path = directory / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "files/etc/work").mkdir()
    path = directory / "whole.ext4"
    with path.open("wb") as file:
        file.truncate(SIZE)
    # Blocks as on any larger partition.
    tools.run("mke2fs", "-q", "-t", "ext4", "-b", str(BLOCK), "-L", "state", "-d", directory / "files", path)
    return path


@pytest.fixture
def state(whole: Path, tools: Tools, tmp_path: Path) -> State:
    copy = tmp_path / "state.ext4"
    subprocess.run(["cp", "--sparse=always", whole, copy], check=True)
    return State(copy, tools)


@pytest.fixture
def check(tools: Tools, tmp_path: Path) -> Check:
    return Check(tools, tmp_path)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, ...]]]:
    """What became of each damage, printed at the end (``pytest -s``)."""
    ends: list[tuple[str, ...]] = []
    yield ends
    print()
    for row in ends:
        print("| " + " | ".join(row) + " |")


def decision(found: Path, tmp_path: Path) -> str:
    """What the initrd decides about a state partition with these files."""
    root = tmp_path / "machine"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("run", "dev", "sys"):
        (root / name).mkdir(parents=True)
    (root / "dev/console").touch()
    found.rename(root / "run/state")
    status = prepare(Places(root), Log(io.StringIO()))
    first = (root / "run/build-os/first-boot").exists()
    (root / "run/state").rename(found)
    assert not (status and first)
    return "stopped" if status else "first boot" if first else "later boot"


def test_a_state_that_was_left_in_order_is_in_order(state: State, check: Check, tmp_path: Path) -> None:
    assert check(state.path) == End(0, "", repaired=False)
    assert state.files(tmp_path / "found") == (FILES, "")
    assert decision(tmp_path / "found", tmp_path) == "later boot"


def test_a_partition_that_is_not_there_stops_the_machine(check: Check, tmp_path: Path) -> None:
    assert check(tmp_path / "none") == End(1, "", repaired=False)  # find-state has said why


@pytest.mark.parametrize("noticed", [False, True], ids=["unnoticed", "noticed"])
@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.slow) for name in DAMAGES]
)
def test_nothing_is_lost_without_a_word(
    state: State, check: Check, tmp_path: Path, table: list[tuple[str, ...]], damage: str, *, noticed: bool
) -> None:
    inodes = {name: state.number(name) for name in FILES if "app" not in name}
    DAMAGES[damage](state)
    if noticed:
        with suppress(ToolError):  # a superblock that is none cannot be written to
            state.note_an_error()
    end = check(state.path)
    row = (damage, "noticed" if noticed else "unnoticed")
    if end.kind == "stopped":
        assert "the state partition cannot be repaired without losing data, or not be used at all" in end.said
        table.append((*row, "stopped by the check", ""))
        return
    found, said = state.files(tmp_path / "found")
    # Under another name it is not lost.
    lost = [name for name, text in FILES.items() if text not in found.values()]
    if end.kind == "in order" and (said or any(state.is_unreadable(name) for name in lost)):
        # The kernel comes upon it, and writes nothing from then on; or the decision does, and stops.
        assert end.said == ""
        table.append((*row, "found when it is read", f"{len(lost)} files"))
        return
    decided = decision(tmp_path / "found", tmp_path)
    assert decided != "first boot"
    told = "later boot" if decided == "later boot" else "stopped by the decision"
    if end.kind == "in order":
        assert (lost, end.said) == ([], "")
        table.append((*row, "harmless", told))
        return
    assert "was damaged and has been repaired" in end.said
    state.tools.run("e2fsck", "-f", "-n", state.path)
    for name in lost:
        assert name.rpartition("/")[2] in end.said or str(inodes.get(name)) in end.said, (name, end.said)
    table.append((*row, "repaired, and said", f"{len(lost)} files lost and named, {told}" if lost else told))
