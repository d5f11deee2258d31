"""Artifacts: fetched once, by hash and signature; unpacked without trusting the archive; placed; told in the lock."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from builder.artifacts.locking import (
    describe_artifacts,
    fetch_artifacts,
    find_stale,
    list_carried,
    lock_artifacts,
)
from builder.artifacts.place import place_artifacts
from builder.artifacts.placed_artifact import ArchiveSelection, list_placed
from builder.artifacts.unpack import ArchiveError, unpack_archive
from builder.core.architecture import Arch
from builder.core.console import QuietConsole
from builder.core.errors import BuildError, SourceError
from builder.core.store import Store
from builder.debian.lock import Lock
from builder.definition.load import load, load_container
from builder.definition.resolved import Resolved
from builder.outputs.sbom import make_image_sbom
from builder.signatures.pem import parse_private_key
from builder.tree.node import Kind, make_directory, make_file, make_symlink
from builder.tree.tree import Tree
from firstboot.config.oci.manifests import EMPTY, TITLE
from tests.support.registry import MANIFEST, ImageParts, RegistryServer, describe
from tests.support.users import REPOSITORY
from vm.fakes.web import WebServer

if TYPE_CHECKING:
    from conftest import FakeTools

pytestmark = pytest.mark.unit

TOOL = b"\x7fELF a tool\n"
SHA256 = hashlib.sha256(TOOL).hexdigest()
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Web:
    """A server on loopback: path -> content, and what was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            data = site.files.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Resolved]:
    monkeypatch.chdir(tmp_path)

    def resolve(artifacts: str) -> Resolved:
        (tmp_path / "os.yaml").write_text(f"name: demo\nversion: 1.0.0\nartifacts:\n{artifacts}")
        return load(tmp_path / "os.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved

    return resolve


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def lock_of(resolved: Resolved, store: Store, old: Lock | None = None, *, offline: bool = False) -> Lock:
    rows = lock_artifacts(resolved, store, QuietConsole(), old, offline=offline)
    return Lock("0" * 64, "amd64", "trixie", artifacts=rows)


def place(resolved: Resolved, lock: Lock, store: Store, tools: FakeTools, tree: Tree | None = None) -> Tree:
    tree = Tree() if tree is None else tree
    place_artifacts(tree, list_placed(resolved.artifacts, lock, "image"), store, tools)
    return tree


def test_an_artifact_of_a_url_is_fetched_once_and_placed(
    resolve: Callable[[str], Resolved], web: Web, store: Store, fake_tools: FakeTools
) -> None:
    web.files["/tool"] = TOOL
    resolved = resolve(f"  - {{name: tool, url: {web.url}/tool, sha256: {SHA256}, path: /usr/bin/tool}}\n")
    lock = lock_of(resolved, store)
    assert Lock.parse(lock.render(), "os.lock") == lock
    assert '"key"' not in lock.render()
    assert lock_of(resolved, store, lock, offline=True) == lock
    fetch_artifacts(resolved, lock, store, QuietConsole(), offline=True)
    node = place(resolved, lock, store, fake_tools).require("/usr/bin/tool")
    assert (node.mode, node.uid, node.gid, node.content.read()) == (0o755, 0, 0, TOOL)
    assert node.origin == "artifact:tool"
    assert web.asked == ["/tool"]
    assert [(each.sha256, each.size) for each in list_carried(lock, store)] == [(SHA256, len(TOOL))]


def test_another_hash_and_a_url_that_leads_nowhere_are_told_at_their_line(
    resolve: Callable[[str], Resolved], web: Web, store: Store
) -> None:
    web.files["/tool"] = b"something else"
    entry = "  - name: tool\n    url: {}\n    sha256: {}\n    path: /usr/bin/tool\n"
    for path, reason in (("/tool", f"has sha256 {hashlib.sha256(b'something else').hexdigest()}"), ("/none", "404")):
        resolved = resolve(entry.format(web.url + path, SHA256))
        with pytest.raises(SourceError) as caught:
            lock_of(resolved, store)
        assert "os.yaml:5:10: cannot download artifact tool" in str(caught.value)
        assert reason in str(caught.value)
        assert not store.has_blob(SHA256)
        with pytest.raises(SourceError, match=r"os.yaml:5:10: this is not in the store, and downloading is off"):
            lock_of(resolved, store, offline=True)


def make_artifact(*files: tuple[str, bytes]) -> ImageParts:
    """What 'oras push' makes of files."""
    layers = [describe(data, "application/octet-stream", annotations={TITLE: name}) for name, data in files]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(b"{}", EMPTY), "layers": layers}
    return ImageParts(json.dumps(document).encode(), b"{}", tuple(data for _, data in files))


