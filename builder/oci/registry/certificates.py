"""Certificates for registries, where Docker and podman look for them (containers-certs.d(5)).

A directory ``HOST:PORT`` has authorities (``*.crt``) that are believed besides the system's, and pairs of ``NAME.cert``
and ``NAME.key`` by which a client identifies itself.
"""

from __future__ import annotations

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


class ContextAdapter(HTTPAdapter):
    """Connections of requests that are encrypted as a context says."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """requests' own, with the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """requests' own, with the context."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)
