"""Asking for metadata: services that have a URL for each value, and documents that have all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from firstboot.fetch import FetchError, NotFound
from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources.drives import read_drive, wait_for_drive
from firstboot.sources.service import Service


class Values:
    """A service with a URL for each value."""

    def __init__(self, service: Service, base: str, headers: Mapping[str, str] | None = None) -> None:
        self._service = service
        self._base = base
        self._headers = headers

    def get(self, path: str) -> str:
        """A value; empty where there is none.

        Raises:
            FetchError
        """
        try:
            return self._service.get(f"{self._base}/{path}", self._headers).decode("utf-8", "replace").strip()
        except NotFound:
            return ""

    def lines(self, path: str) -> list[str]:
        """The lines of a value that have something in them."""
        return [line.strip() for line in self.get(path).splitlines() if line.strip()]

    def named(self, prefix: str, paths: Mapping[str, str]) -> dict[str, str]:
        """Attributes ``PREFIX_NAME`` with the values at paths."""
        return {f"{prefix}_{name}": self.get(path) for name, path in paths.items()}

    def indexed_keys(self, path: str = "public-keys") -> tuple[str, ...]:
        """Keys that are listed as ``0=name`` or ``0/``, each at ``PATH/0/openssh-key``, as EC2 has them."""
        numbers = [line.partition("=")[0].rstrip("/") for line in self.lines(f"{path}/")]
        keys = [self.get(f"{path}/{number}/openssh-key") for number in numbers]
        return tuple(dict.fromkeys(key for key in keys if key))


def parse_json(data: bytes, what: str) -> Any:
    """An object of JSON.

    Raises:
        FetchError: it is none.
    """
    try:
        found = json.loads(data)
    except ValueError:
        raise FetchError(f"{what} is not valid JSON") from None
    if not isinstance(found, dict):
        raise FetchError(f"{what} is not a JSON object")
    return found


def text(document: Any, *path: str | int) -> str:
    """What a document has at a path, as text; empty where it has nothing."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if document is None or isinstance(document, dict | list) else str(document)


def texts(document: Any, *path: str | int) -> list[str]:
    """The texts of a list at a path."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return []
    return [str(each) for each in document if isinstance(each, str)] if isinstance(document, list) else []


def numbered(name: str, values: Iterable[str]) -> dict[str, str]:
    """Attributes ``NAME_0``, ``NAME_1`` and so on."""
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def document_on_drive(places: Places, log: Log, labels: tuple[str, ...], paths: tuple[str, ...]) -> Any:
    """The first of some documents of a config drive, JSON or YAML.

    Raises:
        FetchError: there is no drive, or none of them on it, or it is no mapping.
    """
    device = wait_for_drive(places, log, labels)
    found = [] if device is None else read_drive(places, device, paths)
    if not found:
        raise FetchError(f"there is no drive labelled {' or '.join(labels)} with {' or '.join(paths)}")
    import yaml  # noqa: PLC0415 - only for drives

    try:
        document = yaml.safe_load(found[0].data)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise FetchError(f"{found[0].name} is neither JSON nor YAML") from None
    if not isinstance(document, dict):
        raise FetchError(f"{found[0].name} is not a mapping")
    return document
