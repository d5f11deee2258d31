"""Keys and hashes with which nobody could log in: cut short when they were copied, or a password itself.

Ignition takes any text, and a machine does what it is told; on the host it is a warning.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from builder.machine.against.together import Together
from firstboot.config.models import Group, User
from firstboot.config.text import Path, Problem

# authorized_keys(5): options, type, base64, comment. The type is in the base64 once more: no list of types is needed.
_KEY = re.compile(r"(?:^|\s)([a-z][a-z0-9@.-]+)\s+(\S+)")
# crypt(5): $id$..., traditional DES, BSDi's; and what locks an account (shadow(5)).
_HASH = re.compile(r"\$[0-9a-z]+\$\S+\$\S+|[./0-9A-Za-z]{13}|_[./0-9A-Za-z]{19}|[!*]\S*|")


def check(together: Together) -> Iterator[Problem]:
    """One warning for each key or hash that is none."""
    passwd = together.config.passwd
    for index, user in enumerate(passwd.users):
        for number, text in enumerate(user.ssh_authorized_keys):
            for line in text.splitlines():
                if line.strip() and not line.lstrip().startswith("#") and (why := _why_no_key(line.strip())):
                    at: Path = ("passwd", "users", index, "ssh_authorized_keys", number)
                    yield Problem(at, why, "take the whole line of a file like ~/.ssh/id_ed25519.pub", "warning")
        yield from _hash(user, ("passwd", "users", index, "password_hash"))
    for index, group in enumerate(passwd.groups):
        yield from _hash(group, ("passwd", "groups", index, "password_hash"))


def _hash(account: User | Group, at: Path) -> Iterator[Problem]:
    if account.password_hash is not None and not _HASH.fullmatch(account.password_hash):
        hint = "'openssl passwd -6' makes a hash of a password (crypt(5))"
        yield Problem(at, "this is no hash of a password, so nobody could log in with it", hint, "warning")


def _why_no_key(line: str) -> str | None:
    for kind, encoded in _KEY.findall(line):
        try:
            fields = _fields(binascii.a2b_base64(encoded, strict_mode=True))
        except binascii.Error:
            fields = None
        if fields is not None and fields[0] == kind.encode():
            return None
        if encoded.startswith("AAAA"):
            return f"this {kind} key is not whole"
    return "this is no public key"


def _fields(blob: bytes) -> list[bytes] | None:
    """What is in a key (RFC 4253, section 6.6): strings with their lengths before them; ``None`` if one is cut off."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            return None
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found if len(found) > 1 else None
