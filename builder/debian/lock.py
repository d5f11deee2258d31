"""The lock: every package of an image, by hash, and the signed indexes it was chosen from.

One package a line and sorted, so that ``git diff os.lock`` shows what an update changes. No mirror's name is
in it: a path below any mirror of the archive is enough. It knows the recipe it was made from, so a stale one
is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from builder.core.errors import InputError
from builder.core.files import write_file
from builder.debian.control import is_package_name
from builder.debian.version import is_version, make_version_key

SCHEMA = 2
DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
UPDATE_HINT = "'build-os lock' makes a new one"
_WORD = re.compile(r"[a-z0-9][a-z0-9.+:/_-]{0,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_PATH = re.compile(r"[A-Za-z0-9._+~:%/-]{1,1000}")
_ANSWER = re.compile("ignore|effects|sandbox")
_SOURCE = re.compile(r"\S+ \S+")
_WHEEL_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")
_PYTHON_VERSION = re.compile(r"[0-9a-z][0-9a-z.!+]{0,99}")


class LockError(InputError):
    """A lock file that is missing, unreadable, or not made from this recipe."""


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """A deb: its ``size`` in bytes, ``path`` below the mirror, source package as ``NAME VERSION``.

    ``suite`` and ``component`` say which of :attr:`Lock.indexes` it was found in.
    """

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    path: str
    source: str
    suite: str
    component: str = "main"

    @property
    def source_name(self) -> str:
        """The source package's name."""
        return self.source.partition(" ")[0]

    @property
    def source_version(self) -> str:
        """The source package's version, which differs from the package's own after a binary rebuild."""
        return self.source.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class LockedRelease:
    """A signed index: its suite, its date (``2026-11-21T09:15:44Z``), the hash of its InRelease file."""

    suite: str
    date: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockedIndex:
    """A list of packages that a release vouches for: ``path`` below ``dists/SUITE``, ``size`` in bytes as sent."""

    suite: str
    component: str
    architecture: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedImage:
    """A container image from elsewhere: the container's name, its manifest's digest.

    Of a registry: ``reference`` is what the definition says, ``index`` the digest of the index that the manifest is
    from, if it is from one; ``signature`` and ``key`` are the hashes of what was signed with its signature,
    and of the file with the public key that made it.
    """

    name: str
    digest: str
    reference: str = ""
    index: str = ""
    signature: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class LockedArtifact:
    """A file that is no package, in one of :meth:`Lock.list_groups`; ``size`` in bytes.

    ``origin`` is where it is, as the definition says: a URL or a file. ``signature`` and ``key`` are the hashes of its
    signature and of the file with the public key that must have made it; empty where nothing is asked.
    """

    group: str
    artifact: str
    origin: str
    sha256: str
    size: int
    signature: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class LockedDecision:
    """What the definition decided about a package's maintainer scripts, in one of :meth:`Lock.list_groups`.

    ``why`` is the reason for ``ignore``, the list of what is declared for ``effects``, empty for ``sandbox``.
    """

    group: str
    package: str
    answer: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class LockedRun:
    """What a package's maintainer scripts changed when they were run: how many things, and the hash of their list."""

    group: str
    package: str
    changes: str


