"""What a repository says of versions, and what is refused in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.support.fuzz import examples, mutated
from update.documents import (
    Channel,
    ChannelRelease,
    Delta,
    Release,
    ReleaseExtension,
    ReleasePart,
    Rollout,
    TransferFile,
    format_catalogue,
    format_channel,
    format_release,
    make_channel_path,
    make_release_path,
    parse_channel,
    parse_release,
)
from update.errors import BadDocument
from update.times import format_time, parse_time

pytestmark = pytest.mark.unit

HASH = "0123456789abcdef" * 4
UUID = "01234567-89ab-cdef-0123-456789abcdef"


def part(name: str, uuid: str | None = UUID) -> ReleasePart:
    return ReleasePart(4096, HASH, uuid, (TransferFile(f"{name}.zst", 100, HASH),))


RELEASE = Release(
    "web-1",
    "1.1~rc1",
    "amd64",
    HASH,
    {"root": part("root"), "verity": part("verity"), "signature": part("signature", None), "uki": part("uki", None)},
    (Delta("1.0", "root", "root.from-1.0.delta", 10, HASH, 4096, HASH, "copy-zstd"),),
)
CHANNEL = Channel(
    "web-1",
    "amd64",
    "stable",
    (
        ChannelRelease("1.0", 1_700_000_000),
        ChannelRelease(
            "1.1~rc1",
            1_700_000_001,
            minimum="0.9",
            maximum="1.0",
            barrier=True,
            dead_end="made for one board\nsee https://example.org",
            rollout=Rollout(1_700_000_100, 86_400),
            notes="größer",
        ),
    ),
)


def test_a_release_is_read_as_it_was_written() -> None:
    assert parse_release(format_release(RELEASE)) == RELEASE
    assert list(json.loads(format_release(RELEASE))["parts"]) == ["root", "verity", "signature", "uki"]


def test_a_channel_is_read_as_it_was_written_and_sorted() -> None:
    assert parse_channel(format_channel(CHANNEL)) == CHANNEL
    turned = CHANNEL._replace(releases=CHANNEL.releases[::-1])
    assert format_channel(turned) == format_channel(CHANNEL)


def test_parts_come_in_the_order_in_which_they_are_written_to_a_machine() -> None:
    document = json.loads(format_release(RELEASE))
    document["parts"] = dict(reversed(document["parts"].items()))
    assert list(parse_release(json.dumps(document).encode()).parts) == ["root", "verity", "signature", "uki"]


def test_keys_of_newer_publishers_are_ignored_and_their_formats_are_not() -> None:
    document = json.loads(format_release(RELEASE))
    document["mood"] = document["parts"]["root"]["mood"] = "good"
    assert parse_release(json.dumps(document).encode()) == RELEASE
    document["format"] = 2
    with pytest.raises(BadDocument, match=r"release.json: format: is 2, and this program reads format 1"):
        parse_release(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("name",), "../web", "name: is not an image's name: '../web'"),
        (("name",), None, "name: is not an image's name: None"),
        (("version",), "1/../..", "version: is not a version"),
        (("version",), 1.0, "version: is not a version: 1.0"),
        (("arch",), "amd64/..", "arch: is not an architecture"),
        (("roothash",), HASH.upper(), "roothash: is not 64 hexadecimal digits"),
        (("parts",), [], "parts: is no object"),
        (("parts", "kernel"), {}, "parts.kernel: is none of the parts root, verity, signature, uki"),
        (("parts", "root"), None, "parts.root: is no object"),
        (("parts", "root", "size"), 0, "parts.root.size: is 0"),
        (("parts", "root", "size"), -1, "parts.root.size: is no whole number from 0 to"),
        (("parts", "root", "size"), True, "parts.root.size: is no whole number"),
        (("parts", "root", "size"), 1 << 60, "parts.root.size: is no whole number"),
        (("parts", "root", "size"), 4096.0, "parts.root.size: is no whole number"),
        (("parts", "root", "uuid"), UUID.upper(), "parts.root.uuid: is no UUID in lower case"),
        (("parts", "root", "uuid"), 7, "parts.root.uuid: is no UUID in lower case: 7"),
        (("parts", "root", "files"), [], "parts.root.files: is empty"),
        (("parts", "root", "files"), "root", "parts.root.files: is no list"),
        (("parts", "root", "files"), [{}] * 10_001, "parts.root.files: has more than 10000 entries"),
        (
            ("parts", "root", "files", 0, "name"),
            "../../etc/passwd",
            r"parts.root.files\[0\].name: is not a file's name",
        ),
        (("parts", "root", "files", 0, "name"), ".hidden", r"parts.root.files\[0\].name: is not a file's name"),
        (("parts", "root", "files", 0, "name"), "uki.zst", "two files have the name uki.zst"),
        (("parts", "root", "files", 0, "name"), "release.json", "a part has the name release.json"),
        (("parts", "root", "files", 0, "name"), "a\x1b[2J", r"name: is not a file's name: 'a\\x1b\[2J'"),
        (("parts", "root", "files", 0, "compression"), "xz", r"compression: is not 'zstd': 'xz'"),
        (("deltas", 0, "part"), "kernel", r"deltas\[0\].part: is not one of root"),
        (("deltas", 0, "from"), "1.1~rc1", r"deltas\[0\].from: is the version itself"),
        (("deltas", 0, "base"), None, r"deltas\[0\].base: is no object"),
        (("deltas", 0, "method"), "sh -c", r"deltas\[0\].method: is not a method's name"),
    ],
)
def test_a_bad_release_is_refused_with_the_key(path: tuple[str | int, ...], value: Any, message: str) -> None:
    document = json.loads(format_release(RELEASE))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(BadDocument, match=message):
        parse_release(json.dumps(document).encode())


@pytest.mark.parametrize(
    "missing", ["format", "name", "version", "arch", "roothash", "parts", "parts.root", "parts.uki"]
)
def test_a_release_without_something_is_refused(missing: str) -> None:
    document = json.loads(format_release(RELEASE))
    *way, last = missing.split(".")
    for key in way:
        document = document[key]
    del document[last]
    whole = document if not way else {**json.loads(format_release(RELEASE)), "parts": document}
    with pytest.raises(BadDocument, match=f"{last}: is missing|parts: has no {last}"):
        parse_release(json.dumps(whole).encode())


def test_a_part_is_made_by_one_delta_from_a_version() -> None:
    delta = RELEASE.deltas[0]
    with pytest.raises(BadDocument, match=r"deltas has root from 1\.0 twice"):
        parse_release(format_release(RELEASE._replace(deltas=(delta, delta._replace(name="other")))))
    without = {name: part for name, part in RELEASE.parts.items() if name != "signature"}
    bad = RELEASE._replace(parts=without, deltas=(delta._replace(part="signature"),))
    with pytest.raises(BadDocument, match="there is no part signature"):
        parse_release(format_release(bad))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "", r"releases\[1\].version: is not a version"),
        ("version", "1.00", r"releases: 1.0 and 1.00 are the same version"),
        ("published", "2026-11-28", r"releases\[1\].published: is not a time in UTC"),
        ("published", "2026-13-28T00:00:00Z", r"releases\[1\].published: is not a time in UTC"),
        ("published", 5, r"releases\[1\].published: is not a time in UTC, like .*: 5"),
        ("minimum", 1, r"releases\[1\].minimum: is not a version"),
        ("barrier", "yes", r"releases\[1\].barrier: is neither true nor false: 'yes'"),
        ("dead_end", True, r"releases\[1\].dead_end: is no text: True"),
        ("dead_end", "\x1b[31m", r"releases\[1\].dead_end: is empty, or has characters"),
        ("notes", "x" * 10_001, r"releases\[1\].notes: has more than 10000 characters"),
        ("rollout", {"start": "2026-11-28T00:00:00Z"}, r"releases\[1\].rollout.duration: is missing"),
        ("rollout", {"start": "2026-11-28T00:00:00Z", "duration": 1 << 40}, "duration: is no whole number"),
    ],
)
def test_a_bad_channel_is_refused_with_the_key(key: str, value: Any, message: str) -> None:
    document = json.loads(format_channel(CHANNEL))
    document["releases"][1][key] = value
    with pytest.raises(BadDocument, match=message):
        parse_channel(json.dumps(document).encode(), "stable.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "x: is no object"),
        (b"null", "x: is no object"),
        (b'{"format": 1, "format": 1}', "the key 'format' is there twice"),
        (b'{"format": NaN}', "NaN is no number of JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": ' + b"1" * 10_000 + b"}", "is not JSON"),
        (b" " * (4 << 20) + b"{}", "and 4194304 are read at most"),
        (b'{"format": "1"}', "format: is '1', and this program"),
        (b'{"format": true}', "format: is True, and this program"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, message: str) -> None:
    for parse in (parse_release, parse_channel):
        with pytest.raises(BadDocument, match=message):
            parse(data, "x")


@given(mutated(format_release(RELEASE)))
@examples(200)
def test_any_release_is_read_or_refused(data: bytes) -> None:
    try:
        found = parse_release(data)
    except BadDocument:
        return
    assert parse_release(format_release(found)) == found


@given(mutated(format_channel(CHANNEL)))
@examples(200)
def test_any_channel_is_read_or_refused(data: bytes) -> None:
    try:
        found = parse_channel(data)
    except BadDocument:
        return
    assert parse_channel(format_channel(found)) == found


def test_a_rollout_grows_with_time() -> None:
    rollout = Rollout(1000, 100)
    shares = [rollout.compute_share(now) for now in (0, 999, 1000, 1025, 1100, 10_000)]
    assert shares == [0.0, 0.0, 0.0, 0.25, 1.0, 1.0]
    assert Rollout(1000, 0).compute_share(1000) == 1.0


def test_where_documents_lie() -> None:
    assert make_release_path("web", "amd64", "1.0") == "web/amd64/1.0/release.json"
    assert make_release_path("web", "amd64", "1.0", "root.zst") == "web/amd64/1.0/root.zst"
    assert make_channel_path("web", "amd64", "stable") == "web/amd64/channels/stable.json"


@pytest.mark.parametrize("seconds", [-62_135_596_800, 0, 1_700_000_000, 253_402_300_799])
def test_a_time_is_read_as_it_was_written(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


STORE = ReleaseExtension("store", "sysext", "Keys and values.", part("extension-store", None))


def test_a_version_may_have_extensions() -> None:
    release = RELEASE._replace(extensions=(STORE, STORE._replace(name="x", description="", part=part("x", None))))
    assert parse_release(format_release(release)) == release
    assert release.find_extension("store") == STORE
    assert release.find_extension("other") is None
    # Without any it is what it was before there were such.
    assert b"extensions" not in format_release(RELEASE)


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ((STORE, STORE._replace(part=part("other", None))), "extensions has store twice"),
        ((STORE._replace(part=part("root")),), "two files have the name root.zst"),
        ((STORE._replace(type="portable"),), "one of sysext, confext"),
        ((STORE._replace(name="../store"),), "an extension's name"),
        ((STORE._replace(description="\x1b[2J"),), "cannot be printed"),
    ],
)
def test_an_extension_that_makes_no_sense_is_refused(extensions: tuple[ReleaseExtension, ...], message: str) -> None:
    with pytest.raises(BadDocument, match=message):
        parse_release(format_release(RELEASE._replace(extensions=extensions)))


def test_the_catalogue_says_which_versions_have_which_extension() -> None:
    newer = RELEASE._replace(
        version="1.2",
        extensions=(STORE._replace(description="Newer words."), STORE._replace(name="tools", type="confext")),
    )
    catalogue = json.loads(format_catalogue("web-1", "amd64", [RELEASE._replace(extensions=(STORE,)), newer]))
    assert (catalogue["name"], catalogue["arch"], catalogue["format"]) == ("web-1", "amd64", 1)
    store, tools = catalogue["extensions"]
    assert (store["name"], store["type"], store["description"]) == ("store", "sysext", "Newer words.")
    assert store["versions"] == [
        {"version": "1.1~rc1", "size": 4096, "transfer": 100},
        {"version": "1.2", "size": 4096, "transfer": 100},
    ]
    assert (tools["name"], [row["version"] for row in tools["versions"]]) == ("tools", ["1.2"])
