"""Where the archive is: from the definition, from ``BUILD_OS_MIRROR``, or from the host's apt configuration.

No mirror is built in. A setting is one or more URLs separated by white space. A URL whose path ends in
``-security``, or that is written ``security=URL``, is a mirror of the security archive; all others mirror
the main one. Where no security mirror is named, each main mirror ``X`` is asked for ``X-security``, which is
how mirrors lay them out.

A *snapshot* (``BUILD_OS_SNAPSHOT``) keeps what mirrors have dropped: the archive as it was at a time, below a URL
such as ``http://HOST/archive/debian/20261121T091544Z/``. It is asked last, for locked files only. ``{timestamp}`` in
the URL stands for a time shortly after the release of the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from builder.core.errors import BuildError, CapabilityError, InputError
from builder.core.urls import redact_url
from builder.debian.control import parse_stanza

ENVIRONMENT = "BUILD_OS_MIRROR"
SNAPSHOT = "BUILD_OS_SNAPSHOT"
TIMESTAMP = "{timestamp}"
# A release is dated when it is signed; mirrors, and with them a snapshot, have it some hours later.
DELAY = timedelta(hours=12)
# A host that runs another release of Debian still names a mirror that carries ours; Ubuntu's would not.
DEBIAN_SUITES = frozenset(
    "bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable".split()  # noqa: SIM905
)
SUFFIXES = ("-security", "-updates", "-backports", "-proposed-updates")


@dataclass(frozen=True)
class Mirrors:
    """Base URLs without a trailing slash, in the order in which they are asked.

    ``origin`` says where they were found, for messages; ``snapshots`` are asked last, by suite.
    """

    main: tuple[str, ...]
    security: tuple[str, ...]
    origin: str
    snapshots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def list_for_suite(self, suite: str) -> tuple[str, ...]:
        """The mirrors that carry this suite."""
        return self.security if suite.endswith("-security") else self.main

    def list_urls(self, suite: str, path: str) -> tuple[str, ...]:
        """Where a file of the archive (``pool/...``, ``dists/...``) can be had."""
        bases = (*self.list_for_suite(suite), *self.snapshots.get(suite, ()))
        return tuple(f"{base}/{quote(path, safe='/+~:')}" for base in bases)


def list_default_suites(suite: str) -> tuple[str, ...]:
    """The suite itself and those that fix it: ``trixie``, ``trixie-updates``, ``trixie-security``."""
    return (suite,) if suite in ("sid", "unstable") else (suite, f"{suite}-updates", f"{suite}-security")


def parse_mirrors(setting: str | Sequence[str], origin: str) -> Mirrors:
    """Read a setting (see the module's text).

    Raises:
        InputError: a word that is no http or https URL, or only security mirrors.
    """
    main: list[str] = []
    security: list[str] = []
    for word in setting.split() if isinstance(setting, str) else setting:
        marked = word.startswith("security=")
        url = _clean(word.removeprefix("security="), origin)
        (security if marked or urlsplit(url).path.endswith("-security") else main).append(url)
    if not main:
        raise InputError(
            f"no mirror of the main archive in {origin}",
            hint="give its URL, as apt's sources have it: http://HOST/debian",
        )
    siblings = security or [f"{url}-security" for url in main]
    return Mirrors(tuple(dict.fromkeys(main)), tuple(dict.fromkeys(siblings)), origin)


def find_snapshots(
    environment: Mapping[str, str], releases: Iterable[tuple[str, datetime]]
) -> dict[str, tuple[str, ...]]:
    """The snapshots to ask for files of these suites, each of a release of that date.

    Where no snapshot of the security archive is named, ``.../debian/...`` is asked as ``.../debian-security/...``.

    Raises:
        InputError: a setting that is no URL.
    """
    main: list[str] = []
    security: list[str] = []
    for word in environment.get(SNAPSHOT, "").split():
        url = word.removeprefix("security=")
        # A brace is no character of a URL: it is checked with a time in its place.
        _clean(url.replace(TIMESTAMP, "19700101T000000Z"), SNAPSHOT)
        (security if word.startswith("security=") or "/debian-security/" in url else main).append(url.rstrip("/") + "/")
    security = security or [url.replace("/debian/", "/debian-security/") for url in main]
    return {
        suite: tuple(
            url.replace(TIMESTAMP, (date + DELAY).strftime("%Y%m%dT%H%M%SZ")).rstrip("/")
            for url in (security if suite.endswith("-security") else main)
        )
        for suite, date in releases
    }


def _clean(url: str, origin: str) -> str:
    if not _is_mirror(url):
        raise InputError(
            f"{redact_url(url)!r} in {origin} is not the URL of a mirror",
            hint="it must look like http://HOST/debian",
        )
    return url.rstrip("/")


def _is_mirror(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or re.search(r"[\x00-\x20\x7f]", url))
        )
    except ValueError:  # a port that is no number, half an IPv6 address
        return False


def find_mirrors(
    setting: str | Sequence[str] | None,
    environment: Mapping[str, str],
    suites: Sequence[str],
    apt: Path = Path("/etc/apt"),
) -> Mirrors:
    """The mirrors for these suites: from the definition's ``setting``, the environment, or apt's own sources.

    Raises:
        InputError: a setting that is no URL.
        CapabilityError: nothing names a mirror.
    """
    if setting:
        return parse_mirrors(setting, "the definition's 'mirror'")
    if environment.get(ENVIRONMENT, "").strip():
        return parse_mirrors(environment[ENVIRONMENT], ENVIRONMENT)
    mirrors = find_apt_mirrors(apt, suites)
    if mirrors is None:
        raise CapabilityError(
            f"no mirror of Debian's archive is known: {apt} names none for {suites[0]}",
            hint=f"set {ENVIRONMENT}=http://HOST/debian, or 'mirror' in the definition",
        )
    return mirrors


def find_apt_mirrors(apt: Path, suites: Sequence[str]) -> Mirrors | None:
    """What apt on this machine uses for these suites, or for other suites of Debian's."""
    exact: list[tuple[str, str]] = []
    related: list[tuple[str, str]] = []
    for url, suite in read_apt_sources(apt):
        base = _base_suite(suite)
        if suite in suites:
            exact.append((url, suite))
        elif base in DEBIAN_SUITES:
            related.append((url, suite))
    main = [url for url, suite in [*exact, *related] if not suite.endswith("-security")]
    security = [url for url, suite in [*exact, *related] if suite.endswith("-security")]
    if not main:
        return None
    siblings = security or [f"{url}-security" for url in main]
    return Mirrors(tuple(dict.fromkeys(main)), tuple(dict.fromkeys(siblings)), str(apt))


def _base_suite(suite: str) -> str:
    for suffix in SUFFIXES:
        suite = suite.removesuffix(suffix)
    return suite


def read_apt_sources(apt: Path) -> Iterator[tuple[str, str]]:
    """(URL, suite) of every enabled binary source over http(s), in apt's order.

    Source: sources.list(5). Flat sources (``./``) and URLs of other kinds (file:, cdrom:, mirror+file:) are
    left out.
    """
    parts = apt / "sources.list.d"
    names = sorted(parts.iterdir()) if parts.is_dir() else []
    for path in [apt / "sources.list", *names]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        sources = _deb822_sources(text) if path.suffix == ".sources" else _one_line_sources(text)
        for url, suite in sources:
            if _is_mirror(url) and not suite.endswith("/"):
                yield url.rstrip("/"), suite


def _deb822_sources(text: str) -> Iterator[tuple[str, str]]:
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", kept):
        try:
            fields = {name.lower(): value for name, value in parse_stanza(stanza).items()}
        except BuildError:
            continue  # apt complains about it better than we can
        if fields.get("enabled", "yes").lower() in ("no", "false", "off", "0", "without", "disable"):
            continue
        if "deb" in fields.get("types", "").split():
            yield from _pairs(fields.get("uris", "").split(), fields.get("suites", "").split())


def _one_line_sources(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", line)
        if match:
            yield from _pairs([match[1]], [match[2]])


def _pairs(urls: Iterable[str], suites: Iterable[str]) -> Iterator[tuple[str, str]]:
    wanted = list(suites)
    for url in urls:
        for suite in wanted:
            yield url, suite
