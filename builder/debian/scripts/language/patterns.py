"""Patterns of the shell (``*.conf``) and of find (basic regular expressions), as Python's.

Source: POSIX.1-2024, "Shell Command Language" 2.14 and "Regular Expressions" 9.3, with GNU's additions (``\\+``,
``\\?``, ``\\|``, ``\\<``, ``\\s``, ``\\w``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r"\s", "blank": r" \t", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f", "print": " -~",
    "cntrl": r"\0-\x1f",
}  # fmt: skip


# A repeated group that ends in a repetition: Python's matcher can take a time that doubles with every character.
_NESTED = re.compile(r"(?<!\\)[*+}]\)[*+{]")


class PatternError(ValueError):
    """A pattern that cannot be turned into one of Python's."""


def convert_glob(segments: Iterable[tuple[str, bool]], *, path: bool = False, shortest: bool = False) -> str:
    """A regular expression for a pattern whose ``(text, quoted)`` segments are given; quoted text is literal.

    Args:
        path: ``*`` and ``?`` do not match a slash.
        shortest: ``*`` takes as little as it can.
    """
    result = ""
    for text, quoted in segments:
        if quoted:
            result += re.escape(text)
            continue
        at = 0
        while at < len(text):
            char = text[at]
            at += 1
            if char == "*":
                result += ("[^/]*" if path else r"[\s\S]*") + ("?" if shortest else "")
            elif char == "?":
                result += "[^/]" if path else r"[\s\S]"
            elif char == "[" and (bracket := translate_bracket(text, at)) is not None:
                expression, at = bracket
                result += expression
            elif char == "\\" and at < len(text):
                result += re.escape(text[at])
                at += 1
            else:
                result += re.escape(char)
    return result


def translate_bracket(text: str, at: int) -> tuple[str, int] | None:
    """The bracket expression that begins before ``at`` as Python's, and where it ends; ``None`` if it does not end."""
    start = at
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    body = ""
    first = True
    while at < len(text):
        if text[at] == "]" and not first:
            return f"[{'^' if negated else ''}{body}]", at + 1
        first = False
        if text.startswith("[:", at) and (end := text.find(":]", at)) > 0:
            name = text[at + 2 : end]
            if name not in _CLASSES:
                raise PatternError(f"[:{name}:]")
            body += _CLASSES[name]
            at = end + 2
        else:
            body += text[at] if text[at] == "-" and at > start + negated else re.escape(text[at])
            at += 1
    return None


@lru_cache(maxsize=512)
def convert_regex(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A basic regular expression.

    Raises:
        PatternError: it is none.
    """
    result = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\" and at < len(text):
            following = text[at]
            at += 1
            if following in "(){}+?|":
                result += following
            elif following in "<>":
                result += r"\b"
            elif following in "swSWbB123456789nt":
                result += "\\" + following
            else:
                result += re.escape(following)
        elif char == "[":
            bracket = translate_bracket(text, at)
            if bracket is None:
                raise PatternError(text)
            expression, at = bracket
            result += expression
        elif char in "(){}+?|":
            result += "\\" + char
        elif char == "*" and (not result or result.endswith(("(", "|", "^"))):
            result += r"\*"
        elif char == "^" and result and not result.endswith(("(", "|")):
            result += r"\^"
        elif char == "$" and at < len(text) and not text.startswith(("\\)", "\\|"), at):
            result += r"\$"
        elif char == "$":
            result += r"(?=\n?\Z)" if at >= len(text) else "$"
        else:
            result += char
    if _NESTED.search(result):
        raise PatternError(text)
    try:
        return re.compile(result, re.I if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(text) from error
