"""What a root has installed already, where packages are to go on top: dpkg's own record, and what fits to it.

A package that is there is not installed again, whatever its version; what is added must be content with that version.

Source: dpkg's ``status``, deb822(5); Debian Policy 7 on relations. ``status.d`` is how distroless images record theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from builder.core.errors import SourceError
from builder.debian.control import Relation, parse_relations, parse_stanza
from builder.debian.database import DIRECTORY
from builder.debian.index import Package
from builder.debian.version import is_satisfied
from builder.tree.node import Inline, Kind
from builder.tree.tree import Tree

MAX_STATUS = 64 << 20
STATUS, STATUS_DIRECTORY = f"{DIRECTORY}/status", f"{DIRECTORY}/status.d"


@dataclass(frozen=True)
class Installed:
    """A package of a root: its version, what it provides (name -> version, maybe empty), what it breaks."""

    name: str
    version: str
    provides: Mapping[str, str]
    breaks: tuple[Relation, ...] = ()


def find_installed(tree: Tree) -> dict[str, Installed] | None:
    """The packages of a root by name; ``None`` if it has no record of any.

    Raises:
        SourceError: the record is no such text.
    """
    texts = list(_read_records(tree))
    if not texts:
        return None
    installed = {}
    for text in texts:
        for stanza in split_stanzas(text):
            fields = parse_stanza(stanza)
            if fields.get("Status", "install ok installed").split()[2:] != ["installed"] or "Package" not in fields:
                continue
            name = fields["Package"]
            provides = {group[0].name: group[0].version for group in parse_relations(fields.get("Provides", ""))}
            breaks = (*_flatten(fields.get("Breaks", "")), *_flatten(fields.get("Conflicts", "")))
            installed[name] = Installed(name, fields.get("Version", ""), provides, breaks)
    return installed


def make_installed(package: Package) -> Installed:
    """A package as it will be when it is there."""
    provides = {group[0].name: group[0].version for group in parse_relations(package.provides)}
    return Installed(package.name, package.version, provides, (*_flatten(package.breaks), *_flatten(package.conflicts)))


def split_stanzas(text: str) -> list[str]:
    """The stanzas of a record, each ending in a newline."""
    return [f"{stanza.strip(chr(10))}\n" for stanza in text.split("\n\n") if stanza.strip()]


def _read_records(tree: Tree) -> Iterator[str]:
    paths = [STATUS]
    directory = tree.get(STATUS_DIRECTORY, follow=True)
    if directory is not None and directory.kind is Kind.DIRECTORY:
        names = tree.list_children(STATUS_DIRECTORY)
        paths += [f"{STATUS_DIRECTORY}/{name}" for name in names if not name.endswith(".md5sums")]
    for path in paths:
        node = tree.get(path, follow=True)
        if node is None or node.kind is not Kind.FILE:
            continue
        if node.size > MAX_STATUS:
            raise SourceError(f"{path} of the base is larger than {MAX_STATUS} bytes")
        yield node.content.read().decode(errors="surrogateescape")


def find_misfits(packages: Sequence[Package], installed: Mapping[str, Installed]) -> list[str]:
    """What is wrong with adding these packages to a root that has those, each a sentence."""
    new = {package.name: make_installed(package) for package in packages}
    everything = {**installed, **new}
    problems = []
    for package in packages:
        for group in (*parse_relations(package.pre_depends), *parse_relations(package.depends)):
            if not any(_find(relation, everything) for relation in group):
                problems.append(f"{package.name} needs {' or '.join(map(str, group))}{_has(group[0], installed)}")
        for relation in (*_flatten(package.breaks), *_flatten(package.conflicts)):
            problems += [
                f"{package.name} cannot be beside {other.name} {other.version}, which the base has"
                for other in _find(relation, installed)
                if other.name != package.name
            ]
    for old in installed.values():
        for relation in old.breaks:
            problems += [
                f"{other.name} {other.version} cannot be beside {old.name} {old.version}, which the base has"
                for other in _find(relation, new)
                if other.name != old.name
            ]
    return sorted(set(problems))


def _find(relation: Relation, packages: Mapping[str, Installed]) -> list[Installed]:
    """The packages that fulfil a relation."""
    own = packages.get(relation.name)
    fitting = [own] if own is not None and _fits(own.version, relation) else []
    return fitting + [
        package
        for package in packages.values()
        if relation.name in package.provides and _fits(package.provides[relation.name], relation)
    ]


def _fits(version: str, relation: Relation) -> bool:
    if not relation.operator:
        return True
    return bool(version) and is_satisfied(version, relation.operator, relation.version)


def _has(relation: Relation, installed: Mapping[str, Installed]) -> str:
    own = installed.get(relation.name)
    return "" if own is None else f", and the base has {own.version}"


def _flatten(text: str) -> list[Relation]:
    return [group[0] for group in parse_relations(text)]


def merge_database(tree: Tree, before: Tree) -> None:
    """Give dpkg's record in ``tree``, which says what was added, what ``before`` recorded as well."""
    for path in (STATUS, *(f"{DIRECTORY}/triggers/{name}" for name in _list_triggers(tree, before))):
        old, new = before.get(path, follow=True), tree.get(path, follow=True)
        if old is None or old.kind is not Kind.FILE:
            continue
        if new is None:
            tree.put(path, old)
            continue
        texts = [node.content.read().decode(errors="surrogateescape") for node in (old, new)]
        merged = _merge_status(*texts) if path == STATUS else _merge_lines(*texts)
        tree.put(path, new.copy_with(content=Inline(merged.encode(errors="surrogateescape"))))


def _list_triggers(tree: Tree, before: Tree) -> list[str]:
    place = f"{DIRECTORY}/triggers"
    return sorted({name for either in (tree, before) if place in either for name in either.list_children(place)})


def _merge_status(old: str, new: str) -> str:
    stanzas = {parse_stanza(stanza).get("Package", ""): stanza for stanza in (*split_stanzas(old), *split_stanzas(new))}
    return "".join(f"{stanza}\n" for _, stanza in sorted(stanzas.items()))


def _merge_lines(old: str, new: str) -> str:
    return "".join(f"{line}\n" for line in dict.fromkeys((*old.splitlines(), *new.splitlines())))
