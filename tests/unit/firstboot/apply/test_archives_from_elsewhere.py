"""Archives that a machine fetches: what is unpacked, and what is refused before anything is written."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.apply.action import Machine
from firstboot.apply.archives import decompress, plan
from firstboot.apply.contents import Stored
from firstboot.apply.files import OwnerNames
from firstboot.apply.programs import ProgramError, Programs
from firstboot.apply.unpacking import ArchiveMember, BadArchive, OpenArchive, resolve_links
from firstboot.config.document import read
from firstboot.config.text import LocatedError, Problem
from firstboot.engine.compile import load
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

SHA = "sha256-" + "0" * 64
SOURCE = "https://user:secret@files.example/app.tar.gz?signature=secret"
YAML = f"""variant: buildos
version: 1.0.0
storage:
  archives:
    - path: /opt/app
      source: {SOURCE}
      verification: {{hash: {SHA}}}
"""


def tar(*members: tuple[str, Any], **more: dict[str, Any]) -> bytes:
    """``(name, b"contents")``, ``(name, "-> target")``, ``(name, "=> hard")``, ``(name, None)`` for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if what is None else 0o640
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type = tarfile.SYMTYPE if what.startswith("->") else tarfile.LNKTYPE
                info.linkname = what[3:]
            elif isinstance(what, bytes):
                info.size = len(what)
            for key, value in more.get("info", {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


GOOD = tar(("app", None), ("app/bin/run", b"#!"), ("app/current", "-> bin/run"), ("app/again", "=> app/bin/run"))
Try = Callable[..., list[str]]


@pytest.fixture
def unpacked(machine: Machine, tmp_path: Path) -> Try:
    """Plan, and carry out if nothing is wrong; the problems, or what is there then."""
    (Path(machine.root.directory) / "opt").mkdir(exist_ok=True)

    def unpack(data: bytes, text: str = YAML) -> list[str]:
        path = tmp_path / "fetched"
        path.write_bytes(data)
        decompress(path, Programs())
        config = load(text, "m.yaml").config
        fetched = {each.resource: Stored(path, len(data)) for each in config.storage.archives}
        known = OwnerNames(frozenset({"root"}), frozenset({"root"}))
        found = [*plan(config, machine.root, known, fetched)]
        problems = [each.message for each in found if isinstance(each, Problem)]
        if problems:
            return problems
        for action in found:
            assert not isinstance(action, Problem)
            assert action.describe().startswith("unpack https://files.example/app.tar.gz?... into /opt/app (")
            action.perform(machine)
        root = Path(machine.root.directory)
        return sorted(str(each.relative_to(root)) for each in (root / "opt").rglob("*"))

    return unpack


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_everything_in_it_is_there_with_its_mode(
    unpacked: Try, machine: Machine, pack: Callable[[bytes], bytes]
) -> None:
    names = [f"opt/app/app{each}" for each in ("", "/again", "/bin", "/bin/run", "/current")]
    assert unpacked(pack(GOOD)) == ["opt/app", *names]
    run = Path(machine.root.directory) / "opt/app/app/bin/run"
    assert (run.read_bytes(), stat.S_IMODE(run.stat().st_mode), run.stat().st_nlink) == (b"#!", 0o640, 2)
    assert str((run.parents[1] / "current").readlink()) == "bin/run"


def test_leading_parts_of_names_are_left_out(unpacked: Try) -> None:
    names = unpacked(GOOD, YAML + "      strip: 1\n")
    assert names == ["opt/app", "opt/app/again", "opt/app/bin", "opt/app/bin/run", "opt/app/current"]


def test_a_zip_file_is_an_archive(unpacked: Try) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bin/run", "x" * 1000)
        link = zipfile.ZipInfo("current")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "bin/run")
    assert unpacked(out.getvalue()) == ["opt/app", "opt/app/bin", "opt/app/bin/run", "opt/app/current"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (tar(("../etc/passwd", b"x")), "leads out of it: '../etc/passwd'"),
        (tar(("/etc/passwd", b"x")), "leads out of it: '/etc/passwd'"),
        (tar(("a/../../x", b"x")), "leads out of it"),
        (tar(("a", "-> /etc")), "a link that leads out of it: 'a' -> '/etc'"),
        (tar(("a/b", "-> ../../etc")), "a link that leads out of it"),
        (
            tar(("d", None), ("d/up", "-> .."), ("x", "-> d/up/../..")),
            "a link that leads out of it: 'x' -> 'd/up/../..'",
        ),
        (tar(("x", "-> d/up/../etc"), ("d", None), ("d/up", "-> ..")), "a link that leads out of it: 'x'"),
        (tar(("d", None), ("d/up", "-> ../."), ("d/more", "-> up"), ("d/x", "-> more/..")), "out of it: 'd/x'"),
        (tar(("a", f"-> {'b/' * 3000}")), "a link that leads out of it: 'a'"),
        (tar(("a", "-> b"), ("a/x", b"x")), "below what is no directory"),
        (tar(("a", "=> /etc/passwd")), "leads out of it"),
        (tar(("a", "=> nothing")), "a hard link to what is no file in it"),
        (tar(("a", b""), info={"mode": 0o4755}), "a setuid, setgid or sticky bit on 'a'"),
        (tar(("a", b""), info={"type": tarfile.CHRTYPE}), "no file, directory or link: 'a'"),
        (tar(("a", b""), info={"type": tarfile.FIFOTYPE}), "no file, directory or link: 'a'"),
        (GOOD[:1000], "cannot be read"),
        (b"no archive at all", "cannot be read"),
        (b"PK\3\4 no zip", "cannot be read"),
    ],
)
def test_what_leads_out_or_is_no_plain_file_is_refused_and_nothing_is_written(
    unpacked: Try, machine: Machine, data: bytes, complaint: str
) -> None:
    (problem,) = unpacked(data)
    assert problem.startswith("the archive ")
    assert complaint in problem
    assert [*(Path(machine.root.directory) / "opt").iterdir()] == []


