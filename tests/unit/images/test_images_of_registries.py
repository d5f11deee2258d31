"""Images of registries in a definition: locked by digest, signed by whom, read from the store without a network."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from builder.artifacts.locking import lock_artifacts
from builder.core.architecture import Arch
from builder.core.console import QuietConsole
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.store import Store
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.definition.resolved import RegistryImage, Resolved
from builder.images.locked import read_locked_image
from builder.images.locking import fetch_images, find_stale_images, list_carried_images, lock_images
from builder.locking import describe_images, require_verified
from builder.oci.cosign import BUNDLE_TYPES, PAYLOAD, SIGNATURE, SIGNATURE_TYPE, SIGNED, STATEMENT, make_payload
from builder.signatures.pem import parse_private_key
from tests.support.registry import MANIFEST, ImageParts, RegistryServer, describe, digest
from tests.support.users import REPOSITORY
from vm.fakes.web import WebServer

pytestmark = pytest.mark.unit

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
CONFIG = "application/vnd.oci.image.config.v1+json"


def make_layer(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


IMAGE = ImageParts.make(make_layer(base=b"base"), make_layer(app=b"one"))
NEWER = ImageParts.make(make_layer(base=b"base"), make_layer(app=b"two"))
ARM = ImageParts.make(make_layer(app=b"arm"), architecture="arm64")


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def sign(
    registry: RegistryServer, name: str, digest: str, key: ec.EllipticCurvePrivateKey, *, tag: bool = True
) -> None:
    """What 'cosign sign --key' pushes; not to the tag but as a referrer, with COSIGN_EXPERIMENTAL_OCI11."""
    payload = make_payload(f"{registry.host}/{name}", digest)
    annotations = {SIGNATURE: base64.b64encode(parse_private_key(private(key)).sign(payload)).decode()}
    more = (
        {} if tag else {"subject": {"digest": digest, "mediaType": MANIFEST, "size": 1}, "artifactType": SIGNATURE_TYPE}
    )
    push(registry, name, f"{digest.replace(':', '-')}.sig" if tag else None, payload, PAYLOAD, annotations, **more)


def sign_bundle(registry: RegistryServer, name: str, digest: str, key: ec.EllipticCurvePrivateKey) -> None:
    """What 'cosign sign --key --new-bundle-format' pushes: an in-toto statement in an envelope."""
    subject = [{"name": "", "digest": {"sha256": digest.partition(":")[2]}}]
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SIGNED})
    pae = f"DSSEv1 {len(STATEMENT)} {STATEMENT} {len(statement)} {statement}".encode()
    envelope = {
        "payload": base64.b64encode(statement.encode()).decode(),
        "payloadType": STATEMENT,
        "signatures": [{"sig": base64.b64encode(parse_private_key(private(key)).sign(pae)).decode()}],
    }
    bundle = json.dumps({"mediaType": BUNDLE_TYPES[0], "dsseEnvelope": envelope}).encode()
    subject_of = {"digest": digest, "mediaType": MANIFEST, "size": 1}
    push(registry, name, None, bundle, BUNDLE_TYPES[0], {}, subject=subject_of, artifactType=BUNDLE_TYPES[0])


def push(
    registry: RegistryServer,
    name: str,
    tag: str | None,
    blob: bytes,
    kind: str,
    annotations: dict[str, str],
    **more: object,
) -> None:
    layers = [describe(blob, kind, annotations=annotations)]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(b"{}", CONFIG), "layers": layers, **more}
    registry.add(name, tag, ImageParts(json.dumps(document).encode(), b"{}", (blob,)))


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with WebServer() as web:
        yield RegistryServer(web)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Resolved]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, key in (("web.pub", KEY), ("other.pub", OTHER)):
        (tmp_path / name).write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def resolve(image: str, more: str = "", top: str = "", arch: Arch = Arch.AMD64) -> Resolved:
        text = f"name: demo\nversion: 1.0.0\nfeatures: [base, containers]\n{top}containers:\n  - name: web\n"
        (tmp_path / "os.yaml").write_text(f"{text}    image: {image}\n{more}")
        return load(tmp_path / "os.yaml", arch=arch, shipped=REPOSITORY).resolved

    return resolve


def lock_of(resolved: Resolved, store: Store, old: Lock | None = None, update: tuple[str, ...] | None = ()) -> Lock:
    rows = lock_images(resolved, store, QuietConsole(), old, update)
    return Lock("0" * 64, resolved.arch, "trixie", images=rows)


def read(resolved: Resolved, lock: Lock, store: Store) -> bytes:
    image = resolved.containers[0].image
    assert isinstance(image, RegistryImage)
    found = read_locked_image(lock.images[0], image, store, architecture=resolved.arch, name="web")
    return found.tree.read("/app")


def test_a_tag_is_resolved_once_and_the_build_asks_nobody(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store
) -> None:
    index = registry.add_index("team/web", "1", (ARM, "linux/arm64"), (IMAGE, "linux/amd64"))
    resolved = resolve(f"{registry.host}/team/web:1")
    lock = lock_of(resolved, store)
    (row,) = lock.images
    assert (row.digest, row.index, row.reference) == (IMAGE.digest, index, f"{registry.host}/team/web:1")
    assert Lock.parse(lock.render(), "os.lock") == lock
    assert not registry.asked("GET", ARM.digest), "what is for another platform is not asked for"
    fetch_images(resolved, lock.images, store, QuietConsole())
    # The tag moves; nobody asks.
    registry.add_index("team/web", "1", (NEWER, "linux/amd64"))
    registry.web.requests.clear()
    assert find_stale_images(lock, resolved) == []
    assert lock_of(resolved, store, lock) == lock
    fetch_images(resolved, lock.images, store, QuietConsole(), offline=True)
    assert read(resolved, lock, store) == b"one"
    assert registry.web.requests == []
    # Until it is wanted.
    new = lock_of(resolved, store, lock, ("web",))
    assert describe_images(lock, new) == [f"image of web: {IMAGE.digest} -> {NEWER.digest}"]
    assert lock_of(resolved, store, lock, None) == new
    fetch_images(resolved, new.images, store, QuietConsole())
    assert read(resolved, new, store) == b"two"


def test_an_image_of_a_lock_goes_to_another_store(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store, tmp_path: Path
) -> None:
    signed = registry.add_index("web", "1", (IMAGE, "linux/amd64"))
    sign(registry, "web", signed, KEY)
    resolved = resolve(f"{registry.host}/web:1", "    keys: [web.pub]\n")
    lock = lock_of(resolved, store)
    fetch_images(resolved, lock.images, store, QuietConsole())
    other = Store.open(tmp_path / "other")
    with pytest.raises(SourceError, match=r"os.yaml:6:12: 1 files of this image are not in the store"):
        fetch_images(resolved, lock.images, other, QuietConsole(), offline=True)
    for file in list_carried_images(lock, store):
        assert store.has_blob(file.sha256, file.size)
        other.add_bytes(store.locate_blob(file.sha256).read_bytes())
    fetch_images(resolved, lock.images, other, QuietConsole(), offline=True)
    assert read(resolved, lock, other) == b"one"
    # From the registry it comes with index and signature as well.
    third = Store.open(tmp_path / "third")
    fetch_images(resolved, lock.images, third, QuietConsole())
    assert read(resolved, lock, third) == b"one"


def test_a_name_by_digest_is_that_image_whatever_a_lock_says(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store
) -> None:
    index = registry.add_index("web", None, (IMAGE, "linux/amd64"))
    registry.add("web", None, NEWER)
    for pinned in (index, IMAGE.digest):
        resolved = resolve(f"{registry.host}/web@{pinned}")
        lock = lock_of(resolved, store)
        fetch_images(resolved, lock.images, store, QuietConsole())
        assert read(resolved, lock, store) == b"one"
    changed = replace(lock, images=(replace(lock.images[0], digest=NEWER.digest),))
    fetch_images(resolved, changed.images, store, QuietConsole())
    with pytest.raises(SourceError, match="to which that does not lead"):
        read(resolved, changed, store)


@pytest.mark.parametrize("kind", ["tag", "referrer", "bundle"])
def test_an_image_that_must_be_signed_is(
    kind: str, resolve: Callable[..., Resolved], registry: RegistryServer, store: Store, tmp_path: Path
) -> None:
    signed = registry.add_index("web", "1", (IMAGE, "linux/amd64"))
    for key in (OTHER, KEY) if kind != "tag" else (KEY,):
        if kind == "bundle":
            sign_bundle(registry, "web", signed, key)
        else:
            sign(registry, "web", signed, key, tag=kind == "tag")
    resolved = resolve(f"{registry.host}/web:1", "    keys: [web.pub]\n")
    lock = lock_of(resolved, store)
    fetch_images(resolved, lock.images, store, QuietConsole())
    assert read(resolved, lock, store) == b"one"
    # A lock that somebody changed by hand is not believed.
    bare = replace(lock, images=(replace(lock.images[0], signature=""),))
    with pytest.raises(SourceError, match="has no signature in the store"):
        read(resolved, bare, store)
    (tmp_path / "web.pub").write_bytes((tmp_path / "other.pub").read_bytes())
    assert find_stale_images(lock, resolved) == ["web: another key must have signed it"]
    with pytest.raises(SourceError, match="is not signed as it must be: the signature is not by the ECDSA key"):
        read(resolved, lock, store)


def test_a_lock_is_verified_with_all_that_is_no_package(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store, tmp_path: Path
) -> None:
    signed = registry.add("web", "1", IMAGE)
    sign(registry, "web", signed, KEY)
    (tmp_path / "data").write_bytes(b"data")
    top = "artifacts:\n  - {name: data, file: data, path: /etc/data}\n"
    resolved = resolve(f"{registry.host}/web:1", "    keys: [web.pub]\n", top)
    lock = replace(lock_of(resolved, store), artifacts=lock_artifacts(resolved, store, QuietConsole()))
    require_verified(lock, resolved, store, QuietConsole())
    layer = store.locate_blob(digest(IMAGE.layers[1])[7:])
    assert layer.is_file(), "what is not in the store is fetched"
    (artifact,) = lock.artifacts
    store.locate_blob(artifact.sha256).write_bytes(b"dada")
    with pytest.raises(SourceError, match="artifact data in the store is not whole"):
        require_verified(lock, resolved, store, QuietConsole())
    (tmp_path / "web.pub").write_bytes((tmp_path / "other.pub").read_bytes())
    with pytest.raises(SourceError, match="is not signed as it must be"):
        require_verified(lock, resolved, store, QuietConsole())


def test_who_did_not_sign_is_named_with_what_was_found(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store
) -> None:
    signed = registry.add("web", "1", IMAGE)
    resolved = resolve(f"{registry.host}/web:1", "    keys: [web.pub, other.pub]\n")
    with pytest.raises(
        SourceError, match=r"os.yaml:6:12: (?s:.*)/web:1 is not signed by web.pub or other.pub(?s:.*)no signature found"
    ):
        lock_of(resolved, store)
    sign(registry, "web", signed, OTHER)
    resolved = resolve(f"{registry.host}/web:1", "    keys: [web.pub]\n")
    with pytest.raises(
        SourceError, match=r"1 signatures found\n  the signature is not by the ECDSA key SHA256:[0-9a-f]{64}"
    ):
        lock_of(resolved, store)
    # A signature of another image, moved here.
    registry.add("web", "2", NEWER)
    payload = make_payload("web", signed)
    annotations = {SIGNATURE: base64.b64encode(parse_private_key(private(KEY)).sign(payload)).decode()}
    push(registry, "web", f"{NEWER.digest.replace(':', '-')}.sig", payload, PAYLOAD, annotations)
    with pytest.raises(SourceError, match=rf"a signature is of {signed}, not of this image"):
        lock_of(resolve(f"{registry.host}/web:2", "    keys: [web.pub]\n"), store)


def test_the_policy_is_that_of_the_longest_prefix(resolve: Callable[..., Resolved]) -> None:
    top = 'image_keys:\n  registry.example.org: [web.pub]\n  registry.example.org/free: []\n  "*": [other.pub]\n'

    def keys(name: str, more: str = "") -> list[str]:
        image = resolve(name, more, top).containers[0].image
        assert isinstance(image, RegistryImage)
        return [path.name for path in image.keys]

    assert keys("registry.example.org/team/web:1") == ["web.pub"]
    assert keys("registry.example.org/free/web:1") == []
    assert keys("registry.example.org/freedom:1") == ["web.pub"]
    assert keys("nginx:1") == ["other.pub"]
    assert keys("nginx:1", "    keys: []\n") == []
    assert keys("nginx:1", "    keys: [web.pub]\n") == ["web.pub"]


def test_a_base_must_be_signed_as_its_definition_or_the_systems_says(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store, tmp_path: Path
) -> None:
    name = f"{registry.host}/web:1"
    sign(registry, "web", registry.add("web", "1", IMAGE), KEY)

    def lock(own: str = "", policy: str = "") -> str:
        """Which key the base is locked by, where the container alone or its system asks for one."""
        text = f"kind: container\nname: app\nversion: '1'\nfrom: {name}\ncommand: [/app]\n{own}"
        (tmp_path / "app.yaml").write_text(text)
        system = f"name: demo\nversion: 1.0.0\nfeatures: [base, containers]\n{policy}containers:\n"
        (tmp_path / "os.yaml").write_text(f"{system}  - name: app\n    definition: app.yaml\n")
        resolved = load(tmp_path / "os.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved
        (row,) = lock_images(resolved, store, QuietConsole(), None, None)
        return row.key

    resolve(name)  # writes the keys
    assert lock() == ""
    assert lock("keys: [web.pub]\n") == lock(policy='image_keys: {"*": [web.pub]}\n') != ""
    assert lock("keys: []\n", 'image_keys: {"*": [other.pub]}\n') == ""
    for wrong in (("keys: [other.pub]\n", ""), ("", f"image_keys: {{'{registry.host}': [other.pub]}}\n")):
        with pytest.raises(SourceError, match=r"app.yaml:4:7: (?s:.*)/web:1 is not signed by other.pub"):
            lock(*wrong)
    name = "oci:base"
    with pytest.raises(InputError, match=r"app.yaml:6:7: 'keys' is for a base of a registry"):
        lock("keys: [web.pub]\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("web:2", r"os.yaml:6:12: (?s:.*)web:2"),
        ("gone:1", r"os.yaml:6:12: (?s:.*)gone:1"),
        ("arm:1", r"os.yaml:6:12: (?s:.*)has no image for linux/amd64(?s:.*)linux/arm64"),
        (f"arm@{ARM.digest}", r"os.yaml:6:12: (?s:.*)is for linux/arm64, and the system is for linux/amd64"),
    ],
    ids=["no such tag", "no such repository", "index without this platform", "digest of another architecture"],
)
def test_what_a_registry_does_not_have_is_told_at_its_line(
    name: str, reason: str, resolve: Callable[..., Resolved], registry: RegistryServer, store: Store
) -> None:
    registry.add("web", "1", IMAGE)
    registry.add_index("arm", "1", (ARM, "linux/arm64"))
    with pytest.raises(InputError, match=reason):
        lock_of(resolve(f"{registry.host}/{name}"), store)


def test_no_registry_and_no_credentials_are_told_at_their_line(
    resolve: Callable[..., Resolved], registry: RegistryServer, store: Store
) -> None:
    registry.add("web", "1", IMAGE)
    registry.basic = ("me", "secret")
    with pytest.raises(BuildError, match=r"os.yaml:6:12: (?s:.*)401|os.yaml:6:12: (?s:.*)(login|credentials)"):
        lock_of(resolve(f"{registry.host}/web:1"), store)
    with WebServer() as web:
        host = f"127.0.0.1:{web.port}"
    with pytest.raises(SourceError, match=r"os.yaml:6:12: "):
        lock_of(resolve(f"{host}/web:1"), store)


def test_an_image_beside_the_definition_is_locked_by_its_content(tmp_path: Path, store: Store) -> None:
    (tmp_path / "os.yaml").write_text(
        "name: demo\nversion: '1'\nfeatures: [base, containers]\ncontainers:\n  - {name: web, archive: web.tar}\n"
    )

    def write(image: ImageParts) -> None:
        index = {"schemaVersion": 2, "manifests": [describe(image.manifest, MANIFEST)]}
        blobs = {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in (image.manifest, *image.blobs)}
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}
        (tmp_path / "web.tar").write_bytes(make_layer(**files))

    write(IMAGE)
    resolved = load(tmp_path / "os.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved
    lock = lock_of(resolved, store)
    assert [(row.name, row.digest, row.reference) for row in lock.images] == [("web", IMAGE.digest, "")]
    assert '"reference"' not in lock.render()
    assert find_stale_images(lock, resolved) == []
    assert list_carried_images(lock, store) == []
    write(NEWER)
    assert find_stale_images(lock, resolved) == [f"web: {NEWER.digest}, locked {IMAGE.digest}"]
    assert find_stale_images(replace(lock, images=()), resolved) == [f"web: {NEWER.digest}, locked without one"]
    (tmp_path / "web.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"web\.tar"):
        lock_of(resolved, store)
