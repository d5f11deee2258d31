"""Values of a document that came from outside: each is asked for what it must be, and messages name the way to it."""

from __future__ import annotations

import json
import re
import uuid as uuids
from collections.abc import Iterable, Mapping
from typing import Any

from firstboot.config.named_tuple import NamedTuple
from update.errors import BadDocument
from update.times import parse_time
from update.versions import is_version

FORMAT = 1
MAX_DOCUMENT = 4 << 20  # bytes
MAX_SIZE = 1 << 44  # of a file, in bytes
MAX_ENTRIES = 10_000  # of a list
MAX_TEXT = 10_000  # characters


class Value(NamedTuple):
    """A value of a document and the way to it, which messages name."""

    value: Any
    where: str
    path: str = ""

    def complain(self, path: str, what: str) -> BadDocument:
        """``release.json: parts.root.size: is no whole number``; ``path`` is below this value."""
        full = ".".join(filter(None, (self.path, path)))
        return BadDocument(f"{self.where}: {full}: {what}" if full else f"{self.where}: {what}")

    def take(self, key: str, *default: Any) -> Value:
        """What an object has at a key."""
        mapping = self.value if isinstance(self.value, dict) else self.parse_mapping()
        if key not in mapping and not default:
            raise self.complain(key, "is missing")
        return Value(mapping.get(key, *default), self.where, f"{self.path}.{key}" if self.path else key)

    def parse_mapping(self) -> dict[str, Value]:
        """An object's members."""
        if not isinstance(self.value, dict):
            raise self.complain("", "is no object")
        return {key: self.take(key) for key in self.value}

    def parse_items(self) -> list[Value]:
        """A list's."""
        if not isinstance(self.value, list):
            raise self.complain("", "is no list")
        if len(self.value) > MAX_ENTRIES:
            raise self.complain("", f"has more than {MAX_ENTRIES} entries")
        return [Value(item, self.where, f"{self.path}[{number}]") for number, item in enumerate(self.value)]

    def parse_text(self, pattern: re.Pattern[str], what: str) -> str:
        """Text that a pattern matches as a whole."""
        if not isinstance(self.value, str) or pattern.fullmatch(self.value) is None:
            raise self.complain("", f"is not {what}: {shorten(self.value)}")
        return self.value

    def parse_version(self) -> str:
        """A version."""
        if not isinstance(self.value, str) or not is_version(self.value):
            raise self.complain("", f"is not a version: {shorten(self.value)}")
        return self.value

    def parse_prose(self) -> str | None:
        """Text for people. It is shown on consoles: nothing in it moves a cursor."""
        if self.value is None:
            return None
        if not isinstance(self.value, str):
            raise self.complain("", f"is no text: {shorten(self.value)}")
        if len(self.value) > MAX_TEXT:
            raise self.complain("", f"has more than {MAX_TEXT} characters")
        if not self.value.strip() or not all(
            character.isprintable() or character in "\n\t" for character in self.value
        ):
            raise self.complain("", "is empty, or has characters that cannot be printed")
        return self.value

    def parse_whole_number(self, limit: int) -> int:
        """From 0 to a limit."""
        if type(self.value) is not int or not 0 <= self.value <= limit:
            raise self.complain("", f"is no whole number from 0 to {limit}: {shorten(self.value)}")
        return self.value

    def parse_size(self) -> int:
        """Bytes of a file, at least one."""
        if self.parse_whole_number(MAX_SIZE) == 0:
            raise self.complain("", "is 0")
        return int(self.value)

    def parse_boolean(self) -> bool:
        """Yes or no."""
        if not isinstance(self.value, bool):
            raise self.complain("", f"is neither true nor false: {shorten(self.value)}")
        return self.value

    def parse_uuid(self) -> str:
        """A UUID, written as usual, in lower case."""
        try:
            text = str(uuids.UUID(self.value)) if isinstance(self.value, str) else None
        except ValueError:
            text = None
        if text is None or text != self.value:
            raise self.complain("", f"is no UUID in lower case: {shorten(self.value)}")
        return text

    def parse_time(self) -> int:
        """Seconds since 1970."""
        try:
            return parse_time(self.value if isinstance(self.value, str) else "")
        except ValueError as error:
            raise self.complain("", f"is not {error}: {shorten(self.value)}") from None


def read_document(data: bytes, where: str) -> Value:
    """The JSON object that a document is, of our format.

    Args:
        where: what to call it in messages.

    Raises:
        BadDocument: it is none, is too large, has a key twice, or is of another format.
    """
    if len(data) > MAX_DOCUMENT:
        raise BadDocument(f"{where}: has {len(data)} bytes, and {MAX_DOCUMENT} are read at most")

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := find_twice(key for key, _ in pairs):
            raise BadDocument(f"{where}: the key {shorten(twice)} is there twice")
        return dict(pairs)

    def refuse_constant(name: str) -> None:
        raise BadDocument(f"{where}: {name} is no number of JSON")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=make_object, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"{where}: is not JSON: {error}") from None
    document = Value(value, where)
    document.parse_mapping()
    number = document.take("format").value
    if type(number) is not int or number != FORMAT:
        raise document.complain("format", f"is {shorten(number)}, and this program reads format {FORMAT}")
    return document


def write_document(content: Mapping[str, Any]) -> bytes:
    """A document of our format; the same content gives the same bytes."""
    return (json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False) + "\n").encode()


def find_twice(texts: Iterable[str]) -> str | None:
    """The first text that is there for the second time."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def shorten(value: Any) -> str:
    """A value for a message: not longer than a line, without what a terminal would obey."""
    text = ascii(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