@dataclass(frozen=True, slots=True)
class LockedEnvironment:
    """A Python environment of one of :meth:`Lock.list_groups`, and the hash of what was asked for."""

    group: str
    name: str
    recipe_sha256: str


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """A wheel of an environment: its normalised name, its version, its file's name on the index, ``size`` in bytes."""

    group: str
    environment: str
    name: str
    version: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Lock:
    """All that a build takes from elsewhere, and what was decided instead of being understood.

    Attributes:
        recipe_sha256: hash of what was asked for (the definition's part that decides packages).
        releases: the signed indexes of the day.
        packages: the image's own.
        tools: those of the tools tree.
        sets: further groups, such as ``container:web``.
        indexes: the lists of packages that the releases vouch for.
        images: container images of registries, and those that lie beside the definition.
        decisions: about maintainer scripts. A lock without any is written as before there were such.
        runs: what those scripts changed that were run; written by the build that ran them.
        environments, wheels: Python's. A lock without any is written as before there were such.
        artifacts: files that are no packages.

    Everything is sorted when the lock is made, so two locks of the same content are equal.
    """

    recipe_sha256: str
    arch: str
    suite: str
    releases: tuple[LockedRelease, ...] = ()
    packages: tuple[LockedPackage, ...] = ()
    tools: tuple[LockedPackage, ...] = ()
    sets: Mapping[str, tuple[LockedPackage, ...]] = field(default_factory=dict)
    indexes: tuple[LockedIndex, ...] = ()
    images: tuple[LockedImage, ...] = ()
    decisions: tuple[LockedDecision, ...] = ()
    runs: tuple[LockedRun, ...] = ()
    environments: tuple[LockedEnvironment, ...] = ()
    wheels: tuple[LockedWheel, ...] = ()
    artifacts: tuple[LockedArtifact, ...] = ()

    def __post_init__(self) -> None:
        keep = object.__setattr__  # the way a frozen dataclass may still put its own fields in order
        keep(self, "releases", tuple(sorted(self.releases, key=lambda release: release.suite)))
        indexes = dict.fromkeys(self.indexes)
        keep(self, "indexes", tuple(sorted(indexes, key=lambda i: (i.suite, i.component, i.architecture, i.sha256))))
        keep(self, "packages", _sorted(self.packages))
        keep(self, "tools", _sorted(self.tools))
        keep(self, "sets", {name: _sorted(self.sets[name]) for name in sorted(self.sets)})
        keep(self, "images", tuple(sorted(self.images, key=lambda image: image.name)))
        keep(self, "decisions", tuple(sorted(self.decisions, key=lambda d: (d.group, d.package))))
        keep(self, "runs", tuple(sorted(self.runs, key=lambda run: (run.group, run.package))))
        keep(self, "environments", tuple(sorted(self.environments, key=lambda e: (e.group, e.name))))
        keep(self, "wheels", tuple(sorted(self.wheels, key=lambda w: (w.group, w.environment, w.name))))
        keep(self, "artifacts", tuple(sorted(self.artifacts, key=lambda row: (row.group, row.artifact))))

    def list_groups(self) -> dict[str, tuple[LockedPackage, ...]]:
        """The packages by group, the image's own as ``image``, the tools as ``tools``."""
        return {"image": self.packages, **self.sets, "tools": self.tools}

    def list_all_packages(self) -> tuple[LockedPackage, ...]:
        """Every deb of every group, each once, sorted."""
        groups = self.list_groups().values()
        return _sorted({package.sha256: package for group in groups for package in group}.values())

    def replace_runs(self, new_runs: Iterable[LockedRun]) -> Lock:
        """The lock with what scripts changed that a build has just run.

        Raises:
            LockError: of a script that was run before, with the same packages, other changes are recorded.
        """
        known = {(run.group, run.package): run for run in self.runs}
        runs = {(run.group, run.package): run for run in new_runs}
        others = [key for key, run in runs.items() if known.get(key, run) != run]
        if others:
            raise LockError(
                "scripts that were run changed something else than the lock records: "
                + ", ".join(sorted(package for _, package in others)),
                details=[f"{key[1]}: {known[key].changes} -> {runs[key].changes}" for key in sorted(others)],
                hint="build.log lists what they change; 'build-os lock' forgets what is recorded",
            )
        groups = {group for group, _ in runs}
        return replace(self, runs=(*runs.values(), *(run for run in self.runs if run.group not in groups)))

    def require_recipe(self, recipe_sha256: str, where: str) -> None:
        """Refuse a lock that was made from another recipe.

        Raises:
            LockError: it was.
        """
        if self.recipe_sha256 != recipe_sha256:
            raise LockError(
                f"{where} is stale: the definition asks for other packages than when it was made",
                hint="'build-os lock' brings it up to date",
            )

    def require_decisions(self, decisions: Sequence[LockedDecision], where: str) -> None:
        """Refuse decisions about scripts that are not the ones that were locked.

        Raises:
            LockError: one has changed, or is new or gone.
        """
        ours = sorted(decisions, key=lambda d: (d.group, d.package))
        if list(self.decisions) != ours:
            raise LockError(
                f"{where} is stale: the definition decides otherwise about maintainer scripts than when it was made",
                details=[str(change) for change in compare_decisions(self.decisions, ours)],
                hint="'build-os lock' records the decisions; every package keeps its version",
            )

    def require_environments(self, environments: Sequence[LockedEnvironment], where: str) -> None:
        """Refuse Python environments that are not the ones that were locked.

        Raises:
            LockError: one asks for something else, or is new or gone.
        """
        ours = {(environment.group, environment.name): environment.recipe_sha256 for environment in environments}
        known = {(environment.group, environment.name): environment.recipe_sha256 for environment in self.environments}
        changed = sorted({key[1] for key in ours.keys() | known.keys() if ours.get(key) != known.get(key)})
        if changed:
            raise LockError(
                f"{where} is stale: Python environment {', '.join(changed)} is not what it was when it was made",
                hint="'build-os lock' brings it up to date; what is locked keeps its version where it can",
            )

    def list_wheels(self, group: str, environment: str) -> tuple[LockedWheel, ...]:
        """The wheels of one environment, by name."""
        return tuple(w for w in self.wheels if (w.group, w.environment) == (group, environment))

    @cached_property
    def sha256(self) -> str:
        """The hash of the file."""
        return hashlib.sha256(self.render().encode()).hexdigest()

    def render(self) -> str:
        """The text of the file."""
        head = {
            "schema": SCHEMA,
            "recipe_sha256": self.recipe_sha256,
            "arch": self.arch,
            "suite": self.suite,
        }
        lines = ["{", *(f" {_json(key)}: {_json(value)}," for key, value in head.items())]
        lines.append(f' "releases": {_rows(self.releases, 1)},')
        lines.append(f' "indexes": {_rows(self.indexes, 1)},')
        lines.append(f' "packages": {_rows(self.packages, 1)},')
        lines.append(f' "tools": {_rows(self.tools, 1)},')
        groups = [f"  {_json(name)}: {_rows(group, 2)}" for name, group in self.sets.items()]
        lines.append(' "sets": {' + ("\n" + ",\n".join(groups) + "\n }," if groups else "},"))
        tables = [f' "images": {_rows(self.images, 1)}']
        tables += [f' "decisions": {_rows(self.decisions, 1)}'] if self.decisions else []
        tables += [f' "runs": {_rows(self.runs, 1)}'] if self.runs else []
        tables += [f' "environments": {_rows(self.environments, 1)}'] if self.environments else []
        tables += [f' "wheels": {_rows(self.wheels, 1)}'] if self.wheels else []
        tables += [f' "artifacts": {_rows(self.artifacts, 1)}'] if self.artifacts else []
        lines.append(",\n".join(tables))
        return "\n".join([*lines, "}", ""])

    def dump(self, path: Path) -> None:
        """Write the file, whole or not at all, a power cut included."""
        write_file(path, self.render(), durable=True)

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock file.

        Raises:
            LockError: it is not there, cannot be read, or is no lock.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            raise LockError(f"there is no {path}", hint=UPDATE_HINT) from error
        except OSError as error:
            raise LockError(f"cannot read {path}: {error.strerror}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Lock:
        """Read a lock's text; ``name`` is used in messages.

        Raises:
            LockError: it is no lock.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise LockError(
                f"{name}:{error.lineno}:{error.colno}: {error.msg}",
                hint="a merge that was not finished? " + UPDATE_HINT,
            ) from error
        except (ValueError, RecursionError) as error:
            raise LockError(f"{name} is not a lock file: {error}", hint=UPDATE_HINT) from error
        return _Reader(name).lock(data)


LockedRow = (
    LockedPackage
    | LockedRelease
    | LockedIndex
    | LockedImage
    | LockedDecision
    | LockedRun
    | LockedEnvironment
    | LockedWheel
    | LockedArtifact
)


@dataclass(frozen=True)
class DecisionChange:
    """A decision that is not the same in two locks; ``None`` where one does not have it."""

    old: LockedDecision | None
    new: LockedDecision | None

    def __str__(self) -> str:
        known = self.new or self.old
        assert known is not None, "one of them is there"
        return f"scripts of {known.package} ({known.group}): {_decided(self.old)} -> {_decided(self.new)}"


def _decided(decision: LockedDecision | None) -> str:
    if decision is None:
        return "no decision"
    return f"{decision.answer} ({decision.why})" if decision.why else decision.answer


def compare_decisions(old: Iterable[LockedDecision], new: Iterable[LockedDecision]) -> list[DecisionChange]:
    """The decisions that differ, by group and package."""
    one, other = ({(d.group, d.package): d for d in decisions} for decisions in (old, new))
    keys = sorted(one.keys() | other.keys())
    return [DecisionChange(one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def parse_date(text: str) -> datetime:
    """A date as a lock has it, ``2026-11-21T09:15:44Z``.

    Raises:
        ValueError: not such a date.
    """
    return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _rows(rows: Sequence[LockedRow], indent: int) -> str:
    if not rows:
        return "[]"
    pad = " " * indent
    body = ",\n".join(f"{pad} {_json(_row_data(row))}" for row in rows)
    return f"[\n{body}\n{pad}]"


def _row_data(row: Any) -> dict[str, object]:
    """A row as it is written: of images and artifacts without what is empty, which most of them do not have."""
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    if not isinstance(row, LockedImage | LockedArtifact):
        return values
    return {name: value for name, value in values.items() if value != ""}


def _sorted(packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    return tuple(sorted(packages, key=lambda p: (p.name, make_version_key(p.version), p.architecture, p.sha256)))


R = TypeVar(
    "R",
    LockedPackage,
    LockedRelease,
    LockedIndex,
    LockedImage,
    LockedDecision,
    LockedRun,
    LockedEnvironment,
    LockedWheel,
    LockedArtifact,
)


def is_path(value: str) -> bool:
    """Whether the text can be a file's path below a mirror: relative, normal, of harmless characters."""
    return (
        _PATH.fullmatch(value) is not None and not value.startswith("/") and not {"", ".", ".."} & set(value.split("/"))
    )


def _is_date(value: str) -> bool:
    try:
        parse_date(value)
    except ValueError:
        return False
    return _DATE.fullmatch(value) is not None


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "name": is_package_name,
    "version": is_version,
    "architecture": _WORD.fullmatch,
    "arch": _WORD.fullmatch,
    "suite": _WORD.fullmatch,
    "component": _WORD.fullmatch,
    "digest": _DIGEST.fullmatch,
    "index": _DIGEST.fullmatch,
    "reference": str.isprintable,
    "sha256": _SHA256.fullmatch,
    "recipe_sha256": _SHA256.fullmatch,
    "date": _is_date,
    "path": is_path,
    "source": _SOURCE.fullmatch,
    "group": _WORD.fullmatch,
    "package": is_package_name,
    "answer": _ANSWER.fullmatch,
    "why": str.isprintable,
    "changes": str.isprintable,
    "environment": _WORD.fullmatch,
    "file": _WHEEL_FILE.fullmatch,
    "artifact": _WORD.fullmatch,
    "origin": str.isprintable,
    "signature": _SHA256.fullmatch,
    "key": _SHA256.fullmatch,
}
# What is called the same and is written otherwise.
_OWN_CHECKS: Mapping[type, Mapping[str, Callable[[str], object]]] = {
    LockedEnvironment: {"name": _WORD.fullmatch},
    LockedImage: {"name": _WORD.fullmatch},  # container:NAME is what a container is made on
    LockedWheel: {"name": _WORD.fullmatch, "version": _PYTHON_VERSION.fullmatch},
}


