"""Certificates for registries, where Docker and podman look for them (containers-certs.d(5)).

A directory ``HOST:PORT`` has authorities (``*.crt``) that are believed besides the system's, and pairs of ``NAME.cert``
and ``NAME.key`` by which a client identifies itself.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter

from builder.core.errors import InputError


def find_directory(host: str, environment: Mapping[str, str]) -> Path | None:
    """The directory for a registry, the user's own first."""
    home = Path(environment.get("HOME") or Path.home())
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    candidates = (own, Path("/etc/containers"), Path("/etc/docker"))
    return next((path for base in candidates if (path := base / "certs.d" / host).is_dir()), None)


def make_context(directory: Path | None, *, verify: bool) -> ssl.SSLContext:
    """How a connection is encrypted: by the system's authorities and those of a directory.

    Raises:
        InputError: a file there is no certificate or key.
    """
    context = ssl.create_default_context()
    if directory is not None:
        for path in sorted(directory.iterdir()):
            try:
                if path.suffix == ".crt":
                    context.load_verify_locations(cafile=str(path))
                elif path.suffix == ".cert":
                    context.load_cert_chain(str(path), str(path.with_suffix(".key")))
            except OSError as error:  # ssl.SSLError is one
                raise InputError(f"cannot use the certificate {path}: {error.strerror or error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def has_tls(host: str, port: int, seconds: float) -> bool | None:
    """Whether a server expects TLS, by its answer to a ClientHello; ``None`` if that does not tell.

    Nothing else is sent, so no certificate has to be believed, and no authorities have to be read for it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), seconds) as plain, context.wrap_socket(plain, server_hostname=host):
            return True
    except OSError as error:  # ssl.SSLError is one
        return False if getattr(error, "reason", None) == "WRONG_VERSION_NUMBER" else None  # as HTTP's "HTTP/1.1 400"


def _has_authorities(context: ssl.SSLContext) -> bool:
    """Whether the system has any; those of a directory are read when they are needed, so they are not counted."""
    directory: str | None = ssl.get_default_verify_paths().capath  # None where it does not exist
    return context.cert_store_stats()["x509_ca"] > 0 or (directory is not None and any(Path(directory).iterdir()))


class ContextAdapter(HTTPAdapter):
    """Connections of requests that are encrypted as a context says."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """requests' own, with the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """requests' own authorities are for systems that have none: reading them takes longer than a small request,
        and one that the system does not believe is not to be believed here."""
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if verify is True and _has_authorities(self._context):
            conn.ca_certs = None

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """requests' own, with the context."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)