def test_special_bits_are_taken_over_if_that_is_asked_for(unpacked: Try, machine: Machine) -> None:
    unpacked(tar(("a", b""), info={"mode": 0o4755}), YAML + "      special_bits: true\n")
    assert stat.S_IMODE((Path(machine.root.directory) / "opt/app/a").stat().st_mode) == 0o4755


def test_what_is_there_stays(unpacked: Try, machine: Machine) -> None:
    there = Path(machine.root.directory) / "opt/app/app/bin"
    there.mkdir(parents=True)
    (there / "run").write_text("mine")
    assert unpacked(GOOD) == ["'/opt/app/app/bin/run' is in the archive and there already"]
    assert (there / "run").read_text() == "mine"


def test_a_link_on_the_way_is_not_followed(unpacked: Try, machine: Machine) -> None:
    (Path(machine.root.directory) / "opt/app").mkdir()
    (Path(machine.root.directory) / "opt/app/app").symlink_to("/etc")
    assert any("/opt/app/app" in each for each in unpacked(GOOD))
    assert not (Path(machine.root.directory) / "etc/bin").exists()


def test_a_link_that_would_go_on_through_one_of_the_machine_is_refused(unpacked: Try, machine: Machine) -> None:
    (Path(machine.root.directory) / "opt/app").mkdir(parents=True)
    (Path(machine.root.directory) / "opt/app/there").symlink_to("/etc")
    for target in ("there", "there/passwd", "there/../passwd", "d/../there/x"):
        said = str(unpacked(tar(("d", None), ("x", f"-> {target}"))))
        assert "the link 'x' in the archive goes through '/opt/app/there', which is a link to /etc" in said
    assert not os.path.lexists(Path(machine.root.directory) / "opt/app/x")


def test_links_in_a_circle_lead_nowhere_and_are_unpacked(unpacked: Try, machine: Machine) -> None:
    unpacked(tar(("a", "-> b"), ("b", "-> a"), ("c", "-> a/../../../etc")))
    with pytest.raises(OSError, match="symbolic links"):
        (Path(machine.root.directory) / "opt/app/c").stat()


def test_links_that_lead_through_all_others_end_the_judging_in_time() -> None:
    links = {f"l{n}": ArchiveMember(f"l{n}", "link", 0, "/".join(["."] * 2000 + [f"l{n + 1}"])) for n in range(10_000)}
    with pytest.raises(BadArchive, match="too many others"):
        resolve_links(links)


NAMES = st.sampled_from(["a", "b", "c", "up"])
PARTS = st.lists(st.one_of(st.just(".."), st.just(".."), NAMES, st.just(".")), min_size=1, max_size=6)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str | None]]:
    """Directories up to three deep, and links in them that lead up and through each other."""
    found: dict[str, str | None] = {}
    for _ in range(draw(st.integers(1, 8))):
        path = draw(st.lists(NAMES, min_size=1, max_size=3))
        above = ["/".join(path[:length]) for length in range(1, len(path))]
        if any(found.get(each) is not None for each in above) or "/".join(path) in found:
            continue
        found |= dict.fromkeys(above)
        if draw(st.booleans()) or any(each.startswith("/".join(path) + "/") for each in found):
            found["/".join(path)] = None
        else:
            found["/".join(path)] = "/".join(draw(PARTS))
    return list(found.items())