def _from_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """A lock of format 1, which knew nothing of indexes and of images that are brought along, as one of this format.

    Its packages were all of the component ``main``, which is what a row without one means.
    """
    return {**data, "schema": SCHEMA, "indexes": [], "images": []}


class _Reader:
    """Turns parsed JSON into a :class:`Lock`, naming the place of whatever is wrong with it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def lock(self, data: Any) -> Lock:
        if not isinstance(data, dict):
            raise self._bad("$", "must be an object")
        if data.get("schema") == 1:
            data = _from_1(data)
        if data.get("schema") != SCHEMA:
            raise LockError(
                f"{self._name} has lock format {str(data.get('schema'))[:20]}, this build-os reads {SCHEMA}",
                hint=UPDATE_HINT,
            )
        known = {"schema", *(f.name for f in fields(Lock))}
        self._keys(data, known, known - {"decisions", "runs", "environments", "wheels", "artifacts"}, "$")
        sets = data["sets"]
        if not isinstance(sets, dict):
            raise self._bad("$.sets", "must be an object")
        return Lock(
            recipe_sha256=self._text(data, "recipe_sha256", "$"),
            arch=self._text(data, "arch", "$"),
            suite=self._text(data, "suite", "$"),
            releases=self._list(LockedRelease, data["releases"], "$.releases"),
            indexes=self._list(LockedIndex, data["indexes"], "$.indexes"),
            packages=self._list(LockedPackage, data["packages"], "$.packages"),
            tools=self._list(LockedPackage, data["tools"], "$.tools"),
            sets={key: self._list(LockedPackage, value, f"$.sets[{key!r}]") for key, value in sets.items()},
            images=self._list(LockedImage, data["images"], "$.images"),
            decisions=self._list(LockedDecision, data.get("decisions", []), "$.decisions"),
            runs=self._list(LockedRun, data.get("runs", []), "$.runs"),
            environments=self._list(LockedEnvironment, data.get("environments", []), "$.environments"),
            wheels=self._list(LockedWheel, data.get("wheels", []), "$.wheels"),
            artifacts=self._list(LockedArtifact, data.get("artifacts", []), "$.artifacts"),
        )

    def _list(self, kind: type[R], data: Any, where: str) -> tuple[R, ...]:
        if not isinstance(data, list):
            raise self._bad(where, "must be a list")
        return tuple(self._row(kind, row, f"{where}[{number}]") for number, row in enumerate(data))

    def _row(self, kind: type[R], data: Any, where: str) -> R:
        if not isinstance(data, dict):
            raise self._bad(where, "must be an object")
        names = {f.name for f in fields(kind)}
        needed = {f.name for f in fields(kind) if f.default is MISSING}
        self._keys(data, names, needed, where)
        values: dict[str, Any] = {}
        for name in names & data.keys():
            if name == "size":
                size = data[name]
                if type(size) is not int or not 0 < size < 1 << 40:
                    raise self._bad(f"{where}.size", "must be a number of bytes")
                values[name] = size
            else:
                values[name] = self._text(data, name, where, _OWN_CHECKS.get(kind, {}).get(name))
        return kind(**values)

    def _text(
        self, data: Mapping[str, Any], name: str, where: str, check: Callable[[str], object] | None = None
    ) -> str:
        value = data[name]
        if not isinstance(value, str) or not (check or _CHECKS[name])(value):
            raise self._bad(f"{where}.{name}", f"is not usable: {str(value)[:80]!r}")
        return value

    def _keys(self, data: Mapping[str, Any], known: set[str], needed: set[str], where: str) -> None:
        for key in data:
            if key not in known:
                raise self._bad(f"{where}.{key[:80]}", "is not known")
        for key in sorted(needed - data.keys()):
            raise self._bad(f"{where}.{key}", "is missing")

    def _bad(self, where: str, what: str) -> LockError:
        return LockError(f"{self._name}: {where} {what}", hint=UPDATE_HINT)
