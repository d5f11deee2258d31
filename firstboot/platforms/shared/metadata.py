"""What a platform says about a machine, and how it is taken out of documents.

Names of attributes are afterburn's, so that units written for Fedora CoreOS or Flatcar find them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.errors import FetchError

if TYPE_CHECKING:
    from firstboot.log import Log
    from firstboot.places import Places


class Metadata(NamedTuple):
    """What is known about a machine.

    Attributes:
        attributes: without the prefix ``AFTERBURN_PLATFORM_``; empty values are left out when they are written.
        hostname: the name the platform gives it.
        ssh_keys: keys of whoever made the machine, one line each as in ``authorized_keys``.
    """

    attributes: Mapping[str, str]
    hostname: str = ""
    ssh_keys: tuple[str, ...] = ()


class MetadataProvider(NamedTuple):
    """How a platform's metadata is read.

    Attributes:
        read: gets all of it. Raises FetchError: the platform does not answer, or not as it should.
        attributes: the names of the attributes; ``_n`` stands for a number.
        has_hostname: whether there can be a name.
        has_ssh_keys: whether there can be keys.
    """

    read: Callable[[Places, Log], Metadata]
    attributes: tuple[str, ...]
    has_hostname: bool = True
    has_ssh_keys: bool = True


def parse_json(data: bytes, what: str) -> Any:
    """An object of JSON.

    Raises:
        FetchError: it is none.
    """
    try:
        document = json.loads(data)
    except ValueError:
        raise FetchError(f"{what} is not valid JSON") from None
    if not isinstance(document, dict):
        raise FetchError(f"{what} is not a JSON object")
    return document


def find_value(document: Any, path: str) -> Any:
    """What a document has at a path such as ``network.interface.0.mac``; ``None`` where it has nothing."""
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def find_text(document: Any, *paths: str) -> str:
    """The text or number at the first of some paths that has one, as text; empty where none has."""
    for path in paths:
        value = find_value(document, path)
        if value is not None and not isinstance(value, dict | list) and str(value):
            return str(value)
    return ""


def find_texts(document: Any, path: str) -> list[str]:
    """The texts of a list at a path."""
    return [item for item in find_items(document, path) if isinstance(item, str)]


def find_items(document: Any, path: str) -> list[Any]:
    """The list at a path; empty where there is none."""
    value = find_value(document, path)
    return value if isinstance(value, list) else []


def find_attributes(document: Any, paths: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Attributes by the paths of their values; of several paths the first that has a text counts."""
    return {name: find_text(document, *((path,) if isinstance(path, str) else path)) for name, path in paths.items()}


def make_numbered(name: str, values: Iterable[str]) -> dict[str, str]:
    """Attributes ``NAME_0``, ``NAME_1`` and so on."""
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def split_lines(text: str) -> list[str]:
    """The lines that have something in them, without white space around it."""
    return [line.strip() for line in text.splitlines() if line.strip()]
