"""Debs become packs; hostile and damaged ones do not."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import CapabilityError, SourceError
from builder.core.store import Store
from builder.debian import deb as deb_module
from builder.debian.deb import DebError
from builder.debian.pack import DamagedBlob, Pack, load_pack, unpack
from builder.debian.tarmembers import PackageMember, read_members
from builder.tree.node import Kind
from builder.tree.tar_headers import TarError

pytestmark = pytest.mark.unit


@pytest.fixture
def packed(debs: Any, put: Any, store: Store) -> Callable[..., Pack]:
    """The pack of a deb made of these tar entries."""

    def make(*files: bytes, **options: Any) -> Pack:
        return unpack(store, put(debs(files=files, **options)))

    return make


def paths(pack: Pack) -> list[str]:
    return [member.path for member in pack.members]


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_a_deb_is_read_with_its_control_files(packed: Any, tars: Any, compression: str) -> None:
    pack = packed(
        tars.directory("./etc/"),
        tars.entry("./etc/hello", "world", mode=0o4755, uid=3, gid=2**32 - 2, mtime=1_700_000_000),
        tars.link("./etc/link", "../up"),
        compression=compression,
        control_files={
            "postinst": b"#!/bin/sh\n\xff",
            "conffiles": b"/etc/hello\nremove-on-upgrade /etc/old\n",
        },
        Depends="libc6",
    )
    assert paths(pack) == ["/", "/etc", "/etc/hello", "/etc/link"]
    file, link = pack.members[2:]
    assert (file.kind, file.mode, file.uid, file.gid, file.mtime) == (
        Kind.FILE,
        0o4755,
        3,
        2**32 - 2,
        1_700_000_000,
    )
    assert (link.kind, link.target) == (Kind.SYMLINK, "../up")
    assert pack.read("/etc/hello") == b"world"
    assert pack.tar.read_bytes()[file.offset : file.offset + file.size] == b"world"
    assert pack.control["Depends"] == "libc6"
    assert pack.find_script("postinst") == "#!/bin/sh\n\udcff"
    assert pack.find_script("prerm") is None
    assert pack.list_conffiles() == ("/etc/hello",)
    with pytest.raises(DebError, match="hello has no file /etc/link"):
        pack.read("/etc/link")


def test_a_pack_is_made_once_and_read_back_the_same(packed: Any, store: Store, tars: Any) -> None:
    pack = packed(
        tars.entry("./caf\u00e9"), tars.entry(b"./\xff\xfe", "x"),
        tars.entry("./tty", kind=b"3", device=(5, 0)),
        control_files={"postinst": bytes(range(256))},
    )  # fmt: skip
    again = load_pack(store, pack.package)
    assert again == pack
    assert again is not None
    assert again.members[-1].device == (5, 0)
    store.locate_blob(pack.package.sha256).unlink()
    assert unpack(store, pack.package) == pack


def test_a_hard_link_is_another_name_of_the_same_bytes(packed: Any, tars: Any) -> None:
    pack = packed(
        tars.entry("./one", "data", mode=0o755, uid=7), tars.entry("./two", kind=b"1", link="./one"),
        tars.entry("./three", kind=b"1", link="two"),
    )  # fmt: skip
    one, two, three = pack.members[1:]
    assert two == one._replace(path="/two")
    assert three == one._replace(path="/three")


def test_members_for_others_and_an_odd_size_are_passed_over(debs: Any, put: Any, store: Store) -> None:
    def arrange(control: bytes, data: bytes) -> list[tuple[str, bytes]]:
        extra = [("_gpgbuilder", b"odd"), ("control.tar.xz/", control), ("_x", b""), ("data.tar.xz", data)]
        return [("debian-binary", b"2.0\n"), *extra, ("other", b"x")]

    assert unpack(store, put(debs(members=arrange))).control["Package"] == "hello"


def test_long_names_of_gnu_and_pax_are_read(packed: Any, tars: Any) -> None:
    long = "./" + "/".join(["d" * 100] * 3) + "/f"
    pax = "pax/" + "n" * 200
    record = f"path={pax}\n".encode()
    record = b"%d " % (len(record) + 4) + record
    more = b"18 uid=4294967294\n19 mtime=1700000000.5\n"[:0] + b"18 uid=4294967294\n"
    pack = packed(
        tars.entry("././@LongLink", long + "\0", kind=b"L"),
        tars.entry("./cut", "x", magic=b"ustar  \0"),
        tars.entry("././@LongLink", "t" * 300 + "\0", kind=b"K"),
        tars.link("./link", "cut"),
        tars.entry("./PaxHeaders/x", record + more, kind=b"x"),
        tars.entry("./short", "y"),
        tars.entry("name", "z", prefix=b"pre/fix"),
    )
    assert paths(pack)[1:] == [long[1:], "/link", "/" + pax, "/pre/fix/name"]
    assert pack.members[2].target == "t" * 300
    assert pack.members[3].uid == 2**32 - 2


HOSTILE = {
    "dot-dot": lambda t: t.entry("./../etc/passwd"),
    "dot-dot inside": lambda t: t.entry("./usr/../../etc/passwd"),
    "absolute": lambda t: t.entry("/etc/passwd"),
    "component of 256 bytes": lambda t: t.entry("././@LongLink", "x" * 256 + "\0", kind=b"L") + t.entry("x"),
    "component of 256 bytes in utf-8": lambda t: t.entry("././@L", "é" * 128 + "\0", kind=b"L") + t.entry("x"),
    "path of 5000 bytes": lambda t: t.entry("././@LongLink", "x/" * 2500 + "\0", kind=b"L") + t.entry("x"),
    "NUL in a long name": lambda t: t.entry("././@LongLink", "a\0b\0", kind=b"L") + t.entry("x"),
    "owner 2^32-1": lambda t: t.entry("./x", uid=2**32 - 1),
    "group 2^40": lambda t: t.entry("./x", gid=2**40),
    "negative owner": lambda t: t.entry("./x", fields={108: b"\xff" * 8}),
    "owner in words": lambda t: t.entry("./x", fields={108: b"root\0\0\0\0"}),
    "sparse": lambda t: t.entry("./x", kind=b"S"),
    "sparse in pax": lambda t: t.entry("./p", b"22 GNU.sparse.size=100\n"[:22] + b"", kind=b"x") + t.entry("./x"),
    "global pax": lambda t: t.entry("./p", b"10 path=x\n", kind=b"g") + t.entry("./x"),
    "pax attributes": lambda t: t.entry("./p", b"22 SCHILY.xattr.a.b=c\n", kind=b"x") + t.entry("./x"),
    "pax size in words": lambda t: t.entry("./p", b"13 size=many\n", kind=b"x") + t.entry("./x"),
    "pax cut": lambda t: t.entry("./p", b"99 path=x\n", kind=b"x") + t.entry("./x"),
    "pax without length": lambda t: t.entry("./p", b"path=x\n", kind=b"x") + t.entry("./x"),
    "pax of a terabyte": lambda t: t.entry("./p", kind=b"x", size=1 << 20) + bytes(1 << 20) + t.entry("./x"),
    "unknown kind": lambda t: t.entry("./x", kind=b"Z"),
    "link to nowhere": lambda t: t.link("./x", ""),
    "hard link out": lambda t: t.entry("./x", kind=b"1", link="../../etc/shadow"),
    "hard link to an absolute name": lambda t: t.entry("./x", kind=b"1", link="/etc/shadow"),
    "hard link to nothing": lambda t: t.entry("./x", kind=b"1", link="./y"),
    "hard link to a later member": lambda t: t.entry("./x", kind=b"1", link="./y") + t.entry("./y"),
    "hard link to a directory": lambda t: t.directory("./d") + t.entry("./x", kind=b"1", link="./d"),
    "hard link to a symlink": lambda t: t.link("./l", "/etc/shadow") + t.entry("./x", kind=b"1", link="./l"),
    "hard link to itself": lambda t: t.entry("./x", kind=b"1", link="./x"),
    "symlink then through it": lambda t: t.link("./d", "/etc") + t.entry("./d/passwd", "root"),
    "file then below it": lambda t: t.entry("./d") + t.entry("./d/x"),
    "a name twice": lambda t: t.entry("./x", "a") + t.entry("./x", "b"),
    "a directory, then a link": lambda t: t.directory("./d") + t.link("./d", "/etc"),
    "the root as a link": lambda t: t.link("./", "/etc"),
    "the root as a file": lambda t: t.entry("."),
    "device with impossible numbers": lambda t: t.entry("./x", kind=b"3", device=(1 << 20, 0)),
    "a directory with content": lambda t: t.entry("./d", "x", kind=b"5"),
    "a member larger than the archive": lambda t: t.entry("./x", size=1 << 40),
    "a negative size": lambda t: t.entry("./x", fields={124: b"\xff" * 12}),
    "an impossible size": lambda t: t.entry("./x", fields={124: b"\x80" + b"\x7f" * 11}),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_deb_is_refused_by_name(packed: Any, tars: Any, store: Store, name: str) -> None:
    with pytest.raises(DebError, match=r"hello 1\.0-1: ") as caught:
        packed(HOSTILE[name](tars))
    assert caught.value.exit_code == 6
    assert list((store.root / "packs").iterdir()) == []


def test_names_of_255_bytes_and_odd_bytes_are_fine(packed: Any, tars: Any) -> None:
    name = "n" * 255
    pack = packed(tars.entry("././@LongLink", f"./{name}\0", kind=b"L"), tars.entry("x"), tars.entry("./a\nb\\c'd\""))
    assert paths(pack)[1:] == ["/" + name, "/a\nb\\c'd\""]


def test_devices_and_setuid_are_read_for_others_to_judge(packed: Any, tars: Any) -> None:
    pack = packed(
        tars.entry("./null", kind=b"3", device=(1, 3)),
        tars.entry("./fifo", kind=b"6"),
        tars.entry("./su", mode=0o4755),
    )
    assert [(m.kind, m.device, m.mode) for m in pack.members[1:]] == [
        (Kind.CHARACTER, (1, 3), 0o644), (Kind.FIFO, (0, 0), 0o644), (Kind.FILE, (0, 0), 0o4755)
    ]  # fmt: skip


def test_too_many_members_are_refused(tars: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.debian.tarmembers.MAX_MEMBERS", 3)
    members = [tars.entry(f"./{i}") for i in range(4)]
    assert len(read_members(tars.tar(*members[:3]))) == 3
    with pytest.raises(TarError, match="more than 3 members"):
        read_members(tars.tar(*members))


def test_a_header_with_a_wrong_checksum_or_cut_short_is_refused(tars: Any) -> None:
    good = tars.tar(tars.entry("./x", "data"))
    with pytest.raises(TarError, match="checksum"):
        read_members(good.replace(b"./x", b"./y", 1))
    with pytest.raises(TarError, match="in the middle of a header"):
        read_members(good[:100])
    with pytest.raises(TarError, match="in the middle of a member"):
        read_members(good[:514])
    assert read_members(b"") == []


def test_an_archive_without_its_zeros_at_the_end_is_read(tars: Any) -> None:
    assert [m.path for m in read_members(tars.entry("./x", "data"))] == ["/x"]


def bomb(store: Store, put: Any, debs: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    monkeypatch.setattr(deb_module, "SLACK", 1 << 16)
    monkeypatch.setattr(deb_module, "MAX_CONTROL", 1 << 16)
    with pytest.raises(DebError, match="unpacks to more than") as caught:
        unpack(store, put(debs(**options)))
    assert "hello" in str(caught.value)
    assert list((store.root / "packs").iterdir()) == []


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_a_bomb_is_stopped(
    store: Store, put: Any, debs: Any, tars: Any, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    def arrange(control: bytes, data: bytes) -> list[tuple[str, bytes]]:
        end = f".{compression}" if compression else ""
        parts = [("debian-binary", b"2.0\n"), (f"control.tar{end}", control), (f"data.tar{end}", data)]
        return parts if compression else parts[:2]

    if compression:
        bomb(
            store,
            put,
            debs,
            monkeypatch,
            files=(tars.entry("./x", bytes(5_000_000)),),
            compression=compression,
            members=arrange,
        )
    else:
        files = {"templates": bytes(5_000_000)}
        bomb(store, put, debs, monkeypatch, control_files=files, compression="", members=arrange)


def test_a_bomb_among_the_control_files_is_stopped(
    store: Store, put: Any, debs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb(store, put, debs, monkeypatch, control_files={"templates": bytes(5_000_000)})


def test_a_claim_of_any_size_has_a_ceiling(
    store: Store, put: Any, debs: Any, tars: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deb_module, "MAX_DATA", 1 << 16)
    with pytest.raises(DebError, match="unpacks to more than 65536 bytes"):
        unpack(store, put(debs(files=(tars.entry("./x", bytes(70_000)),), Installed_Size="99999999999")))


def test_xz_that_wants_gigabytes_of_memory_is_refused(store: Store, put: Any, debs: Any) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]

    def arrange(control: bytes, data: bytes) -> list[tuple[str, bytes]]:
        # The dictionary's size stands in the block header; the data itself is small.
        packed = lzma.compress(bytes(2048), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
        at = packed.index(b"\x21\x01") + 2
        header = bytearray(packed[12:24])
        header[at - 12] = 38  # 2^(38/2+11) = 1 GiB, xz's file format 5.3.1
        import zlib

        header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
        changed = packed[:12] + bytes(header) + packed[24:]
        return [("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", changed)]

    assert filters
    with pytest.raises(DebError, match="cannot be decompressed: Memory usage limit"):
        unpack(store, put(debs(members=arrange)))


MALFORMED = {
    "empty": lambda d: b"",
    "no ar": lambda d: b"PK\3\4" + d,
    "cut in a header": lambda d: d[:30],
    "cut in control": lambda d: d[:150],
    "cut in data": lambda d: d[:-40],
    "another version": lambda d: d.replace(b"2.0\n", b"3.0\n", 1),
    "no version": lambda d: d.replace(b"debian-binary", b"fedora-binary", 1),
    "header without its end": lambda d: d.replace(b"`\n", b"'\n", 1),
    "size in words": lambda d: d[:56] + b"many      " + d[66:],
    "no control": lambda d: d.replace(b"control.tar.xz", b"contrail.tar.x", 1),
    "no data": lambda d: d.replace(b"data.tar.xz", b"date.tar.xz", 1),
    "unknown compression": lambda d: d.replace(b"data.tar.xz", b"data.tar.qz", 1),
    "wrong compression": lambda d: d.replace(b"data.tar.xz", b"data.tar.gz", 1),
    "wrong compression, bz2": lambda d: d.replace(b"data.tar.xz ", b"data.tar.bz2", 1),
    "broken xz": lambda d: d[:-60] + bytes(20) + d[-40:],
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_deb_is_refused(debs: Any, store: Store, name: str) -> None:
    import hashlib

    deb = debs()
    data = MALFORMED[name](deb.data)
    sha256 = hashlib.sha256(data).hexdigest()
    store.add_bytes(data)
    with pytest.raises(DebError, match="hello"):
        unpack(store, replace(deb.locked, sha256=sha256, size=len(data)))
    assert list((store.root / "packs").iterdir()) == []


@pytest.mark.parametrize("tail", [b"x", b"x" * 300_000])
def test_something_after_the_end_of_the_compressed_data_is_refused(
    store: Store, put: Any, debs: Any, tail: bytes
) -> None:
    def arrange(control: bytes, data: bytes) -> list[tuple[str, bytes]]:
        return [("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", data + tail)]

    with pytest.raises(DebError, match="something after its end"):
        unpack(store, put(debs(members=arrange)))


def test_zstd_is_read_or_refused_with_a_reason(store: Store, put: Any, debs: Any) -> None:
    def arrange(control: bytes, data: bytes) -> list[tuple[str, bytes]]:
        return [("debian-binary", b"2.0\n"), ("control.tar.zst", control), ("data.tar.zst", data)]

    with pytest.raises((CapabilityError, DebError), match="zst"):
        unpack(store, put(debs(members=arrange)))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [(lambda t: t.link("./postinst", "/etc/shadow"), "no plain file"),
     (lambda t: t.directory("./d"), "no plain file"),
     (lambda t: t.entry("./d/postinst"), "no plain file"), (lambda t: t.entry("./../x"), "not a name")],
)  # fmt: skip
def test_control_files_are_plain_files(store: Store, put: Any, debs: Any, tars: Any, entry: Any, reason: str) -> None:
    control = tars.entry("./control", "Package: hello\nVersion: 1.0-1\nArchitecture: all\n")

    def arrange(_: bytes, data: bytes) -> list[tuple[str, bytes]]:
        return [
            ("debian-binary", b"2.0\n"),
            ("control.tar", tars.tar(control, entry(tars))),
            ("data.tar.xz", data),
        ]

    with pytest.raises(DebError, match=reason):
        unpack(store, put(debs(members=arrange)))


@pytest.mark.parametrize("text", [None, "Package hello", "Package: other\nVersion: 1.0-1\nArchitecture: all\n"])
def test_a_deb_that_is_not_what_it_should_be_is_refused(
    store: Store, put: Any, debs: Any, tars: Any, text: str | None
) -> None:
    control = tars.tar(tars.entry("./control", text)) if text is not None else tars.tar()

    def arrange(_: bytes, data: bytes) -> list[tuple[str, bytes]]:
        return [("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar.xz", data)]

    with pytest.raises(DebError, match="hello"):
        unpack(store, put(debs(members=arrange)))


# --- the store ------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_deb_is_noticed_and_the_deb_removed(store: Store, put: Any, debs: Any, tars: Any) -> None:
    for position in (2, 70, 200, -30):
        package = put(debs(files=(tars.entry("./x", "data" * 100),)))
        blob = store.locate_blob(package.sha256)
        data = bytearray(blob.read_bytes())
        data[position] ^= 1
        blob.write_bytes(data)
        with pytest.raises(DamagedBlob, match="was damaged; it has been removed"):
            unpack(store, package)
        assert not blob.exists()
        assert list((store.root / "packs").iterdir()) == []


@pytest.mark.parametrize("fault", ["missing", "short", "empty", "symlink"])
def test_a_deb_that_is_not_whole_is_removed(store: Store, put: Any, debs: Any, tmp_path: Path, fault: str) -> None:
    package = put(debs())
    blob = store.locate_blob(package.sha256)
    data = blob.read_bytes()
    blob.unlink()
    if fault == "symlink":
        (tmp_path / "x").write_bytes(data)
        blob.symlink_to(tmp_path / "x")
    elif fault != "missing":
        blob.write_bytes(data[:20] if fault == "short" else b"")
    with pytest.raises(DamagedBlob, match="is not whole in the store"):
        unpack(store, package)
    assert not blob.exists()
    assert not blob.is_symlink()


@pytest.mark.parametrize(
    "fault", ["tar bit", "tar short", "tar gone", "index bit", "index short", "index empty", "old format"]
)
def test_a_damaged_pack_is_made_again_with_a_warning(
    packed: Any, store: Store, tars: Any, console: Any, fault: str
) -> None:
    pack = packed(tars.entry("./x", "data"))
    index = pack.tar.with_suffix(".seal")
    what, how = fault.split()
    victim = pack.tar if what == "tar" else index
    data = bytearray(victim.read_bytes())
    match how:
        case "bit":
            data[600 if what == "tar" else 90] ^= 1
            victim.write_bytes(data)
        case "short":
            victim.write_bytes(data[:-7])
        case "empty":
            victim.write_bytes(b"")
        case "gone":
            victim.unlink()
        case "format":
            victim.write_bytes(bytes(data).replace(b"packs 2", b"packs 0", 1))
    assert load_pack(store, pack.package) is None
    assert unpack(store, pack.package, console=console) == pack
    assert any("unpacking it again" in line for line in console.said)
    assert load_pack(store, pack.package) == pack


def test_a_pack_replaced_by_a_link_is_not_used(packed: Any, store: Store, tars: Any, tmp_path: Path) -> None:
    pack = packed(tars.entry("./x", "data"))
    (tmp_path / "x.tar").write_bytes(pack.tar.read_bytes())
    pack.tar.unlink()
    pack.tar.symlink_to(tmp_path / "x.tar")
    assert load_pack(store, pack.package) is None


def test_a_store_that_cannot_be_written_says_so(store: Store, put: Any, debs: Any) -> None:
    package = put(debs())
    (store.root / "packs").write_text("in the way")
    with pytest.raises(CapabilityError, match="cannot use the store"):
        unpack(store, package)


def test_the_index_of_a_pack_names_no_place(packed: Any, store: Store, tars: Any) -> None:
    pack = packed(tars.entry("./x", "data"))
    body = pack.tar.with_suffix(".seal").read_bytes().partition(b"\n")[2]
    assert str(store.root) not in body.decode()
    assert sorted(json.loads(body)["value"]) == ["control", "files", "members"]


def test_errors_of_reading_are_source_errors() -> None:
    assert issubclass(DebError, SourceError)
    assert issubclass(DamagedBlob, SourceError)
    assert PackageMember._fields[0] == "path"
