"""registries.conf: where an image's name leads, and how (containers-registries.conf(5), version 2).

``$CONTAINERS_REGISTRIES_CONF`` is the only file where it is set. Else ``~/.config/containers/registries.conf``, or
``/etc/containers/registries.conf`` if there is none; then the files of ``registries.conf.d`` of both places, in the
order of their names. Short names are Docker Hub's here, so lists of registries to search have no meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.core.errors import InputError
from builder.core.files import read_bounded
from firstboot.config.oci.reference import BadReference, Reference, parse_repository

CONFIGURATION = "CONTAINERS_REGISTRIES_CONF"
SYSTEM = Path("/etc/containers")
MAX_FILE = 4 << 20
PULL_FROM = ("all", "digest-only", "tag-only")


@dataclass(frozen=True)
class Mirror:
    """Another place for the same content; it is asked before the registry itself."""

    location: str
    insecure: bool = False
    pull_from: str = "all"


@dataclass(frozen=True)
class Registry:
    """One ``[[registry]]``.

    Attributes:
        prefix: of the names that it is about.
        location: what the prefix is replaced by; ``""``: nothing.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    origin: str = field(default="", compare=False)

    def is_about(self, name: str) -> bool:
        """Whether ``HOST/PATH[:TAG]`` begins with the prefix, up to a whole part of it."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0].partition(":")[0]
            return host.endswith(self.prefix[1:])
        return name == self.prefix or (name.startswith(self.prefix) and name[len(self.prefix)] in "/:@")


@dataclass(frozen=True)
class PullSource:
    """Where an image may be found: its name there, and whether certificates matter."""

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False


@dataclass(frozen=True)
class Rules:
    """All that the files say."""

    registries: tuple[Registry, ...] = ()
    helpers: tuple[str, ...] = ()

    def find(self, reference: Reference) -> Registry | None:
        """The entry with the longest prefix."""
        name = reference.name if reference.tag is None else f"{reference.name}:{reference.tag}"
        fitting = [registry for registry in self.registries if registry.is_about(name)]
        return max(fitting, key=lambda registry: len(registry.prefix), default=None)

    def list_places(self, reference: Reference, *, mirrors: bool = True) -> list[PullSource]:
        """Where to look, mirrors first.

        Args:
            mirrors: whether they are wanted: nothing is pushed to one.

        Raises:
            InputError: the registry is blocked, or a rule makes no name of this one.
        """
        rule = self.find(reference)
        if rule is None:
            return [PullSource(reference)]
        if rule.blocked:
            raise InputError(
                f"{reference.registry} is blocked, so {reference} is not fetched",
                details=[f"{rule.origin}: prefix {rule.prefix!r} has blocked = true"],
            )
        places = []
        for mirror in rule.mirrors if mirrors else ():
            if mirror.pull_from == "all" or (mirror.pull_from == "digest-only") == (reference.digest is not None):
                places.append(PullSource(_rewrite(reference, rule, mirror.location), mirror.insecure, is_mirror=True))
        own = reference if not rule.location else _rewrite(reference, rule, rule.location)
        return [*places, PullSource(own, rule.insecure)]


def _rewrite(reference: Reference, rule: Registry, location: str) -> Reference:
    if rule.prefix.startswith("*."):
        rest = "/" + reference.repository
    else:
        name = reference.name if reference.tag is None else f"{reference.name}:{reference.tag}"
        rest = name[len(rule.prefix) :]
    tag = f":{reference.tag}" if reference.tag is not None else ""
    path = rest.removesuffix(tag) if tag else rest
    try:
        rewritten = parse_repository(f"{location}{path}")
    except BadReference as error:
        message = f"{rule.origin}: prefix {rule.prefix!r} with location {location!r} makes no name of {reference}"
        raise InputError(f"{message}: {error}") from None
    return rewritten._replace(tag=rewritten.tag or reference.tag, digest=reference.digest)


def load_rules(environment: Mapping[str, str], system: Path = SYSTEM) -> Rules:
    """The rules that hold for this user.

    Raises:
        InputError: a file cannot be read or is wrong.
    """
    chosen = environment.get(CONFIGURATION)
    if chosen:
        return parse_rules([(chosen, _read(Path(chosen), required=True) or "")])
    home = Path(environment.get("HOME") or Path.home())
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    texts = []
    for directory in (own, system):
        text = _read(directory / "registries.conf")
        if text is not None:
            texts.append((str(directory / "registries.conf"), text))
            break
    for directory in (system, own):
        for path in sorted((directory / "registries.conf.d").glob("*.conf")):
            texts.append((str(path), _read(path) or ""))
    return parse_rules(texts)


def _read(path: Path, *, required: bool = False) -> str | None:
    try:
        return read_bounded(path, MAX_FILE).decode()
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise InputError(f"there is no {path}, which {CONFIGURATION} names") from None
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8") from None


def parse_rules(files: Iterable[tuple[str, str]]) -> Rules:
    """The rules of files, each with its name; of two entries with one prefix the later counts.

    Raises:
        InputError: a file is no TOML, or a value is of another form.
    """
    import tomllib  # noqa: PLC0415 - few have such a file

    registries: dict[str, Registry] = {}
    helpers: tuple[str, ...] = ()
    for origin, text in files:
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{origin} is no TOML: {error}") from None
        if "registries" in document:
            raise InputError(
                f"{origin} is written in version 1 of its format, which is not supported",
                hint="write [[registry]] with prefix, location, insecure and blocked: containers-registries.conf(5)",
            )
        entries = document.get("registry", [])
        if not isinstance(entries, list):
            raise InputError(f"{origin}: registry must be written [[registry]]")
        for number, entry in enumerate(entries):
            registry = _parse_registry(entry, f"{origin}: registry {number + 1}", origin)
            registries[registry.prefix] = registry
        if "credential-helpers" in document:
            names = document["credential-helpers"]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise InputError(f"{origin}: credential-helpers must be a list of names")
            helpers = tuple(names)
    return Rules(tuple(registries.values()), helpers)


def _parse_registry(entry: object, where: str, origin: str) -> Registry:
    if not isinstance(entry, dict):
        raise InputError(f"{where} must be a table")
    location = _text(entry, "location", where)
    prefix = _text(entry, "prefix", where) or location
    if not prefix:
        raise InputError(f"{where} has neither prefix nor location")
    digest_only = _flag(entry, "mirror-by-digest-only", where)
    mirrors = entry.get("mirror", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, dict) for mirror in mirrors):
        raise InputError(f"{where}: mirror must be written [[registry.mirror]]")
    own_mirrors = []
    for mirror in mirrors:
        there = _text(mirror, "location", f"{where}: mirror")
        if not there:
            raise InputError(f"{where} has a mirror without location")
        pull_from = _text(mirror, "pull-from-mirror", where) or ("digest-only" if digest_only else "all")
        if pull_from not in PULL_FROM:
            raise InputError(f"{where}: pull-from-mirror is one of {', '.join(PULL_FROM)}")
        own_mirrors.append(Mirror(_clean_location(there, where), _flag(mirror, "insecure", where), pull_from))
    if not prefix.startswith("*."):
        prefix = _clean_location(prefix, where)
    return Registry(
        prefix,
        "" if not location or location == prefix else _clean_location(location, where),
        _flag(entry, "insecure", where),
        _flag(entry, "blocked", where),
        tuple(own_mirrors),
        origin,
    )


def _clean_location(text: str, where: str) -> str:
    if "://" in text:
        raise InputError(f"{where}: {text[:100]!r} must be written without the scheme")
    return text.rstrip("/")


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} must be text")
    return value


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{where}: {key} must be true or false")
    return value
