"""A certificate authority for one test."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from builder.core.tools import Tools

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and its key, as PEM files."""

    path: Path
    key: Path


class Authority:
    """Issues certificates. ``path`` is its own, as PEM, for those who are to trust it.

    Raises:
        ToolError, CapabilityError: the tools tree has no openssl, or it failed.
    """

    def __init__(self, tools: Tools, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tools = tools
        self._directory = directory
        self._key = directory / "authority.key"
        self.path = directory / "authority.pem"
        self._issued = 0
        subject = ("-subj", "/CN=An authority of this test")
        ours = ("-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign")
        tools.run(
            "openssl", "req", "-x509", *CURVE, *subject, *ours, *self._days(3650), *self._files(self._key, self.path)
        )

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self.path.read_text(encoding="ascii")

    def issue(self, *names: str, days: int = 3650) -> Certificate:
        """A certificate for names and addresses; one with negative ``days`` has expired."""
        self._issued += 1
        key, path = (self._directory / f"server{self._issued}.{ending}" for ending in ("key", "pem"))
        alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        signed = ("-CA", self.path, "-CAkey", self._key)
        subject = ("-subj", "/CN=A server of this test", "-addext", f"subjectAltName={alternatives}")
        leaf = ("-addext", "basicConstraints=critical,CA:false")
        self._tools.run(
            "openssl", "req", "-x509", *signed, *CURVE, *subject, *leaf, *self._days(days), *self._files(key, path)
        )
        return Certificate(path, key)

    @staticmethod
    def _days(days: int) -> tuple[str, ...]:
        # Long before now as well: a guest's clock may be anywhere.
        if days < 0:
            return ("-not_before", "20000101000000Z", "-not_after", "20100101000000Z")
        return ("-not_before", "19700101000000Z", "-days", str(days))

    @staticmethod
    def _files(key: Path, path: Path) -> tuple[str | Path, ...]:
        return ("-keyout", key, "-out", path)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
