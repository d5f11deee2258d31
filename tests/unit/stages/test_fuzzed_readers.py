"""What packages bring and the store keeps is read without a traceback and without end, whatever it is."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from builder.core.errors import BuildError
from builder.core.store import Store
from builder.debian.changelog import parse_changelog
from builder.debian.control import parse_relations
from builder.debian.deb import Source, read_deb
from builder.debian.pack import load_pack, unpack
from builder.debian.release import read_unverified_content
from builder.debian.scripts.subjects.pam import parse, stack
from builder.outputs.manifest import FILE, SCHEMA, is_current, read_manifest
from builder.stages.plan import is_usable, make_snapshot_path
from builder.tree.modules import find_modules
from builder.tree.node import make_file
from builder.tree.shared_objects import find_libraries, read_soname
from builder.tree.tar_headers import TarError
from builder.tree.tree import Tree
from tests.support.debs import ar, make_deb, tar_entry
from tests.support.fuzz import examples, mutated, of_words

pytestmark = pytest.mark.unit

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DEEP = b"[" * 200_000


# --- what packages bring ---------------------------------------------------------------------------


@examples(200)
@given(of_words("Name: ", "Priority: ", "Auth:", "-Type: ", "Primary", "\n", "\t", "[success=end default=ignore]"))
@example("Priority: " + "9" * 5000)
@example("Priority: high")
def test_profiles_of_pam(text: str) -> None:
    for kind in ("Primary", "Additional"):
        assert isinstance(stack([parse("a", text), parse("b", "")], "auth", kind), str)


@examples(200)
@given(text=of_words("include ", "/etc/ld.so.conf", "ld.so.conf.d/*.conf", "/usr/lib", "\n", "#", "[", "..", "*"))
@example(text="include /etc/ld.so.conf\ninclude ld.so.conf.d/*.conf\n")
def test_configurations_of_the_loader(text: str) -> None:
    tree = Tree()
    tree.put("/usr/lib/libx.so.1", make_file(b"\x7fELF", origin="package:a"))
    for path in ("/etc/ld.so.conf", "/etc/ld.so.conf.d/a.conf"):
        tree.put(path, make_file(text.encode(), origin="package:a"))
    with contextlib.suppress(BuildError):
        find_libraries(tree, 62, "x86_64-linux-gnu")


@examples(200)
@given(st.data())
def test_names_of_shared_objects(data: st.DataObject) -> None:
    # ELF header, one loaded and one dynamic segment, a table of strings; System V ABI, chapter 4 and 5
    header = bytearray(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + bytes(48))
    header[16:20] = (3).to_bytes(2, "little") + (62).to_bytes(2, "little")
    header[32:40], header[54:58] = (64).to_bytes(8, "little"), (56).to_bytes(2, "little") + (2).to_bytes(2, "little")
    numbers = st.sampled_from([0, 1, 16, 64, 176, 1 << 31, 1 << 63, (1 << 64) - 1])
    words = data.draw(st.lists(numbers, min_size=30, max_size=30))
    body = b"".join(number.to_bytes(8, "little") for number in words)
    read_soname(data.draw(mutated(bytes(header)) | st.just(bytes(header))) + body, 62)


@examples(100)
@given(text=of_words("kernel/a.ko.xz:", " kernel/b.ko", "\n", ":", "softdep ", "a ", "pre: ", "post: "))
def test_indexes_of_kernel_modules(text: str) -> None:
    tree = Tree()
    for name in ("modules.dep", "modules.softdep", "modules.builtin", "kernel/a.ko.xz"):
        tree.put(f"/usr/lib/modules/6.12/{name}", make_file(text.encode(), origin="package:a"))
    with contextlib.suppress(BuildError):
        find_modules(tree, "6.12", ["a", "b"])


@examples(200)
@given(of_words("hello ", "(1.0-1) ", "unstable; urgency=low\n", "  * ", "CVE-2024-1234 ", "Closes: #1", ", ", "\n"))
@example("  * closes: " + "bug#1, " * 20_000)
def test_changelogs(text: str) -> None:
    for entry in parse_changelog(text):
        assert entry.version
        assert not set(entry.advisories) & set(entry.bugs)


@pytest.mark.parametrize(
    "text",
    ["a" + " " * 200_000 + "!", "a (" * 50_000, "a [" * 50_000, "a | " * 50_000, "a\n" * 100_000, "a:" * 100_000],
    ids=["spaces", "versions", "architectures", "alternatives", "lines", "qualifiers"],
)
def test_relations_of_any_length_are_read_or_refused_at_once(text: str) -> None:
    with contextlib.suppress(BuildError):
        parse_relations(text)


@pytest.mark.parametrize(
    "repeated", [b"-----BEGIN PGP SIGNED MESSAGE-----\n\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n"]
)
def test_a_text_full_of_begins_is_refused_at_once(repeated: bytes) -> None:
    with pytest.raises(BuildError):
        read_unverified_content(repeated * 200_000)


@examples(200)
@given(data=st.data())
def test_debs_whose_archives_are_damaged_before_they_are_packed(data: st.DataObject) -> None:
    whole = make_deb(files=(tar_entry("./x", "y" * 600),), compression="")
    control, tar = (whole.data[start : start + 10240] for start in (132, 0))
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", data.draw(mutated(control) | st.just(control))),
        (data.draw(st.sampled_from(["data.tar", "data.tar.xz", "data.tar.zst", "_odd"])), data.draw(mutated(tar))),
    ]
    with contextlib.suppress(BuildError, TarError):
        read_deb(Source(io.BytesIO(ar(*parts))), io.BytesIO())


# --- what the store keeps ---------------------------------------------------------------------------


@examples(100)
@given(data=json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
@example(DEEP)
def test_snapshots_and_their_references(tmp_path: Path, data: bytes) -> None:
    store = Store(tmp_path)
    path = make_snapshot_path(store, "key")
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".seal").write_bytes(data)
    assert is_usable(store, "key") in (True, False)


@examples(200)
@given(value=json_values, key=st.sampled_from(["artifacts", "tools", "key", "schema", "timings"]))
@example(value={"a": {"path": "\0", "size": 0}}, key="artifacts")
@example(value="", key="tools")
def test_manifests(tmp_path: Path, value: Any, key: str) -> None:
    assume(key != "tools" or not str(value).startswith("/"))  # which may be a tree, such as our own
    (tmp_path / "out").mkdir(exist_ok=True)
    path = tmp_path / "out" / FILE
    path.write_text(json.dumps({"schema": SCHEMA, "key": "k", "artifacts": {}, "tools": os.devnull, key: value}))
    read_manifest(path)
    assert is_current(path, "k") is False


def test_a_manifest_that_is_nested_without_end_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(DEEP)
    assert read_manifest(tmp_path / FILE) is None


@examples(100)
@given(st.data())
def test_indexes_of_packs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store.open(tmp_path_factory.getbasetemp() / "packs")
    deb = make_deb(files=(tar_entry("./x", "y"),), compression="")
    store.add_bytes(deb.data)
    unpack(store, deb.locked)
    index = store.root / "packs" / f"{deb.sha256}.seal"
    whole = index.read_bytes()
    index.write_bytes(data.draw(mutated(whole) | st.binary(max_size=40)))
    found = load_pack(store, deb.locked)
    assert found is None or found.members
    index.write_bytes(whole)