def test_an_artifact_of_a_registry_is_locked_by_the_file_that_its_tag_led_to(
    resolve: Callable[[str], Resolved], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with WebServer() as web:
        registry = RegistryServer(web)
        registry.add("tool", "1", make_artifact(("tool", TOOL)))
        entry = f"  - {{name: tool, url: 'oci://{registry.host}/tool:1', path: /usr/bin/tool}}\n"
        resolved = resolve(entry)
        lock = lock_of(resolved, store)
        assert [(row.sha256, row.size) for row in lock.artifacts] == [(SHA256, len(TOOL))]
        # The tag moves: another store gets what was locked; who updates gets what is there.
        registry.add("tool", "1", make_artifact(("tool", b"newer")))
        fetch_artifacts(resolved, lock, other := Store.open(tmp_path / "other"), QuietConsole())
        assert other.has_blob(SHA256, len(TOOL))
        assert lock_of(resolved, store, lock) == lock
        (row,) = lock_artifacts(resolved, store, QuietConsole(), lock, ["tool"])
        assert row.sha256 == hashlib.sha256(b"newer").hexdigest()
        # Several files, a wrong hash, no such tag.
        registry.add("tool", "2", make_artifact(("a", b"A"), ("b", b"B")))
        with pytest.raises(SourceError, match=r"os.yaml:4:23: (?s:.*)has 2 files, and nothing says which is meant"):
            lock_of(resolve(entry.replace("tool:1", "tool:2")), store)
        (row,) = lock_of(resolve(entry.replace("tool:1", "tool:2#b")), store).artifacts
        assert row.sha256 == hashlib.sha256(b"B").hexdigest()
        with pytest.raises(SourceError, match="has sha256 "):
            lock_of(resolve(entry.replace("path:", f"sha256: '{64 * '0'}', path:")), store)
        with pytest.raises(SourceError, match=r"os.yaml:4:23: (?s:.*)tool:3"):
            lock_of(resolve(entry.replace("tool:1", "tool:3")), store)


def test_a_file_is_locked_by_its_content(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    (tmp_path / "data").write_bytes(TOOL)
    resolved = resolve("  - {name: data, file: data, path: /etc/data, mode: 0600, owner: '7:8'}\n")
    lock = lock_of(resolved, store)
    assert [(row.sha256, row.size, row.origin) for row in lock.artifacts] == [(SHA256, len(TOOL), "data")]
    node = place(resolved, lock, store, fake_tools).require("/etc/data")
    assert (node.mode, node.uid, node.gid) == (0o600, 7, 8)
    assert find_stale(lock, resolved) == []
    (tmp_path / "data").write_bytes(b"changed")
    assert find_stale(lock, resolved) == [
        f"data: data has sha256 {hashlib.sha256(b'changed').hexdigest()}, locked {SHA256}"
    ]
    new = lock_of(resolved, store, lock)
    assert describe_artifacts(lock, new) == [
        f"artifact data: {SHA256[:12]} -> {hashlib.sha256(b'changed').hexdigest()[:12]}"
    ]
    resolved = resolve(f"  - {{name: data, file: data, path: /etc/data, sha256: {SHA256}}}\n")
    with pytest.raises(SourceError, match=r"os.yaml:4:55: data has sha256"):
        lock_of(resolved, store)


def test_who_must_have_signed_is_looked_at_when_it_is_locked_and_when_it_is_placed(
    resolve: Callable[[str], Resolved], web: Web, tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    (tmp_path / "key.pub").write_bytes(PUBLIC)
    web.files |= {"/tool": TOOL, "/tool.sig": parse_private_key(PRIVATE).sign(TOOL)}
    entry = (
        f"  - {{name: tool, url: {web.url}/tool, sha256: {SHA256}, path: /usr/bin/tool, signature: {{key: key.pub}}}}\n"
    )
    resolved = resolve(entry)
    lock = lock_of(resolved, store)
    assert web.asked == ["/tool", "/tool.sig"]
    assert len(list_carried(lock, store)) == 2
    place(resolved, lock, store, fake_tools)
    # Another key beside the definition: the lock is stale, and a build that does not look at that refuses as well.
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pub").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert find_stale(lock, resolved) == ["tool: another key must have signed it"]
    with pytest.raises(
        SourceError, match=r"artifact tool is not signed by key.pub: the signature is not by the Ed25519"
    ):
        place(resolved, lock, store, fake_tools)
    with pytest.raises(SourceError, match=r"the artifact is not signed by key.pub"):
        lock_of(resolved, store, lock)
    del web.files["/tool.sig"]
    with pytest.raises(SourceError, match=r"there is no signature of the artifact(?s:.*)tool.sig: 404"):
        lock_of(resolved, store, lock)
    bare = replace(lock, artifacts=(replace(lock.artifacts[0], signature=""),))
    with pytest.raises(SourceError, match="has no signature in the store"):
        place(resolved, bare, store, fake_tools)


def test_a_signature_may_lie_beside_the_definition(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store
) -> None:
    (tmp_path / "key.pub").write_bytes(PUBLIC)
    (tmp_path / "data").write_bytes(TOOL)
    (tmp_path / "data.sig").write_bytes(parse_private_key(PRIVATE).sign(TOOL))
    entry = "  - {name: data, file: data, path: /etc/data, signature: {key: key.pub, file: data.sig}}\n"
    (row,) = lock_of(resolve(entry), store).artifacts
    assert (row.signature, row.key) == tuple(
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("data.sig", "key.pub")
    )


def test_damage_in_the_store_is_noticed(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    (tmp_path / "data").write_bytes(TOOL)
    resolved = resolve("  - {name: data, file: data, path: /etc/data}\n")
    lock = lock_of(resolved, store)
    store.locate_blob(SHA256).write_bytes(b"\x7fELF a tooL\n")
    with pytest.raises(SourceError, match="artifact data in the store is not whole; it has been removed"):
        place(resolved, lock, store, fake_tools)
    fetch_artifacts(resolved, lock, store, QuietConsole(), offline=True)
    place(resolved, lock, store, fake_tools)


def test_an_owner_is_looked_up_in_the_image(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    (tmp_path / "data").write_bytes(TOOL)
    tree = Tree()
    tree.put("/etc/passwd", make_file("app:x:990:991::/:/bin/sh\n", origin="x"))
    tree.put("/etc/group", make_file("app:x:991:\nlog:x:4:\n", origin="x"))
    resolved = resolve("  - {name: data, file: data, path: /etc/data, owner: 'app:log'}\n")
    node = place(resolved, lock_of(resolved, store), store, fake_tools, tree).require("/etc/data")
    assert (node.uid, node.gid) == (990, 4)
    resolved = resolve("  - {name: data, file: data, path: /etc/data, owner: app}\n")
    assert place(resolved, lock_of(resolved, store), store, fake_tools, tree).require("/etc/data").gid == 991
    resolved = resolve("  - {name: data, file: data, path: /etc/data, owner: nobody-here}\n")
    with pytest.raises(BuildError, match=r"owned by nobody-here, and there is no user nobody-here in the image"):
        place(resolved, lock_of(resolved, store), store, fake_tools, tree)


def test_a_definition_replaces_the_artifact_of_a_feature(tmp_path: Path, resolve: Callable[[str], Resolved]) -> None:
    feature = tmp_path / "features" / "mine.yaml"
    feature.parent.mkdir()
    feature.write_text(
        "description: Mine.\nartifacts:\n  - {name: a, file: a, path: /a}\n  - {name: b, file: a, path: /b}\n"
    )
    for directory in (tmp_path, feature.parent):
        (directory / "a").write_text(str(directory))
    resolved = resolve("  - {name: a, file: a, path: /c}\nfeatures: [base, mine]\n")
    assert [(each.name, each.path, each.origin) for each in resolved.artifacts] == [
        ("b", "/b", feature),
        ("a", "/c", tmp_path / "os.yaml"),
    ]


def test_an_artifact_of_another_architecture_is_none_of_this_image(
    tmp_path: Path, resolve: Callable[[str], Resolved]
) -> None:
    (tmp_path / "a").touch()
    entry = "  - {{name: a, arch: {}, file: a, path: /{}}}\n"
    resolved = resolve(entry.format("arm64", "arm") + entry.format("amd64", "amd"))
    assert [each.path for each in resolved.artifacts] == ["/amd"]


def test_a_container_has_artifacts_of_its_own(tmp_path: Path, store: Store) -> None:
    (tmp_path / "web").write_bytes(TOOL)
    (tmp_path / "web.yaml").write_text(
        "kind: container\nname: web\nversion: '1'\nentrypoint: [/web]\n"
        "artifacts:\n  - {name: web, file: web, path: /web}\n"
    )
    (tmp_path / "os.yaml").write_text(
        "name: demo\nversion: '1'\nfeatures: [base, containers]\ncontainers:\n  - {name: web, definition: web.yaml}\n"
    )
    system = load(tmp_path / "os.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved
    assert [row.group for row in lock_of(system, store).artifacts] == ["container:web"]
    alone = load_container(tmp_path / "web.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved
    assert [row.group for row in lock_artifacts(alone, store, QuietConsole())] == ["image"]


def test_artifacts_are_in_the_bill_of_materials(resolve: Callable[[str], Resolved], web: Web, store: Store) -> None:
    web.files["/tool"] = TOOL
    entry = f"  - {{name: tool, version: '1.2', url: {web.url}/tool, sha256: {SHA256}, path: /usr/bin/tool}}\n"
    resolved = resolve(entry)
    bill = json.loads(make_image_sbom(resolved, lock_of(resolved, store), Tree(), "ab" * 32))
    (component,) = [each for each in bill["components"] if each["name"] == "tool"]
    assert component["version"] == "1.2"
    assert component["purl"] == f"pkg:generic/tool@1.2?checksum=sha256:{SHA256}"
    assert component["hashes"] == [{"alg": "SHA-256", "content": SHA256}]
    assert component["externalReferences"] == [{"type": "distribution", "url": f"{web.url}/tool"}]
    (product,) = [each for each in bill["dependencies"] if each["ref"] == "product"]
    assert component["bom-ref"] in product["dependsOn"]


def make_tar(*members: tuple[str, bytes, dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = make_tar(
    ("tool-1.2/", b"", {"type": tarfile.DIRTYPE, "mode": 0o755}),
    ("tool-1.2/bin/tool", TOOL, {"mode": 0o4755, "uid": 1000, "gid": 1000}),
    ("tool-1.2/bin/same", b"", {"type": tarfile.LNKTYPE, "linkname": "tool-1.2/bin/tool"}),
    ("tool-1.2/bin/short", b"", {"type": tarfile.SYMTYPE, "linkname": "tool"}),
    ("tool-1.2/share/doc/README", b"read me", {}),
)


def make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in (
            ("tool-1.2/bin/tool", TOOL, 0o100755),
            ("tool-1.2/bin/same", TOOL, 0o100755),
            ("tool-1.2/bin/short", b"tool", 0o120777),
            ("tool-1.2/share/doc/README", b"read me", 0o100644),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def unpack(data: bytes, store: Store, tools: FakeTools, strip: int = 0, *select: str) -> Tree:
    sha256 = store.add_bytes(data)
    return unpack_archive(
        store.locate_blob(sha256), sha256, ArchiveSelection(strip, select), store, tools, origin="artifact:x"
    )


@pytest.mark.parametrize(
    "data",
    [ARCHIVE, gzip.compress(ARCHIVE), lzma.compress(ARCHIVE), bz2.compress(ARCHIVE), make_zip()],
    ids=["tar", "gz", "xz", "bz2", "zip"],
)
def test_archives_of_every_kind_give_the_same_tree(data: bytes, store: Store, fake_tools: FakeTools) -> None:
    for _ in range(2):  # unpacked, then found in the store
        tree = unpack(data, store, fake_tools, 1, "bin/*", "share")
        tool = tree.require("/bin/tool")
        assert (tool.content.read(), tool.mode, tool.uid, tool.gid) == (TOOL, 0o755, 0, 0)
        assert tree.require("/bin/short", follow=False).target == "tool"
        assert tree.read("/bin/same") == TOOL
        assert tree.read("/share/doc/README") == b"read me"
    assert [path for path, _ in unpack(data, store, fake_tools, 1, "share/doc").walk()] == [
        "/", "/share", "/share/doc", "/share/doc/README",
    ]  # fmt: skip
    pack = next((store.root / "packs").glob("artifact-*.data"))
    good = pack.read_bytes()
    pack.write_bytes(good.replace(b"ELF", b"BAD"))
    assert unpack(data, store, fake_tools, 1).read("/bin/tool") == TOOL, "a damaged pack is made anew"


def make_xz_that_asks_for_4_gib() -> bytes:
    """A short .xz file whose block header says that its dictionary is the largest (.xz format 1.2, section 5.3.1)."""
    data = bytearray(lzma.compress(ARCHIVE))
    header = slice(12, 12 + (data[12] + 1) * 4)
    place = data.index(b"\x21\x01", header.start) + 2
    data[place] = 40
    data[header.stop - 4 : header.stop] = zlib.crc32(data[header.start : header.stop - 4]).to_bytes(4, "little")
    return bytes(data)


def test_xz_of_several_streams_is_one_archive(store: Store, fake_tools: FakeTools) -> None:
    data = lzma.compress(ARCHIVE[:700]) + bytes(8) + lzma.compress(ARCHIVE[700:]) + bytes(4)
    assert unpack(data, store, fake_tools, 1).read("/bin/tool") == TOOL


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (make_xz_that_asks_for_4_gib(), "cannot be unpacked: Memory usage limit exceeded"),
        (lzma.compress(ARCHIVE) + b"more" * 9, "cannot be unpacked: Input format not supported"),
        (b"no archive", "cut short"),
        (gzip.compress(ARCHIVE)[:-20], "cannot be unpacked"),
        (lzma.compress(ARCHIVE)[:-20], "cannot be unpacked"),
        (b"BZh9" + bytes(100), "cannot be unpacked"),
        (b"PK\x03\x04" + bytes(100), "zip file that cannot be unpacked"),
        (make_tar(("../etc/passwd", b"x", {})), "leaves the image"),
        (make_tar(("console", b"", {"type": tarfile.CHRTYPE, "devmajor": 5, "devminor": 1})), "no file, directory"),
        (make_tar(("a", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/shadow"})), "no file in it"),
        (make_tar(), "nothing of what is wanted"),
    ],
)
def test_what_no_honest_archive_says_is_refused(data: bytes, why: str, store: Store, fake_tools: FakeTools) -> None:
    with pytest.raises(ArchiveError, match=why):
        unpack(data, store, fake_tools)


def test_links_of_an_archive_lead_nowhere_outside(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    data = make_tar(
        ("etc", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("etc/shadow", b"root::0:0:::::\n", {}),
        ("up", b"", {"type": tarfile.SYMTYPE, "linkname": "../../../etc"}),
        ("up/passwd", b"x", {}),
    )
    (tmp_path / "evil.tar").write_bytes(data)
    tree = Tree()
    tree.put("/etc", make_directory(origin="x"))
    tree.put("/etc/shadow", make_file("the image's", origin="x"))
    resolved = resolve("  - {name: evil, file: evil.tar, path: /opt/evil, unpack: {}}\n")
    with pytest.raises(BuildError, match="artifact evil"):
        place(resolved, lock_of(resolved, store), store, fake_tools, tree)
    assert tree.read("/etc/shadow") == b"the image's"
    assert "/etc/passwd" not in tree


def test_an_archive_is_laid_into_the_directories_that_are_there(
    resolve: Callable[[str], Resolved], tmp_path: Path, store: Store, fake_tools: FakeTools
) -> None:
    (tmp_path / "tool.tgz").write_bytes(gzip.compress(ARCHIVE))
    tree = Tree()
    tree.put("/usr/bin", make_directory(0o711, origin="package:base"))
    tree.put("/bin", make_symlink("usr/bin", origin="package:base"))
    resolved = resolve("  - {name: tool, file: tool.tgz, path: /, owner: '3', unpack: {strip: 1, select: [bin/*]}}\n")
    resolved = replace(resolved, artifacts=(replace(resolved.artifacts[0], owner="3:4"),))
    place(resolved, lock_of(resolved, store), store, fake_tools, tree)
    node = tree.require("/usr/bin/tool")
    assert (node.uid, node.gid, tree.require("/usr/bin").mode) == (3, 4, 0o711)
    assert tree.require("/bin", follow=False).kind is Kind.SYMLINK
