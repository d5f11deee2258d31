"""How a registry asks for a login: ``WWW-Authenticate`` (RFC 9110, section 11), and what a token is asked for.

The tokens are those of the distribution project's "Token Authentication Specification", which the distribution-spec
leaves to registries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from firstboot.config.named_tuple import NamedTuple

_compiled = cache(re.compile)
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))'
_SCHEME = rf"({_TOKEN})(?:[ \t]+|$|(?=[ \t]*,))"
_TOKEN68 = r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))"
MAX_HEADER = 16384


class BadChallenge(ValueError):
    """A header that says nothing that can be used."""


class Challenge(NamedTuple):
    """One way to log in: its scheme in small letters, its parameters by names in small letters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Every challenge of a header, in order. A parameter that is there twice counts as first said.

    Raises:
        BadChallenge: it cannot be read.
    """
    if len(header) > MAX_HEADER:
        raise BadChallenge(f"the header WWW-Authenticate has {len(header)} characters")
    challenges: list[Challenge] = []
    position = _skip(header, 0)
    while position < len(header):
        parameters: dict[str, str] = {}
        scheme = _compiled(_SCHEME).match(header, position)
        if scheme is None:
            raise BadChallenge("the header WWW-Authenticate names no scheme")
        position = scheme.end()
        token = _compiled(_TOKEN68).match(header, position)
        if token is not None and _compiled(_PARAMETER).match(header, position) is None:
            position = token.end()
        while (match := _compiled(_PARAMETER).match(header, _skip(header, position))) is not None:
            quoted, plain = match[2], match[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(match[1].lower(), value)
            position = match.end()
        if position < len(header) and header[position] not in ", \t":
            raise BadChallenge("the header WWW-Authenticate cannot be read")
        challenges.append(Challenge(scheme[1].lower(), parameters))
        position = _skip(header, position)
    return challenges


def _skip(header: str, position: int) -> int:
    while position < len(header) and header[position] in ", \t":
        position += 1
    return position


def choose_challenge(challenges: Sequence[Challenge]) -> Challenge:
    """The one to answer: a token if that is possible, else name and password.

    Raises:
        BadChallenge: no other way is known here.
    """
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (scheme == "basic" or challenge.parameters.get("realm")):
                return challenge
    known = ", ".join(challenge.scheme for challenge in challenges) or "no scheme at all"
    raise BadChallenge(f"it wants a login by {known[:80]}; possible are Bearer and Basic")


def check_realm(realm: str, secure: bool) -> str:
    """Where a token may be asked for: over HTTPS where the registry is.

    Raises:
        BadChallenge: not there.
    """
    if not realm.isascii() or not realm.isprintable() or " " in realm:
        raise BadChallenge("it wants to log us in at a place that is no URL")
    scheme = realm.partition("://")[0].lower()
    if scheme not in ("https", "http") or "@" in realm.partition("://")[2].partition("/")[0]:
        raise BadChallenge("it wants to log us in at a place that is no web server")
    if scheme == "http" and secure:
        raise BadChallenge("it wants to log us in over plain HTTP")
    return realm


def make_scope(repository: str, *actions: str) -> str:
    """What may be done with a repository: ``repository:NAME:pull,push``."""
    return f"repository:{repository}:{','.join(actions)}"


def list_token_fields(challenge: Challenge, scopes: Sequence[str]) -> list[tuple[str, str]]:
    """What a token is asked for, as fields of a query or a form; ``scope`` once for each."""
    service = challenge.parameters.get("service", "")
    return [*([("service", service)] if service else []), *(("scope", scope) for scope in scopes)]
