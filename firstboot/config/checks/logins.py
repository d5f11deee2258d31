"""Keys and hashes with which nobody could log in: cut short when they were copied, or a password itself.

Ignition takes any text. ``variant: buildos`` refuses these; of the other languages the host warns. A machine of which
nobody can tell why it lets nobody in is worse than a key that was not looked at: what sshd may know is accepted.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from firstboot.config.models import Group, Passwd, User
from firstboot.config.text import Path, Problem

_LOCKS = ("!", "*")
# crypt(5): traditional DES and bigcrypt, BSDi's; the others name their method.
_UNNAMED = r"[./0-9A-Za-z]{13}(?:[./0-9A-Za-z]{11})*|_[./0-9A-Za-z]{19}"
_NAMED = r"\$[^$\s:]+\$[^\s:]*\$[^$\s:]+"


def check_logins(passwd: Passwd) -> Iterator[Problem]:
    """One error for each public key (sshd(8), authorized_keys) and each hash (crypt(5), shadow(5)) that is none."""
    for index, user in enumerate(passwd.users):
        at: Path = ("passwd", "users", index)
        for number, text in enumerate(user.ssh_authorized_keys):
            why = next(filter(None, map(_why_no_key, text.split("\n"))), None)
            if why is not None:
                hint = "take the whole line of a file like ~/.ssh/id_ed25519.pub"
                yield Problem((*at, "sshAuthorizedKeys", number), why, hint)
        yield from _hash(user, at)
    for index, group in enumerate(passwd.groups):
        yield from _hash(group, ("passwd", "groups", index))


def _hash(account: User | Group, at: Path) -> Iterator[Problem]:
    text = account.password_hash
    if text and not text.startswith(_LOCKS) and not re.fullmatch(f"{_NAMED}|{_UNNAMED}", text):
        hint = "'openssl passwd -6' makes a hash of a password (crypt(5))"
        yield Problem((*at, "passwordHash"), "this is no hash of a password, so nobody could log in with it", hint)


def _why_no_key(line: str) -> str | None:
    """What is wrong with a line: nothing if it is empty, a comment, or [OPTIONS] TYPE BASE64 [COMMENT]."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    why = "this is no public key"
    for text in (line, _past_options(line)):
        kind, encoded, *_ = (*text.split(maxsplit=2), "", "")
        name = _type_of(encoded)
        if name and (name == kind or (name, kind[:9]) == ("ssh-rsa", "rsa-sha2-")):
            return None
        if name:
            why = "this key is of another type than the word before it says"
        elif encoded.startswith("AAAA"):
            why = "this key is not whole"
    return why


def _past_options(line: str) -> str:
    """What follows the first word, in which quoted spaces are not its end."""
    quoted, at = False, 0
    while at < len(line) and (quoted or not line[at].isspace()):
        if line.startswith('\\"', at):
            at += 1
        elif line[at] == '"':
            quoted = not quoted
        at += 1
    return line[at:]


def _type_of(encoded: str) -> str:
    """The type that a key itself says it is (RFC 4253, section 6.6); empty if it is none or not whole."""
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return ""
    name, fields, at = b"", 0, 0
    # A certificate has numbers among its strings (PROTOCOL.certkeys): of that, only the first is looked at.
    while at < len(blob) and b"-cert-" not in name:
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if end > len(blob):
            return ""
        name = name if fields else blob[at + 4 : end]
        fields, at = fields + 1, end
    return name.decode("latin-1") if fields > 1 or at < len(blob) else ""
