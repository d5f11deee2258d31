"""Values in units: systemd reads back what was meant, and a value is never more than one setting."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firstboot.config.buildos.unit_writing import format_command_line, format_one_line
from firstboot.config.unit_text import parse_options, quote_word

pytestmark = pytest.mark.unit

WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=30)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")
_NAMED = {"n": "\n", "t": "\t", "r": "\r"}


def words_of(value: str) -> list[str]:
    """As systemd splits the value of a setting (extract_first_word with EXTRACT_UNQUOTE and EXTRACT_CUNESCAPE)."""
    found = []
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', value):
        plain, inside = match[2], match[1]
        found.append(plain if inside is None else _ESCAPE.sub(_unescaped, inside))
    return found


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code.startswith("x") and len(code) == 3 else _NAMED.get(code, code)


@given(WORDS)
@example('a "b" \\ $HOME %h\n[Service]\nUser=root')
def test_a_word_is_read_back_as_it_was(word: str) -> None:
    value = quote_word(word)
    assert "\n" not in value
    assert [each.replace("%%", "%") for each in words_of(value)] == [word]


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_a_command_line_is_read_back_and_is_one_setting(words: list[str]) -> None:
    line = format_command_line(words)
    read = [each.replace("%%", "%").replace("$$", "$") for each in words_of(line)]
    assert read == words
    assert [name for _, name, _ in parse_options(f"[Service]\nExecStart={line}\nUser=nobody\n")] == [
        "ExecStart",
        "User",
    ]


@given(WORDS)
def test_a_description_stays_in_its_line(text: str) -> None:
    assert len(parse_options(f"[Unit]\nDescription=x{format_one_line(text)}\n")) == 1
