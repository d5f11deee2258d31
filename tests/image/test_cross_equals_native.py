"""What this machine's programs make for another architecture is what that architecture's own would have made.

The image's own programs run under qemu-user, over the image's own files; their results are compared byte for byte.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.tree.bytecode import PROGRAM
from tests.image.test_build import partitions
from tests.support.machines import build_text

pytestmark = pytest.mark.slow

DEFINITION = """\
name: cross
version: 1.0.0
arch: arm64
features: [base]
tools:
  packages: [qemu-user]
"""
# depmod copies these from the kernel's package.
GIVEN = ("modules.builtin", "modules.builtin.modinfo", "modules.order")


@dataclass(frozen=True)
class Native:
    """The image's root as a directory, and its own programs."""

    root: Path
    tools: Tools

    def run(self, program: str, *arguments: str | Path, name: str | None = None, given: bytes = b"") -> str:
        """Run one of the image's programs, by another ``name`` if it is one of several in a file."""
        called = ("-0", name) if name else ()
        return self.tools.run("qemu-aarch64", "-L", self.root, *called, self.root / program, *arguments, input=given)


@pytest.fixture(scope="module")
def native(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    folder = tmp_path_factory.mktemp("cross")
    build = build_text(DEFINITION, folder, store)
    tools = Tools(Path(json.loads(build.read_text(encoding="utf-8"))["tools"]), QuietConsole())
    tools.run("qemu-img", "convert", "-O", "raw", folder / "cross.qcow2", folder / "raw")
    with (folder / "raw").open("rb") as file:
        file.seek(partitions(folder / "raw")[1]["start"])
        (folder / "packed").write_bytes(file.read(300 << 20))
    tools.run("fsck.erofs", f"--extract={folder / 'root'}", "--no-preserve", folder / "packed")
    yield Native(folder / "root", tools)
    shutil.rmtree(folder)


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}


def differing(ours: dict[str, bytes], theirs: dict[str, bytes]) -> list[str]:
    assert ours
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def test_the_programs_are_of_the_other_architecture(native: Native) -> None:
    assert native.run("usr/bin/uname", "-m").strip() == "aarch64"


def test_the_library_cache(native: Native) -> None:
    cache = native.root / "etc/ld.so.cache"
    ours = cache.read_bytes()
    assert ours.count(b"/lib/aarch64-linux-gnu/") > 50
    cache.unlink()
    native.run("usr/sbin/ldconfig", "-X", "-r", native.root)
    assert cache.read_bytes() == ours


def test_the_index_of_kernel_modules(native: Native) -> None:
    (modules,) = (native.root / "usr/lib/modules").iterdir()
    ours = {name: data for name, data in contents(modules, "modules.*").items() if name not in GIVEN}
    for name in ours:
        (modules / name).unlink()
    native.run("usr/bin/kmod", "-b", native.root, modules.name, name="depmod")
    theirs = {name: data for name, data in contents(modules, "modules.*").items() if name not in GIVEN}
    assert differing(ours, theirs) == []


def test_pythons_bytecode(native: Native, tmp_path: Path) -> None:
    ours = contents(native.root / "usr/lib", "*.pyc")
    sources = tmp_path / "usr/lib"
    for name in ours:
        path = Path(name)
        source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
        (sources / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(native.root / "usr/lib" / source, sources / source)
    paths = "\0".join(str(path.relative_to(tmp_path)) for path in sorted(sources.rglob("*.py")))
    native.run("usr/bin/python3", "-I", "-W", "ignore", "-c", PROGRAM, tmp_path, given=paths.encode())
    assert differing(ours, contents(sources, "*.pyc")) == []


def test_the_hardware_database(native: Native, tmp_path: Path) -> None:
    # The image has no sources of it; those of the tools are the same package's.
    for name in ("ours", "theirs"):
        shutil.copytree(native.tools.root / "usr/lib/udev/hwdb.d", tmp_path / name / "usr/lib/udev/hwdb.d")
    root = tmp_path / "root"
    arguments = ("update", "--usr", "--strict", f"--root={root}")
    (tmp_path / "ours").rename(root)
    native.tools.run("systemd-hwdb", *arguments)
    ours = (root / "usr/lib/udev/hwdb.bin").read_bytes()
    shutil.rmtree(root)
    (tmp_path / "theirs").rename(root)
    native.run("usr/bin/systemd-hwdb", *arguments)
    assert (root / "usr/lib/udev/hwdb.bin").read_bytes() == ours


def test_the_message_catalog(native: Native, tmp_path: Path) -> None:
    databases = []
    for run in (native.tools.run, lambda _, *arguments: native.run("usr/bin/journalctl", *arguments)):
        root = tmp_path / "root"
        shutil.copytree(native.root / "usr/lib/systemd/catalog", root / "usr/lib/systemd/catalog")
        (root / "var/lib/systemd/catalog").mkdir(parents=True)
        run("journalctl", "--update-catalog", f"--root={root}")
        databases.append((root / "var/lib/systemd/catalog/database").read_bytes())
        shutil.rmtree(root)
    assert databases[0] == databases[1]
