"""``storage.archives``: what is in them becomes files of the config, and never leads out of their directory."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.config.buildos.archives import ArchiveEntry, BadArchive, lay_out_entries, read_entries
from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
Member = tuple[str, bytes, int, bytes]  # name, type, mode, contents or target


def tar(*members: Member) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, kind, mode, contents in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = contents.decode()
                archive.addfile(info)
            else:
                info.size = len(contents) if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(contents))
    return data.getvalue()


TREE = tar(
    ("app-1/", tarfile.DIRTYPE, 0o750, b""),
    ("app-1/bin/run", tarfile.REGTYPE, 0o4755, b"#!/bin/sh\n"),
    ("app-1/bin/go", tarfile.SYMTYPE, 0o777, b"run"),
    ("app-1/bin/same", tarfile.LNKTYPE, 0o755, b"app-1/bin/run"),
)


def archive(config: Config, tmp_path: Path, data: bytes, more: str = "") -> Read:
    (tmp_path / "a").write_bytes(data)
    return config(f"storage: {{archives: [{{path: /opt/app, local: a{more}}}]}}\n")


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["tar", "tar.gz"])
def test_an_archive_becomes_files_directories_and_links(
    config: Config, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    found = archive(config, tmp_path, pack(TREE), ", strip: 1, user: {name: app}")
    assert found.texts == {"/opt/app/bin/run": "#!/bin/sh\n", "/opt/app/bin/same": "#!/bin/sh\n"}
    assert found.files["/opt/app/bin/run"].mode == 0o755
    assert found.files["/opt/app/bin/run"].user.name == "app"
    assert found.links["/opt/app/bin/go"].target == "run"
    assert {path: each.user.name for path, each in found.directories.items()} == {"/opt/app": "app"}


def test_without_stripping_names_are_as_they_are(config: Config, tmp_path: Path) -> None:
    found = archive(config, tmp_path, TREE)
    assert found.directories["/opt/app/app-1"].mode == 0o750
    assert "/opt/app/app-1/bin/run" in found.files


def test_a_zip_archive_is_one_too(config: Config, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/b.txt", "b")
        link = zipfile.ZipInfo("a/l")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "b.txt")
    found = archive(config, tmp_path, data.getvalue())
    assert found.texts == {"/opt/app/a/b.txt": "b"}
    assert found.links["/opt/app/a/l"].target == "b.txt"


def test_an_archive_must_be_the_one_that_was_meant(config: Config, tmp_path: Path) -> None:
    good = hashlib.sha256(TREE).hexdigest()
    assert archive(config, tmp_path, TREE, f", verification: {{hash: sha256-{good}}}").said == []
    bad = archive(config, tmp_path, TREE, f", verification: {{hash: sha256-{'0' * 64}}}").said
    assert bad[0].startswith("3 storage.archives.0.verification.hash: the contents have the hash sha256-")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar(("../x", tarfile.REGTYPE, 0o644, b"")), "has an entry that leads out of it: '../x'"),
        (tar(("a/../../x", tarfile.REGTYPE, 0o644, b"")), "has an entry that leads out of it: 'a/../../x'"),
        (tar(("/etc/x", tarfile.REGTYPE, 0o644, b"")), "has an entry that leads out of it: '/etc/x'"),
        (tar(("x", tarfile.CHRTYPE, 0o644, b"")), "has something that is no file, directory or link: 'x'"),
        (
            tar(("l", tarfile.SYMTYPE, 0o777, b"/etc"), ("l/passwd", tarfile.REGTYPE, 0o644, b"")),
            "has an entry below what is no directory: 'l/passwd'",
        ),
        (b"neither", "cannot be read: "),
        (gzip.compress(TREE)[:-20], "cannot be read: "),
        (gzip.compress(bytes(81_000_000)), "is larger than 76 MiB when unpacked"),
    ],
)
def test_an_archive_that_could_do_harm_is_refused(config: Config, tmp_path: Path, data: bytes, message: str) -> None:
    said = archive(config, tmp_path, data).said
    assert len(said) == 1
    assert said[0].startswith(f"3 storage.archives.0.local: 'a' {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: opt, local: a", "path: the path 'opt' is not absolute"),
        ("path: /opt", "either 'local' or 'source' is required"),
        ("path: /opt, local: nothing", "local: 'nothing' cannot be read: No such file or directory"),
        ("path: /opt, local: a, strip: -1", "strip: -1 is not a number of parts of a name"),
    ],
)
def test_what_is_wrong_around_an_archive_is_said(config: Config, text: str, message: str) -> None:
    said = config(f"storage:\n  archives:\n    - {{{text}}}\n").said
    assert said[0].endswith(message)


@given(
    st.lists(st.tuples(st.text("ab./l\0\n", max_size=8), st.sampled_from(["file", "directory", "link"])), max_size=6)
)
@settings(deadline=None)
def test_no_name_leads_out_of_the_directory(names: Iterable[tuple[str, str]]) -> None:
    entries = [ArchiveEntry(name, kind, 0o644, b"x") for name, kind in names]  # type: ignore[arg-type]  # one of the three
    try:
        found = lay_out_entries(iter(entries), "/opt/app", 0)
    except BadArchive:
        return
    for path in found:
        assert path.startswith("/opt/app/")
        assert ".." not in path.split("/")


@given(st.binary(max_size=600), st.integers(0, 1500), st.sampled_from([TREE, gzip.compress(TREE, mtime=0)]))
@settings(deadline=None, max_examples=150)
def test_a_damaged_archive_is_read_or_refused(noise: bytes, where: int, whole: bytes) -> None:
    damaged = whole[:where] + noise + whole[where + len(noise) :]
    for data in (noise, damaged, b"PK\3\4" + noise):
        with contextlib.suppress(BadArchive):
            assert all(isinstance(each, ArchiveEntry) for each in read_entries(data))
