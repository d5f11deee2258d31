"""``secrets`` of ``variant: buildos``: values that are named in a config and never written in it.

::

    secrets:
      - name: db_password
        file: secrets/db            # beside the config, when it is compiled
      - name: api_token
        credential: api.token       # what the platform hands to systemd, at every boot

Each is a file that only root can read, in ``/etc/credstore``, where ``LoadCredential=`` of a service finds it, or
wherever its ``path`` says. ``${secrets.NAME}`` puts a value into inline contents and password hashes; nowhere else,
because other settings can be read by anyone on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from firstboot.config.butane import Surroundings
from firstboot.config.butane.files import NoLocalFile
from firstboot.config.explain import find_suggestion
from firstboot.config.text import Path, Problem

PREFIX = "secrets."
SOURCES = ("file", "env", "credential")
MODE = 0o600
OTHERS = 0o007


class NoSecret(ValueError):
    """A secret's value cannot be had; the text says why.

    Attributes:
        key: the setting that is to blame.
    """

    def __init__(self, message: str, key: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


def require_value(secret: dict[str, Any], surroundings: Surroundings) -> bytes:
    """The bytes of a secret, given as it is written.

    Raises:
        NoSecret: where the config is read, it cannot be known.
    """
    name = secret["name"]
    if name in surroundings.secrets:
        return surroundings.secrets[name]
    if secret.get("file") is not None:
        try:
            return surroundings.files.read(secret["file"])
        except NoLocalFile as error:
            raise NoSecret(str(error), "file", error.hint) from None
    if secret.get("env") is not None:
        text = surroundings.environment.get(secret["env"])
        if text is None:
            hint = "on a machine there is none: compile the config first" if not surroundings.environment else None
            raise NoSecret(f"there is no environment variable '{secret['env']}'", "env", hint)
        return text.encode("utf-8", "surrogateescape")
    raise NoSecret(f"nothing says what the secret '{name}' is", "name", f"give it with --secret {name}=FILE")


class Secrets:
    """The secrets of a document, as far as names in its text need them. The list itself is checked elsewhere."""

    def __init__(self, written: Any, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._written: dict[str, tuple[int, dict[str, Any]]] = {}
        for index, row in enumerate(written if isinstance(written, list) else ()):
            if isinstance(row, dict) and isinstance(row.get("name"), str):
                self._written.setdefault(row["name"], (index, row))

    def get_text(self, name: str) -> str | Problem:
        """A secret as text, without the line break at its end."""
        if name not in self._written:
            hint = find_suggestion(name, self._written) or "declare it under secrets:"
            return Problem((), f"there is no secret '{name}'", hint)
        _, secret = self._written[name]
        if secret.get("credential") is not None:
            hint = "have the service load it: LoadCredential="
            return Problem((), f"the secret '{name}' is known on the machine only, at every boot", hint)
        try:
            return require_value(secret, self._surroundings).decode().removesuffix("\n").removesuffix("\r")
        except NoSecret as error:
            return Problem((), str(error), error.hint)
        except UnicodeDecodeError:
            return Problem((), f"the secret '{name}' is not text")

    @staticmethod
    def protect(data: dict[str, Any], used: Iterable[Path]) -> Iterator[Problem]:
        """See to it that files with secrets in them are not for everybody. Changes ``data``."""
        for path in used:
            if path[:2] != ("storage", "files"):
                continue
            file = data["storage"]["files"][path[2]]
            mode = file.setdefault("mode", MODE)
            if isinstance(mode, int) and mode & OTHERS:
                at: Path = ("storage", "files", path[2], "mode")
                yield Problem(at, "everybody could read the secret in this file", "0600, or 0640 for a group")


def can_hold_secrets(path: Path) -> bool:
    """Whether what is at a path of the document is for root alone, once it is on the machine."""
    if path[:2] == ("passwd", "users"):
        return path[3:] == ("password_hash",)
    return path[:2] == ("storage", "files") and path[-1] == "inline"
