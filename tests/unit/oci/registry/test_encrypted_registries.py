"""Registries with TLS and without it: what is believed, and what is found out without asking twice."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from builder.core.errors import SourceError
from builder.oci.registry.certificates import has_tls
from builder.oci.registry.open import RegistryOptions, open_client
from tests.support.registry import ImageParts, RegistryServer
from vm.fakes.authority import Certificate
from vm.fakes.web import WebServer

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Signed by itself, for this machine."""
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a registry")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "registry.crt", directory / "registry.key"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Certificate(*paths)


@pytest.fixture
def encrypted(certificate: Certificate, image: ImageParts) -> Iterator[RegistryServer]:
    """A registry with TLS, which has an image."""
    with WebServer(certificate) as web:
        server = RegistryServer(web)
        server.add("team/app", "1", image)
        yield server


def test_a_certificate_of_a_directory_is_believed(
    encrypted: RegistryServer, options: RegistryOptions, certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "ours.crt").write_bytes(certificate.path.read_bytes())
    with open_client(f"{encrypted.host}/team/app:1", replace(options, cert_dir=tmp_path)) as client:
        assert client.read_manifest().document["layers"]


def test_a_certificate_of_nobody_is_not_believed_and_nothing_is_sent_without_tls(
    encrypted: RegistryServer, options: RegistryOptions
) -> None:
    with (
        open_client(f"{encrypted.host}/team/app:1", options) as client,
        pytest.raises(SourceError) as raised,
    ):
        client.read_manifest()
    assert "certificate" in str(raised.value)
    assert encrypted.web.requests == []


def test_a_registry_of_this_machine_without_tls_is_asked_for_nothing_twice(
    registry: RegistryServer, options: RegistryOptions, image: ImageParts
) -> None:
    registry.add("team/app", "1", image)
    with open_client(f"{registry.host}/team/app:1", options) as client:
        client.read_manifest()
    assert [request.path for request in registry.web.requests] == ["/v2/team/app/manifests/1"]


def test_who_hangs_up_does_not_tell_whether_it_has_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert has_tls("127.0.0.1", server.getsockname()[1], 5.0) is None
        thread.join()
    assert has_tls("127.0.0.1", 1, 5.0) is None, "and who is not there"
