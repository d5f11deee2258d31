"""What goes wrong with an update, as one sentence."""

from __future__ import annotations


class UpdateError(Exception):
    """An update cannot be read, made or taken; the text says what is wrong and where."""


class BadDocument(UpdateError):
    """A document is not what it should be. The text names the document, the key in it, and what was expected."""
