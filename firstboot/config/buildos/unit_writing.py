"""Texts of units (systemd.syntax(7)), with values quoted so that they mean what the user wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from firstboot.config.unit_text import quote_word

Settings = Iterable[tuple[str, str]]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.-]{0,200}")
_UNIT = re.compile(
    r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]*)?\.(?:service|socket|target|mount|path|timer|device|slice|swap)"
)


def format_command_line(words: Sequence[str]) -> str:
    """The value of ``ExecStart=``. A first word that begins with one of systemd's marks is quoted in vain, so it must
    be a path.
    """
    return " ".join(quote_word(word, command=True) for word in words)


def format_one_line(text: str) -> str:
    """A text for a setting that is one: line breaks become spaces, ``%`` is no specifier."""
    return " ".join(text.split()).replace("%", "%%")


def is_name(text: str) -> bool:
    """Whether it can be the name of a unit, without its suffix."""
    return _NAME.fullmatch(text) is not None


def is_unit(text: str) -> bool:
    """Whether it is the name of a unit that one can wait for."""
    return _UNIT.fullmatch(text) is not None


def format_unit(
    description: str,
    *,
    service: Settings,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    requires: Sequence[str] = (),
    wants: Sequence[str] = (),
    settings: Settings = (),
    wanted_by: str | None = None,
    required_by: str | None = None,
) -> str:
    """A service, as text."""
    lines = ["[Unit]", f"Description={format_one_line(description)}"]
    order = (("Wants", wants), ("Requires", requires), ("After", after), ("Before", before))
    lines += [f"{name}={' '.join(names)}" for name, names in order if names]
    lines += [f"{name}={value}" for name, value in settings]
    lines += ["", "[Service]", *(f"{name}={value}" for name, value in service)]
    if wanted_by or required_by:
        lines += ["", "[Install]"]
        lines += [f"WantedBy={wanted_by}"] if wanted_by else []
        lines += [f"RequiredBy={required_by}"] if required_by else []
    return "\n".join(lines) + "\n"
