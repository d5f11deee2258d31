"""The power may go at any moment of a first boot: the disk is brought to its state at every flush, and looked at.

Each state is either one that counts as not provisioned, and is begun anew, or one that has everything in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.core.errors import ProgramError
from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import started
from vm.image import read_image
from vm.write_log import replay

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "out" / "boot-tests" / "every-moment"
FILES = 40
CONFIG = "variant: buildos\nversion: 1.0.0\nhostname: every-moment\nstorage:\n  files:\n" + "".join(
    f"    - path: /{top}/bench/{number}\n      contents: {{inline: '{number} of many'}}\n"
    for number in range(FILES)
    for top in ("etc", "var/lib")
)
SECTOR = 512


@pytest.fixture(scope="module")
def log(demo: Path, store: Store) -> Iterator[Path]:
    """Everything that a machine wrote until it was provisioned and switched off."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    config = FOLDER.with_name("every-moment.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    with started(demo, FOLDER, store, config=config, boot="kernel", memory=2048, log_writes=True) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        machine.shutdown()
    written = FOLDER / "disk0.writes"
    yield written
    written.unlink()


@pytest.fixture
def disk(demo: Path, tools: Tools, tmp_path: Path) -> Path:
    """The image's disk as it was before, as large as the machine's."""
    source, kind = read_image(demo).disk()
    raw = tmp_path / "disk.raw"
    tools.run("qemu-img", "convert", "-f", kind, "-O", "raw", source, raw)
    return raw


class State:
    """The state partition in a copy of a disk."""

    def __init__(self, tools: Tools, disk: Path) -> None:
        self.tools, self.disk = tools, disk
        self.copy = disk.with_name("state.ext4")

    def place(self) -> tuple[int, int] | None:
        """Its first sector and its length; none before it is made."""
        said = self.tools.run("sfdisk", "--dump", self.disk)
        found = re.search(r'start=\s*(\d+), size=\s*(\d+),.*name="state"', said)
        return None if found is None else (int(found[1]), int(found[2]))

    def look(self, into: Path) -> bool:
        """Read its files, after its journal was replayed as a boot does; false if it has no file system yet."""
        place = self.place()
        if place is None or not self.copy_out(*place):
            return False
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        with suppress(ProgramError):  # it has put something in order
            self.tools.run("e2fsck", "-f", "-y", self.copy)
        self.tools.run("e2fsck", "-f", "-n", self.copy)
        self.tools.run("debugfs", "-R", f"rdump /firstboot /etc/upper /var/lib {into}", self.copy)
        return True

    def copy_out(self, start: int, length: int) -> bool:
        """Copy what is not empty of it; false if that is no ext4."""
        begin, end = start * SECTOR, (start + length) * SECTOR
        with self.disk.open("rb", buffering=0) as source, self.copy.open("wb", buffering=0) as target:
            target.truncate(end - begin)
            at = begin
            while at < end:
                try:
                    at = os.lseek(source.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break  # nothing but a hole is left
                stop = min(os.lseek(source.fileno(), at, os.SEEK_HOLE), end)
                while at < stop:
                    source.seek(at)
                    target.seek(at - begin)
                    at += target.write(source.read(min(stop - at, 1 << 20)) or b"")
        with self.copy.open("rb") as file:
            file.seek(1080)
            return file.read(2) == b"\x53\xef"


def test_no_moment_leaves_a_machine_that_is_half_provisioned(
    log: Path, disk: Path, tools: Tools, tmp_path: Path
) -> None:
    state, found = State(tools, disk), tmp_path / "found"
    moments = complete = 0
    with disk.open("r+b") as file:
        for _ in replay(log, file):
            moments += 1
            if not state.look(found) or not (found / "firstboot/complete").exists():
                assert complete == 0, "a machine that was provisioned is not any more"
                continue
            complete += 1
            assert json.loads((found / "firstboot/complete").read_text())["config_sha256"]
            assert (found / "upper/hostname").read_text() == "every-moment\n"
            assert json.loads((found / "lib/firstboot/result.json").read_text())["result"] == "ok"
            for number in range(FILES):
                for top in ("upper", "lib"):
                    assert (found / top / f"bench/{number}").read_text() == f"{number} of many", (moments, top, number)
    print(f"{moments} moments, {complete} of them with a machine that is whole")
    assert 0 < complete < moments
