"""``build-os push --sign-key``: what is signed is found by those who check, and what others signed stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from builder.core.errors import InputError, SourceError
from builder.oci.cosign import find_evidence
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.push import Publisher
from builder.oci.registry.reference import parse_reference
from builder.oci.sign import push_signature, read_signing_key
from builder.signatures.verify_key import SignatureRefused
from tests.support.command import run_command
from tests.support.registry import ImageParts, RegistryServer
from vm.fakes.web import WebServer

pytestmark = pytest.mark.unit

KEYS = {
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}


def write_key(path: Path, kind: str, password: bytes = b"") -> Path:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "registries.conf").touch()
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    with WebServer() as web:
        yield RegistryServer(web)


def test_signatures_of_several_keys_stand_beside_each_other(registry: RegistryServer, tmp_path: Path) -> None:
    image = ImageParts.make(b"layer")
    registry.add("team/web", "1", image)
    reference = parse_reference(f"{registry.host}/team/web:1")
    keys = [read_signing_key(write_key(tmp_path / kind, kind), None) for kind in KEYS]
    with open_client(reference, RegistryOptions(), mirrors=False, stop=threading.Event()) as client:
        publisher = Publisher(client)
        digests = [push_signature(publisher, image.digest, key) for key in keys]
        assert len(set(digests)) == len(keys)
        assert push_signature(publisher, image.digest, keys[0]) is None, "it is signed by that key"
        found = list(find_evidence(client, [image.digest]))
    assert len(found) == len(keys)
    for key, evidence in zip(keys, found, strict=True):
        evidence.verify(key.public, [image.digest])
        with pytest.raises(SignatureRefused):
            evidence.verify(key.public, ["sha256:" + "0" * 64])
    tag = f"{image.digest.replace(':', '-')}.sig"
    assert registry.repository("team/web").tags == {"1": image.digest, tag: digests[-1]}


def test_what_is_no_signature_in_their_place_is_not_replaced(registry: RegistryServer, tmp_path: Path) -> None:
    image = ImageParts.make(b"layer")
    registry.add("team/web", "1", image)
    tag = f"{image.digest.replace(':', '-')}.sig"
    index = registry.add_index("team/web", tag, (image, "linux/amd64"))
    key = read_signing_key(write_key(tmp_path / "key", "ecdsa"), None)
    reference = parse_reference(f"{registry.host}/team/web:1")
    with (
        open_client(reference, RegistryOptions(), mirrors=False, stop=threading.Event()) as client,
        pytest.raises(SourceError, match=r"team/web:sha256-[0-9a-f]{64}\.sig is in the place of signatures"),
    ):
        push_signature(Publisher(client), image.digest, key)
    assert registry.repository("team/web").tags[tag] == index


def test_push_signs_what_it_pushed(
    registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = ImageParts.make(b"layer")
    registry.add("team/web", "1", image)
    assert run_command(capsys, "copy", f"{registry.host}/team/web:1", "oci:web:1").status == 0
    key = write_key(tmp_path / "web.key", "ecdsa", b"secret")
    push = ("push", "--from", "oci:web:1", "--sign-key", str(key), "--json", f"{registry.host}/new/web:2")
    done = run_command(capsys, *push)
    assert done.status == 2
    assert "COSIGN_PASSWORD" in done.err
    assert "2" not in registry.repository("new/web").tags, "nothing is pushed that cannot be signed"
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    signature = json.loads(run_command(capsys, *push).out)["signature"]
    tag = f"{image.digest.replace(':', '-')}.sig"
    assert registry.repository("new/web").tags == {"2": image.digest, tag: signature}
    done = run_command(capsys, *push)
    assert "is signed by this key already" in done.err
    assert json.loads(done.out)["signature"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "a way of cosign's own"),
        ("no key", "is no private key"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_key_is_said(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_signing_key(path, None)