@given(members=trees())
@examples(300)
def test_what_is_accepted_leads_nowhere_else_on_a_real_disk(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, str | None]]
) -> None:
    room = tmp_path_factory.mktemp("links")
    archive, top = room / "archive.tar", room / "above" / "top"
    archive.write_bytes(tar(*((path, None if target is None else f"-> {target}") for path, target in members)))
    top.mkdir(parents=True)
    for path, target in members:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).mkdir(exist_ok=True) if target is None else (top / path).symlink_to(target)
    try:
        with OpenArchive(archive) as opened:
            found = {member.path: member for member in opened.list_members()}
    except BadArchive:
        return
    for name, way in resolve_links(found).items():
        # The kernel also wants what is passed to be there; where it is, it comes to the same place.
        real = os.path.realpath(top / name)
        assert real == str(top) or real.startswith(f"{top}/"), f"{name} leads out"
        if (top / name).exists():
            assert real == str(top / way.place).rstrip("/")


def test_the_config_and_an_archive_cannot_both_make_a_file(unpacked: Try) -> None:
    text = YAML + "  files:\n    - path: /opt/app/app/bin/run\n"
    assert unpacked(GOOD, text) == ["'/opt/app/app/bin/run' is in the archive and also elsewhere in the config"]


class NoPrograms(Programs):
    """zstd is another program's to get right."""

    def find(self, name: str) -> str | None:
        return None


@given(mutated(GOOD[:3584]) | st.binary(max_size=2000))  # without its padding
@examples(150)
def test_whatever_is_fetched_is_unpacked_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(data)
    try:
        decompress(path, NoPrograms())
        with OpenArchive(path) as archive:
            for member in archive.list_members():
                assert not member.path.startswith("/")
                assert ".." not in member.path.split("/")
                if member.kind == "file":
                    for _ in archive.read_member(member):
                        pass
    except (BadArchive, ProgramError):
        pass


# --- what a config may say ---


def test_it_compiles_to_what_no_ignition_takes_for_its_own_and_is_read_back() -> None:
    compiled = read(YAML, "m.yaml").compile()
    assert compiled["ignition"]["version"] == "3.6.0+buildos"
    (archive,) = load(json.dumps(compiled), "m.ign").config.storage.archives
    assert (archive.path, archive.source) == ("/opt/app", SOURCE)


def test_whatever_ignition_has_not_changes_the_version() -> None:
    text = (
        "variant: buildos\nversion: 1.0.0\n"
        "storage: {disks: [{device: /dev/a, partitions: [{label: x, match_label: true}]}]}\n"
    )
    compiled = read(text, "m.yaml").compile()
    assert compiled["ignition"]["version"] == "3.6.0+buildos"
    assert load(json.dumps(compiled), "m.ign").config.storage.disks[0].partitions[0].match_label is True
    assert read(text.replace(", match_label: true", ""), "m.yaml").compile()["ignition"]["version"] == "3.6.0"


def test_ignition_has_no_archives() -> None:
    text = json.dumps({"ignition": {"version": "3.6.0"}, "storage": {"archives": [{"path": "/a", "source": "x"}]}})
    document = read(text, "m.ign")
    assert document.config is not None
    assert document.config.storage.archives == ()
    assert ["unknown setting" in each.message for each in document.problems] == [True]


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        (f"verification: {{hash: {SHA}}}", "strip: 0", "an archive from elsewhere needs verification.hash"),
        (SOURCE, "oci://host/name@sha256:12", "is named oci://HOST/NAME@sha256:DIGEST"),
        ("https:", "ftp:", "a URL 'ftp' cannot be fetched"),
        ("path: /opt/app", "path: opt/app", "is not absolute"),
        ("source:", "local: x\n      source:", "either 'local' or 'source' is required"),
    ],
)
def test_what_cannot_be_verified_is_refused(was: str, becomes: str, complaint: str) -> None:
    with pytest.raises(LocatedError, match=complaint):
        load(YAML.replace(was, becomes), "m.yaml")


def test_a_tag_alone_verifies_nothing() -> None:
    text = YAML.replace(f"      verification: {{hash: {SHA}}}\n", "").replace(SOURCE, "oci://host/name:latest")
    with pytest.raises(LocatedError, match="an archive in a registry is named oci://HOST/NAME@sha256:DIGEST"):
        load(text, "m.yaml")


def test_an_artifact_in_a_registry_has_its_hash_in_its_name() -> None:
    text = YAML.replace(f"      verification: {{hash: {SHA}}}\n", "")
    text = text.replace(SOURCE, f"oci://registry.example:5000/a/b@sha256:{'0' * 64}")
    assert len(load(text, "m.yaml").config.storage.archives) == 1
