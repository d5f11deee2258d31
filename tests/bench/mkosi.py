"""The same packages by mkosi (Debian's 25.3): EROFS, verity, UKI. Measured only where mkosi is installed.

A cold build has mkosi's package cache and nothing else; after one file it also has its image of the packages
(``Incremental=``), as it would have on a developer's machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.debian.lock import Lock
from builder.debian.mirror import list_default_suites
from builder.definition.load import load
from builder.locking import choose_mirrors, make_lock_path
from tests.bench.measuring import Run, measured

CONF = """\
[Distribution]
Distribution=debian
Release=trixie
Mirror={mirror}

[Output]
Format=disk
ImageId=peer
ManifestFormat=

[Content]
Bootable=yes
Bootloader=systemd-boot
WithDocs=no
WithRecommends=no
Packages={packages}
KernelCommandLine=console=ttyS0

[Build]
PackageCacheDirectory={cache}
CacheDirectory={images}
WithNetwork=no
Incremental={incremental}
{more}
"""
# For a host whose own systemd-repart does not start: ours, with the library it was built with.
REPART_SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/lib" exec "$here/lib/systemd-repart" "$@"
"""
SOURCE = """\
Types: deb
URIs: {url}
Suites: {suite}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
ESP = """\
[Partition]
Type=esp
Format=vfat
CopyFiles=/efi:/
CopyFiles=/boot:/
SizeMinBytes=1G
"""
ROOT = """\
[Partition]
Type=root
Format=erofs
Compression=lz4
CopyFiles=/
Verity=data
VerityMatchKey=root
Minimize=best
"""
VERITY = """\
[Partition]
Type=root-verity
Verity=hash
VerityMatchKey=root
Minimize=best
"""
COMMAND = ("mkosi", "--force", "build")
REPART = {"00-esp.conf": ESP, "10-root.conf": ROOT, "11-verity.conf": VERITY}


@dataclass(frozen=True)
class Peer:
    """Two directories in which mkosi has built once, so that its caches are full."""

    plain: Path
    incremental: Path

    def cold(self) -> Run:
        """A build with packages downloaded."""
        return measured(COMMAND, cwd=self.plain)

    def one_file(self, content: str) -> Run:
        """A build after one file of its own changed."""
        _write_own_file(self.incremental, content)
        return measured(COMMAND, cwd=self.incremental)

    def show_sizes(self) -> None:
        """Print what it built."""
        raw = next(self.plain.glob("*.raw"))
        print(f"  {'mkosi: raw':<34} {raw.stat().st_blocks * 512 / 1e6:7.1f} MB on disk")
        for initrd in self.plain.glob("*.initrd"):
            print(f"  {'mkosi: initrd':<34} {initrd.stat().st_size / 1e6:7.1f} MB")


def prepare(work: Path, tools: Path, definition: Path) -> Peer | None:
    """Let mkosi build once in each of two directories, or say why there is no peer."""
    if shutil.which("mkosi") is None:
        print("mkosi is not installed: no peer is measured")
        return None
    peer = Peer(work / "plain", work / "incremental")
    cache = work / "cache"
    cache.mkdir(parents=True)
    search_path = _search_path(work, tools)
    for directory, incremental in ((peer.plain, "no"), (peer.incremental, "yes")):
        _write_definition(directory, definition, cache, incremental, search_path)
        if not _build(directory):
            return None
    return peer


def make_image(work: Path, tools: Path, definition: Path) -> Path | None:
    """Its disk of the same packages, raw, or say why there is none."""
    if shutil.which("mkosi") is None:
        print("mkosi is not installed: no peer is measured")
        return None
    cache = work / "cache"
    cache.mkdir(parents=True)
    plain = work / "plain"
    _write_definition(plain, definition, cache, "no", _search_path(work, tools))
    return next(plain.glob("*.raw")) if _build(plain) else None


def _write_definition(work: Path, definition: Path, cache: Path, incremental: str, more: str) -> None:
    resolved = load(definition).resolved
    packages = ",".join(package.name for package in Lock.load(make_lock_path(resolved.path)).packages)
    mirrors = choose_mirrors(resolved)
    # Ours instead of mkosi's own list, which also asks for the archive of debug symbols.
    sources = work / "mkosi.sandbox" / "etc" / "apt" / "sources.list.d"
    sources.mkdir(parents=True)
    stanzas = [
        SOURCE.format(url=mirrors.list_for_suite(suite)[0], suite=suite)
        for suite in list_default_suites(resolved.suite)
    ]
    (sources / "mkosi.sources").write_text("\n".join(stanzas))
    mirror = mirrors.list_for_suite(resolved.suite)[0]
    images = work / "images"
    images.mkdir()
    conf = CONF.format(mirror=mirror, packages=packages, cache=cache, images=images, incremental=incremental, more=more)
    (work / "mkosi.conf").write_text(conf)
    (work / "mkosi.repart").mkdir()
    for name, text in REPART.items():
        (work / "mkosi.repart" / name).write_text(text)
    _write_own_file(work, "of the first build")


def _write_own_file(work: Path, content: str) -> None:
    path = work / "mkosi.extra" / "etc" / "bench"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def _search_path(work: Path, tools: Path) -> str:
    """A line of mkosi.conf that names our systemd-repart, if the host's own does not start; else nothing."""
    host = shutil.which("systemd-repart")
    if host is not None and subprocess.run([host, "--version"], capture_output=True, check=False).returncode == 0:
        return ""
    library = work / "bin" / "lib"
    library.mkdir(parents=True)
    shutil.copy(tools / "usr/bin/systemd-repart", library)
    for path in (tools / "usr/lib").glob("*/systemd/libsystemd-shared-*.so"):
        shutil.copy(path, library)
    script = work / "bin" / "systemd-repart"
    script.write_text(REPART_SCRIPT)
    script.chmod(0o755)
    return f"ExtraSearchPaths={work / 'bin'}"


def _build(work: Path) -> bool:
    done = subprocess.run(COMMAND, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print("mkosi failed; no peer is measured:")
        sys.stdout.write("".join(f"  {line}\n" for line in done.stderr.splitlines()[-12:]))
    return done.returncode == 0
