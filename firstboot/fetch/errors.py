"""What can go wrong when something is fetched."""

from __future__ import annotations


class FetchError(Exception):
    """Something should be there and cannot be had. ``hint`` says what to try."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0]) if self.hint is None else f"{self.args[0]}\n  = {self.hint}"


class WrongHash(FetchError):
    """It is there and is not what was promised."""


class NeedsNetwork(FetchError):
    """It cannot be had before there is a network, and that is not to be waited for."""


class NotFound(FetchError):
    """The server says that there is no such thing."""


class Temporary(FetchError):
    """Worth another try: the server is not up yet, or has too much to do."""

    def __init__(self, what: str, hint: str | None = None, *, wait: float = 0.0) -> None:
        super().__init__(what, hint)
        self.wait = wait  # seconds the server asks for (RFC 9110, Retry-After)


class TimedOut(Temporary):
    """Nothing came in the time given. Where that was the rest before a deadline, this says nothing about the server."""
