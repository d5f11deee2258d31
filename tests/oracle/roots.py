"""One set of packages as a root file system: by build-os, and by mmdebstrap, which runs dpkg and every script.

mmdebstrap, apt and dpkg come from a tools tree, and the packages from the store: nothing is installed on this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.core.tools import Tools
from builder.debian.control import parse_stanza
from builder.debian.index import Package
from builder.debian.lock import LockedPackage
from builder.debian.scripts.decisions import Decision
from builder.stages.packages import Packages
from builder.stages.stage import Context
from builder.stages.units import apply_presets
from builder.toolstree import list_tool_packages
from builder.tree.layer import read_layer
from builder.tree.tree import Tree
from tests.support.archive import SUITE, Source

PROGRAMS = (
    *("apt", "base-files", "coreutils", "dash", "dpkg", "findutils", "grep", "libc-bin", "mawk", "mmdebstrap"),
    *("mount", "perl", "sed", "tar", "util-linux"),
)
# All of a user's ids, as the system gives them to him (subuid(5)); the tools tree is entered as root of those.
WITH_ALL_IDS = ("unshare", "--user", "--map-root-user", "--map-auto", "--")
FIELDS = {
    "Package": "name", "Version": "version", "Architecture": "architecture", "Multi-Arch": "multi_arch",
    "Pre-Depends": "pre_depends", "Depends": "depends", "Provides": "provides", "Conflicts": "conflicts",
    "Breaks": "breaks", "Replaces": "replaces", "Priority": "priority", "Section": "section", "Size": "size",
    "SHA256": "sha256",
}  # fmt: skip


def make_ours(
    source: Source, packages: tuple[LockedPackage, ...], decisions: Mapping[str, Decision] | None = None
) -> tuple[Tree, Tools]:
    """The tree of our own code, by what a build does with packages, and the tools it took."""
    source.fetch(packages)
    tools = source.tools(list_tool_packages(source.archive.arch))
    with tempfile.TemporaryDirectory(prefix="build-os-oracle-") as scratch:
        context = Context(tools, source.store, source.console, Path(scratch))
        tree = Packages(packages, decisions or {}).apply(Tree(), context)
        apply_presets(tree, context, {})
        return tree, context.tools


def make_theirs(source: Source, names: Sequence[str], packages: Sequence[LockedPackage], room: Path) -> Tree:
    """The tree of mmdebstrap, kept in ``room`` as a tar as long as the packages are the same."""
    key = hashlib.sha256("\n".join(sorted(package.sha256 for package in packages)).encode()).hexdigest()[:16]
    tar = room / f"{key}.tar"
    if not tar.exists():
        room.mkdir(parents=True, exist_ok=True)
        source.fetch(packages)
        _bootstrap(source, names, packages, tar)
    return read_layer(Tree(), tar, origin="oracle")


def _bootstrap(source: Source, names: Sequence[str], packages: Sequence[LockedPackage], tar: Path) -> None:
    fresh = tar.with_suffix(".new.tar")
    include = [f"--include={','.join(names)}"] if names else []
    with tempfile.TemporaryDirectory(prefix="build-os-oracle-") as scratch:
        repository = Path(scratch, "repository")
        _write_repository(source, packages, repository)
        command = source.tools(PROGRAMS).make_argv(
            *("mmdebstrap", "--mode=root", "--variant=essential", f"--architectures={source.archive.arch}"),
            *(*include, SUITE, fresh, f"deb [trusted=yes] copy:{repository} ./"),
        )
        done = subprocess.run(
            [*(WITH_ALL_IDS if os.geteuid() != 0 else ()), *command],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "0", "TMPDIR": scratch},
        )
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise AssertionError(f"mmdebstrap failed:\n{done.stderr[-4000:]}")
    fresh.replace(tar)


def _write_repository(source: Source, packages: Sequence[LockedPackage], directory: Path) -> None:
    """A directory that apt takes as an archive of just these packages: their files, and the index's words on them."""
    directory.mkdir()
    stanzas = []
    for chosen in packages:
        file = f"{chosen.name}_{chosen.sha256[:16]}.deb"
        shutil.copyfile(source.store.locate_blob(chosen.sha256), directory / file)
        package = next(each for each in source.archive.get(chosen.name) if each.sha256 == chosen.sha256)
        stanzas.append(_stanza(package, file))
    index = "\n".join(stanzas).encode()
    (directory / "Packages").write_bytes(index)
    release = (
        f"Suite: {SUITE}\nCodename: {SUITE}\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )
    (directory / "Release").write_text(release, encoding="utf-8")


def _stanza(package: Package, file: str) -> str:
    fields = {field: str(getattr(package, name)) for field, name in FIELDS.items()}
    fields |= {"Filename": f"./{file}", "Essential": "yes" if package.essential else ""}
    return "".join(f"{field}: {value}\n" for field, value in fields.items() if value)


def installed(tree: Tree) -> dict[str, str]:
    """Packages and versions by dpkg's own record."""
    found = {}
    for text in tree.read_text("/var/lib/dpkg/status").split("\n\n"):
        if text.strip():
            stanza = parse_stanza(text.strip("\n"))
            if stanza["Status"] == "install ok installed":
                found[stanza["Package"]] = stanza["Version"]
    return found


def why_not() -> str | None:
    """``None`` when dpkg's work can be done here, or the reason why not: it takes more ids than one."""
    if os.geteuid() == 0:
        return None
    if shutil.which("unshare") is None:
        return "dpkg gives files to several users, and this is not root, nor is there unshare(1)"
    done = subprocess.run([*WITH_ALL_IDS, "true"], capture_output=True, text=True, check=False)
    return f"dpkg gives files to several users: {done.stderr.strip()}" if done.returncode else None
