"""``ca-certificates-java``: the certificate authorities as the key store that Java programs read.

Its script starts a Java program for that; the format is simple enough to be written here, on any architecture and with
the same bytes each time. The password is the one that everybody knows: it guards nothing, it is the format's checksum.

Source: OpenJDK's ``sun/security/provider/JavaKeyStore.java`` ("JKS", version 2).
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64decode
from collections.abc import Mapping

from builder.debian.scripts.subjects.certificates import SOURCE, list_trusted, make_pem_name
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import make_file

PROGRAM = "/usr/share/ca-certificates-java/ca-certificates-java.jar"
STORE = "/etc/ssl/certs/java/cacerts"
PENDING = "/var/lib/ca-certificates-java/fresh"  # the script's note that the store is still to be made
PASSWORD = "changeit"
MAGIC, VERSION, TRUSTED_CERTIFICATE = 0xFEEDFEED, 2, 2
WHITENER = b"Mighty Aphrodite"


def install_key_store(work: Work) -> None:
    """Write the key store if Java's own support for it is in the image."""
    if not work.has(PROGRAM) or not work.has(SOURCE):
        return
    certificates = {
        f"debian:{make_pem_name(name).lower()}": der(work.tree.read_text(f"{SOURCE}/{name}"))
        for name in list_trusted(work)
    }
    work.tree.put(STORE, make_file(make_key_store(certificates), origin=ORIGIN))
    work.tree.remove(PENDING)


def der(pem: str) -> bytes:
    """The first certificate of a PEM file (RFC 7468), decoded."""
    body = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END CERTIFICATE-----")[0]
    return b64decode(body)


def make_key_store(certificates: Mapping[str, bytes]) -> bytes:
    """A store of trusted certificates by alias. The time at which each was added is the start of 1970."""
    body = struct.pack(">III", MAGIC, VERSION, len(certificates))
    for alias in sorted(certificates):
        certificate = certificates[alias]
        body += struct.pack(">I", TRUSTED_CERTIFICATE) + _utf(alias) + struct.pack(">Q", 0)
        body += _utf("X.509") + struct.pack(">I", len(certificate)) + certificate
    return body + hashlib.sha1(PASSWORD.encode("utf-16-be") + WHITENER + body, usedforsecurity=False).digest()


def _utf(text: str) -> bytes:
    """As ``java.io.DataOutput.writeUTF`` writes text without NUL or characters beyond the basic plane."""
    data = text.encode()
    return struct.pack(">H", len(data)) + data
