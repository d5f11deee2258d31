"""Butane beyond the recorded rows: scalars, merge keys, trees, sugar that meets what the user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_compactly, encode_plainly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.butane.mounts import escape
from firstboot.config.document import read
from firstboot.config.loaded import Document
from firstboot.config.resource import decompress_gzip
from firstboot.config.urls import decode_data_url

pytestmark = pytest.mark.unit


def document(text: str, directory: Path | None = None, version: str = "1.7.0", variant: str = "fcos") -> Document:
    whole = f"variant: {variant}\nversion: {version}\n{text}"
    return read(whole, "x", Surroundings(LocalFiles(directory), encode_compactly))


def compiled(text: str, directory: Path | None = None, **edition: str) -> dict[str, Any]:
    found = document(text, directory, **edition)
    assert found.errors == ()
    return found.compile()


def complaints(text: str, directory: Path | None = None, **edition: str) -> list[str]:
    return [
        f"{'.'.join(map(str, each.path))}: {each.message}" for each in document(text, directory, **edition).problems
    ]


def contents(resource: dict[str, Any]) -> bytes:
    data = decode_data_url(resource["source"])
    return decompress_gzip(data) if resource.get("compression") == "gzip" else data


@pytest.mark.parametrize(
    ("written", "mode"),
    [("0644", 0o644), ("0b110", 6), ("+0x1F", 31), ("1_0", 10), ("0888", 888), ("420.0", 420), ("4e2", 400)],
)
def test_modes_are_read_as_go_reads_them(written: str, mode: int) -> None:
    assert compiled(f"storage: {{files: [{{path: /a, mode: {written}}}]}}")["storage"]["files"][0]["mode"] == mode


@pytest.mark.parametrize("written", ['"0644"', "420.5", "yes", "08_8x", "[1]", "9223372036854775808"])
def test_what_is_no_whole_number_is_no_mode(written: str) -> None:
    found = complaints(f"storage: {{files: [{{path: /a, mode: {written}}}]}}")
    assert len(found) == 1
    assert found[0].startswith("storage.files.0.mode: ")


@pytest.mark.parametrize(
    ("written", "text"),
    [("0o17", b"0o17"), ("True", b"True"), ("1.50", b"1.50"), ("2001-01-01", b"2001-01-01"), ("!!binary aGk=", b"hi")],
)
def test_text_is_what_is_written(written: str, text: bytes) -> None:
    files = compiled(f"x: &v {written}\nstorage: {{files: [{{path: /a, contents: {{inline: *v}}}}]}}")
    assert contents(files["storage"]["files"][0]["contents"]) == text


def test_json_may_be_butane_as_well() -> None:
    found = read('{"variant": "fcos", "version": "1.5.0", "passwd": {"users": [{"name": 12, "gecos": true}]}}', "x")
    assert found.compile()["passwd"]["users"] == [{"gecos": "true", "name": "12"}]


def test_merge_keys_bring_in_settings_and_are_remarked_on() -> None:
    text = "x: &x {mode: 0600, overwrite: false}\nstorage: {files: [{<<: *x, path: /a, mode: 0640}]}"
    assert compiled(text)["storage"]["files"] == [{"path": "/a", "overwrite": False, "mode": 0o640}]
    assert [each.partition(":")[0] for each in complaints(text)] == ["x", "storage.files.0.<<"]


# --- contents ---


@pytest.mark.parametrize(
    ("data", "compression", "prefix", "result"),
    [
        (b"short", None, "data:,short", ""),
        (b"\xff\xfe\xfd\xfc" * 3, None, "data:;base64,", ""),
        (b"a" * 1000, None, "data:;base64,H4sI", "gzip"),
        (b"a" * 1000, "gzip", "data:,aaa", None),
    ],
)
def test_the_shortest_encoding_is_taken(data: bytes, compression: str | None, prefix: str, result: str | None) -> None:
    encoded = encode_compactly(data, compression)
    assert encoded.source.startswith(prefix)
    assert encoded.compression == result
    assert contents({"source": encoded.source, "compression": result}) == data
    assert decode_data_url(encode_plainly(data, compression).source) == data


def test_what_a_user_has_compressed_is_not_compressed_again(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 1000)
    text = "storage: {files: [{path: /a, contents: {local: f, compression: gzip}}]}"
    source = compiled(text, tmp_path)["storage"]["files"][0]["contents"]
    assert source["compression"] == "gzip"
    assert decode_data_url(source["source"]) == b"a" * 1000


def test_local_paths_stay_in_their_directory(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "out").write_text("x")
    (inside / "f").write_text("x")
    for name, right in (("f", True), ("/f", True), ("./a/../f", True), ("../out", False), ("a/../../out", False)):
        text = f"storage: {{files: [{{path: /a, contents: {{local: {name}}}}}]}}"
        assert bool(document(text, inside).errors) != right, name


# --- trees ---


def test_a_tree_becomes_files_and_links_and_not_directories(tmp_path: Path) -> None:
    tree = tmp_path / "t"
    (tree / "d" / "empty").mkdir(parents=True)
    (tree / "d" / "f").write_text("f")
    (tree / "run").write_text("#!")
    (tree / "run").chmod(0o750)
    (tree / "l").symlink_to("../away")
    storage = compiled("storage: {trees: [{local: t, path: /opt}]}", tmp_path)["storage"]
    assert [(each["path"], each["mode"]) for each in storage["files"]] == [("/opt/d/f", 0o644), ("/opt/run", 0o755)]
    assert storage["links"] == [{"path": "/opt/l", "target": "../away"}]
    assert "directories" not in storage
    owned = compiled("storage: {trees: [{local: t, path: /opt, user: {id: 5}, dir_mode: 0700}]}", tmp_path)["storage"]
    paths = [(each["path"], each["mode"], each["user"]) for each in owned["directories"]]
    assert paths == [(path, 0o700, {"id": 5}) for path in ("/opt", "/opt/d", "/opt/d/empty")]


def test_a_tree_fills_in_what_the_config_has_and_refuses_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "f").write_text("from the tree")
    file = compiled("storage: {trees: [{local: t}], files: [{path: /f, mode: 0600}]}", tmp_path)["storage"]["files"][0]
    assert (contents(file["contents"]), file["mode"]) == (b"from the tree", 0o600)
    taken = "storage: {trees: [{local: t}], links: [{path: /f, target: x}]}"
    assert complaints(taken, tmp_path) == ["storage.trees.0: /f: the config already has something else there"]


# --- what is made of filesystems, boot devices, quadlets ---


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "-"), ("/var//x/", "var-x"), ("/a-b", "a\\x2db"), ("/.x", "\\x2ex"), ("/é", "\\xc3\\xa9")],
)
def test_paths_are_escaped_as_systemd_does(path: str, name: str) -> None:
    assert escape(path) == name


def test_a_unit_of_the_users_overrides_that_of_a_mount() -> None:
    text = (
        "storage: {filesystems: [{device: /dev/vdb, path: /var/x, format: ext4, with_mount_unit: true}]}\n"
        "systemd: {units: [{name: var-x.mount, enabled: false}]}"
    )
    unit = compiled(text)["systemd"]["units"][0]
    assert unit["enabled"] is False
    assert "Where=/var/x\n" in unit["contents"]


def test_what_is_wrong_in_what_sugar_makes_points_at_the_sugar() -> None:
    text = "boot_device: {layout: x86_64, mirror: {devices: [/dev/vda, vdb]}}"
    assert complaints(text) == ["boot_device.mirror.devices.1: the path 'vdb' is not absolute"]


@pytest.mark.parametrize(
    ("quadlet", "said"),
    [
        ("{name: a.service, contents: x}", "systemd.quadlets.0.name"),
        ("{name: ../a.container, contents: x}", "systemd.quadlets.0.name"),
        ("{name: a@1.container, contents: x}", "systemd.quadlets.0.contents"),
        ("{name: a.container, dropins: [{name: x}]}", "systemd.quadlets.0.dropins.0.name"),
        ("{name: a.container, contents: x, contents_local: y}", "systemd.quadlets.0.contents_local"),
    ],
)
def test_quadlets_that_make_no_sense(quadlet: str, said: str) -> None:
    found = complaints(f"systemd: {{quadlets: [{quadlet}]}}", version="1.8.0-experimental")
    assert [each.partition(":")[0] for each in found] == [said]


def test_quadlets_are_files_in_our_own_variant() -> None:
    text = (
        "systemd: {quadlets: [{name: a.container, rootful: true, contents: x, dropins: [{name: b.conf, contents: y}]}]}"
    )
    files = compiled(text, variant="buildos", version="1.0.0")["storage"]["files"]
    assert [each["path"] for each in files] == [
        "/etc/containers/systemd/a.container",
        "/etc/containers/systemd/a.container.d/b.conf",
    ]


def test_a_config_inside_that_no_machine_would_take_is_told() -> None:
    inner = '{"ignition":{"version":"%s"},"storage":{"files":[{"path":"rel"}]}}'
    text = "ignition: {config: {merge: [{inline: '%s'}]}}"
    assert document(text % (inner % "3.6.0")).errors
    older = document(text % (inner % "3.4.0"))
    assert [each.severity for each in older.problems] == ["warning"]
    assert "the path 'rel' is not absolute" in older.problems[0].message
