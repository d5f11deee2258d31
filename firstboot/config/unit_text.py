"""Unit files as far as checks must understand them, and how a value is quoted in them (systemd.syntax(7)).

Reading follows go-systemd's lexer, which Ignition uses, with its leniency: all before the first section is skipped.
"""

from __future__ import annotations

import re

LINE_MAX = 2048  # bytes; systemd cuts longer lines off, so they are refused
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LONG_LINE = re.compile(rb"[^\r\n]{%d}" % LINE_MAX)


class BadUnit(ValueError):
    """A unit text that systemd would misread; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def parse_sections(text: str) -> list[str]:
    """The names of the sections that hold at least one option, in order of appearance.

    Raises:
        BadUnit
    """
    return list(dict.fromkeys(section for section, _, _ in parse_options(text)))


def parse_options(text: str) -> list[tuple[str, str, str]]:
    """Every option as (section, name, value).

    Raises:
        BadUnit: a line too long, a section without ``]`` or with something after it, an option without ``=``.
    """
    data = text.encode("utf-8", "surrogatepass")
    options: list[tuple[str, str, str]] = []
    long_line = _LONG_LINE.search(data)
    # Lines are looked at only from where one can be too long: almost always nowhere.
    suspicious = len(data) if long_line is None else long_line.start()
    position = _first_section(data, suspicious)
    section: str | None = None
    while position < len(data):
        if position >= suspicious:
            _check_line(data, position)
        char = data[position : position + 1]
        if char.isspace():
            position += 1
        elif char in b"#;":
            position = _end_of_line(data, position)
        elif char == b"[":
            section, position = _section(data, position)
        else:
            assert section is not None
            name, value, position = _option(data, position)
            options.append((section, name, value))
    return options


def _first_section(data: bytes, suspicious: int) -> int:
    position = 0
    while position < len(data):
        if position and position >= suspicious:
            _check_line(data, position)
        char = data[position : position + 1]
        if char == b"[":
            break
        position = _end_of_line(data, position) if char in b"#;" else position + 1
    return position


def _check_line(data: bytes, position: int) -> None:
    ahead = data[position : position + LINE_MAX]
    if len(ahead) == LINE_MAX and b"\n" not in ahead and b"\r" not in ahead:
        raise BadUnit(f"the line is longer than {LINE_MAX} bytes", _line(data, position))


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _end_of_line(data: bytes, position: int) -> int:
    """Where the next line begins."""
    end = data.find(b"\n", position)
    return len(data) if end < 0 else end + 1


def _section(data: bytes, start: int) -> tuple[str, int]:
    close = data.find(b"]", start)
    if close < 0:
        raise BadUnit("the section has no closing ']'", _line(data, start))
    name = data[start + 1 : close].decode("utf-8", "replace")
    end = _end_of_line(data, close)
    if data[close + 1 : end].strip():
        raise BadUnit(f"something follows the section name [{name}]", _line(data, close))
    return name, end


def _option(data: bytes, start: int) -> tuple[str, str, int]:
    # Each search stops where the one before ended: a text can be all of ten megabytes.
    end = data.find(b"\n", start)
    end = len(data) if end < 0 else end
    carriage_return = data.find(b"\r", start, end)
    equals = data.find(b"=", start, end if carriage_return < 0 else carriage_return)
    if equals < 0:
        raise BadUnit("expected NAME=VALUE", _line(data, start))
    name = data[start:equals].decode("utf-8", "replace").strip()
    value = b""
    position = equals + 1
    while True:
        end = _end_of_line(data, position)
        line = data[position:end].removesuffix(b"\n").removesuffix(b"\r")
        position = end
        if not line.strip():
            break
        value += line
        if not line.endswith(b"\\"):
            break
        value += b"\n"
    return name, value.decode("utf-8", "replace").strip(), position


def quote_word(word: str, *, specifiers: bool = False, command: bool = False) -> str:
    """One word of a setting.

    Args:
        word: what it shall be.
        specifiers: leave ``%`` as it is: the word has some on purpose, or the setting knows none.
        command: it is an argument of a command line, in which systemd also replaces ``$``.
    """
    if not specifiers:
        word = word.replace("%", "%%")
    if command:
        word = word.replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(_escaped(char) for char in word) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\x{ord(char):02x}" if ord(char) < ord(" ") or ord(char) == 0x7F else char


def is_lost_by_podman(argument: str) -> bool:
    """Whether podman's generator drops an argument of ``Exec=``, whatever it is quoted with.

    Podman 5.4 drops all that follows an empty word, and writes a lone ``;`` so that systemd takes it for the end of
    the command; it undoes quotes and escapes first.
    """
    return argument in ("", ";")
