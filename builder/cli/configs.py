"""First-boot configs on the host: checked before a machine is started with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

from builder.core.errors import ConfigError

if TYPE_CHECKING:
    from builder.machine.values import Values


@dataclass(frozen=True)
class CheckedConfig:
    """A first-boot config that a machine will accept.

    Attributes:
        text: as it is written; compiled if it names files beside it, which a machine has not.
        warnings: drawn.
    """

    text: str
    warnings: tuple[str, ...]


def read_config(path: Path, values: Values | None = None) -> CheckedConfig:
    """Read and check a first-boot config by the code that the machine will use.

    Local files and fragments are looked for in the config's own directory.

    Args:
        path: the config.
        values: of its variables and secrets.

    Raises:
        ConfigError: it cannot be read, or the machine would refuse it; shows every problem at its line.
    """
    from firstboot import config

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    if values is not None and values.are_given:
        compiled = _compile(path, values)
        if compiled is not None:
            return compiled
    try:
        loaded = config.load(text, str(path))
    except config.LocatedError as error:
        compiled = _compile(path, values)
        if compiled is None:
            raise ConfigError(str(error).rstrip()) from error
        return compiled
    return CheckedConfig(text, tuple(str(warning) for warning in loaded.warnings))


def _compile(path: Path, values: Values | None) -> CheckedConfig | None:
    """The config with the files beside it in it; ``None`` if a machine would not accept that either.

    Raises:
        ConfigError: it is wrong whatever machine it is for.
    """
    from builder.machine.reading import read_document, require_usable
    from builder.machine.values import NO_VALUES, require_declared
    from firstboot import config

    given = NO_VALUES if values is None else values
    document = read_document(path, path.parent, given)
    require_declared(given, [document.located])
    warnings = require_usable(document, strict=False)
    text = json.dumps(document.compiled())
    try:
        config.load(text, str(path))
    except config.LocatedError:
        return None
    return CheckedConfig(text, tuple(warnings))


def with_ssh_key(text: str, user: str, key: str) -> str:
    """The same config with one more key for a user, in its own language.

    Comments do not survive; the text is for a machine.
    """
    data = yaml.safe_load(text)
    if "ignition" in data and "variant" not in data:
        users = data.setdefault("passwd", {}).setdefault("users", [])
        entry = next((each for each in users if each.get("name") == user), None)
        if entry is None:
            entry = {"name": user}
            users.append(entry)
        entry.setdefault("sshAuthorizedKeys", []).append(key)
        return json.dumps(data)
    # Nodes and not values, so that every scalar stays as it is written: 1.10 and yes are not 1.1 and true.
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    listed = _child(_child(root, "passwd", yaml.MappingNode), "users", yaml.SequenceNode)
    entries = [each for each in listed.value if isinstance(each, yaml.MappingNode)]
    found = next((each for each in entries if _name_of(each) == user), None)
    if found is None:
        found = yaml.MappingNode(f"{_TAG}map", [(_text("name"), _text(user))])
        listed.value.append(found)
    _child(found, "ssh_authorized_keys", yaml.SequenceNode).value.append(_text(key))
    serialized: str = yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True)
    return serialized


_TAG = "tag:yaml.org,2002:"
N = TypeVar("N", yaml.MappingNode, yaml.SequenceNode)


def _text(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(f"{_TAG}str", value)


def _child(parent: yaml.MappingNode, key: str, kind: type[N]) -> N:
    """The value of a key, made if it is not there or empty."""
    for index, (name, value) in enumerate(parent.value):
        if name.value == key:
            if isinstance(value, kind):
                return value
            del parent.value[index]
            break
    made = kind(f"{_TAG}{'map' if kind is yaml.MappingNode else 'seq'}", [])
    parent.value.append((_text(key), made))
    return made


def _name_of(entry: yaml.MappingNode) -> str | None:
    return next((str(value.value) for name, value in entry.value if name.value == "name"), None)
