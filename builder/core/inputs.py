"""What a result is made of: its inputs as label -> hash, the source code that makes it among them.

Nothing is listed by hand: inputs are the fields of a dataclass (files by their content), and code is what a module
imports. The same inputs make the same result, which is why it can be kept (:mod:`builder.core.kept`).
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from builder.core.files import hash_file
from builder.core.once import answer_once, remember_answer

ROOT = Path(__file__).parent.parent.parent
OURS = ("builder.", "firstboot.", "update.")
# How it looks and where it is kept makes no difference to a result.
UNSEEN = (
    "builder.core.console",
    "builder.core.errors",
    "builder.core.inputs",
    "builder.core.kept",
    "builder.core.once",
    "builder.core.store",
    "builder.stages.stage",
)
# "import a.b", "from a.b import c, d" and the same over several lines in parentheses.
IMPORT = re.compile(r"^[ ]*(?:import|from) +([\w.]+)(?: +import +(\([^)]*\)|[^\n]*))?", re.M)
# A program beside a module, which the module starts and does not import: Path(__file__).with_name("launch.py").
STARTED = re.compile(r"\"(\w+)\.py\"")


def collect_inputs(value: Any) -> dict[str, str]:
    """The fields of a dataclass and the source of its module, as label -> hash. Labels are what a person looks at.

    Raises:
        TypeError: a field holds what has no content to be known by.
    """
    inputs = {"build-os": hash_source(type(value).__module__)}
    for field in fields(value):
        inputs.update(_flatten_field(field.name, getattr(value, field.name)))
    return inputs


def explain_change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between two sets of inputs, in a few words."""
    changed = [label for label in now if label in before and before[label] != now[label]]
    added = [label for label in now if label not in before]
    removed = [label for label in before if label not in now]
    words = [f"{label} changed" for label in changed]
    words += [f"{label} is new" for label in added]
    words += [f"{label} is gone" for label in removed]
    if not words and list(before) != list(now):
        return "the order of its inputs changed"
    if not words:
        return "an earlier stage runs"
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _flatten_field(label: str, value: Any) -> list[tuple[str, str]]:
    """The rows of a field. Many images have the packages of one lock."""
    return answer_once(value, f"rows of {label}", lambda: list(_flatten(label, value)))


def _flatten(label: str, value: Any) -> Iterator[tuple[str, str]]:
    """One row for each part of a value that a person could change by itself."""
    if isinstance(value, Path):
        yield from _flatten_path(label, value)
    elif hasattr(value, "model_dump_json"):  # pydantic's, which is not imported for this
        yield label, _digest(value.model_dump_json())
    elif isinstance(value, enum.Enum) or value is None or isinstance(value, (str, int, float, bool, bytes)):
        yield label, _digest(repr(value))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _flatten(f"{label}.{field.name}", getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flatten(f"{label}.{key}", value[key])
    elif isinstance(value, (Sequence, frozenset, set)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        names = [getattr(item, "name", None) for item in items]
        for index, (item, name) in enumerate(zip(items, names, strict=True)):
            known_by_name = isinstance(name, str) and names.count(name) == 1
            yield from _flatten(f"{label}[{name if known_by_name else index}]", item)
    else:
        raise TypeError(f"a stage cannot depend on a {type(value).__name__}: {label}")


def _flatten_path(label: str, path: Path) -> Iterator[tuple[str, str]]:
    for name, digest in _hash_path(path):
        yield f"{label}:{name}", digest


@remember_answer
def _hash_path(path: Path) -> list[tuple[str, str]]:
    """Names and hashes of a file, or of all that is below a directory.

    What is named by a link is read through it; links below a directory are what they are.
    """
    if not path.is_dir():
        return [(path.name, _entry_hash(path.resolve() if path.exists() else path))]
    entries = [entry for entry in sorted(path.rglob("*")) if "__pycache__" not in entry.parts]
    return [(str(entry.relative_to(path)), _entry_hash(entry)) for entry in entries]


def _entry_hash(path: Path) -> str:
    if path.is_symlink():
        return _digest(f"link {path.readlink()}")
    if path.is_dir():
        return "directory"
    executable = bool(path.stat().st_mode & 0o111)
    return f"{hash_file(path)}{'x' if executable else ''}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


@cache
def hash_source(module: str) -> str:
    """The hash of the code that a module's result depends on: its own source and that of what it imports of ours, or
    starts."""
    seen: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        source = _source(ROOT, name)
        if source is None:
            continue
        seen[name], imports = source
        pending.extend(imports)
    return _digest(json.dumps(sorted(seen.items())))


@cache
def _source(root: Path, module: str) -> tuple[str, tuple[str, ...]] | None:
    """The hash of a module of ours and what it may import or start; ``None`` if there is no such module of ours."""
    path = _list_sources(root).get(module)
    if path is None:
        return None
    if module.startswith(UNSEEN):
        return "", ()
    source = path.read_text(encoding="utf-8")
    imports = []
    for package, names in IMPORT.findall(source):
        if f"{package}.".startswith(OURS):
            imports.append(package)
            imports.extend(f"{package}.{word}" for word in re.findall(r"\w+", names))
    package = ".".join(path.relative_to(root).parent.parts)
    imports.extend(f"{package}.{name}" for name in STARTED.findall(source))
    return _digest(source), tuple(imports)


@cache
def _list_sources(root: Path) -> Mapping[str, Path]:
    """Where the source of each module of ours lies, whether it is loaded or not.

    All at once: most names that are imported are no modules, and looking for each of them takes longer.
    """
    sources: dict[str, Path] = {}
    for package in OURS:
        for where, _, names in os.walk(root / package.removesuffix(".")):
            module = Path(where).relative_to(root).as_posix().replace("/", ".")
            for name in names:
                if name == "__init__.py":
                    sources.setdefault(module, Path(where, name))
                elif name.endswith(".py"):  # a module beside a package of its name is the one that counts
                    sources[f"{module}.{name.removesuffix('.py')}"] = Path(where, name)
    return sources
