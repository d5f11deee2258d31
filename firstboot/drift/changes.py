"""What has changed since a config was applied, path by path; contents only where everybody may read them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from firstboot.apply.accounts import Names
from firstboot.apply.action import Machine
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root
from firstboot.apply.units import has_unit
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.models import Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.redaction import conceal_lines
from firstboot.config.resource import BadResource, inline_bytes, is_inline
from firstboot.drift.settle import settle
from firstboot.engine.record import Record, RecordedPath, is_public, look

SHOWN_BYTES = 256 << 10
_CONTEXT_LINES = 3
# Without values: a password hash is nobody's business.
_SETTINGS = {
    "uid": "another uid",
    "gecos": "another comment",
    "home_dir": "another home",
    "primary_group": "another primary group",
    "shell": "another shell",
    "groups": "other groups",
    "password_hash": "another password",
}
# What asks for nothing; an empty password hash asks for none that anything hashes to.
_NOTHING: dict[str, tuple[object, ...]] = dict.fromkeys(_SETTINGS, (None, (), "")) | {"password_hash": (None,)}


class Change(NamedTuple):
    """Something that is not as it was.

    Attributes:
        subject: a path, ``user NAME``, ``unit NAME``.
        what: in a few words: ``is gone``, ``contents``, ``mode 0644 -> 0600``.
        diff: unified, of text that everybody may read; otherwise ``None``.
    """

    subject: str
    what: tuple[str, ...]
    diff: str | None = None

    def make_json_object(self) -> dict[str, Any]:
        """For programs."""
        return {"subject": self.subject, "what": [*self.what], "diff": self.diff}


def list_changes(record: Record, config: Config, machine: Machine) -> list[Change]:
    """Everything that differs from what a config made, in the order of the record."""
    changes = [*_paths(record, config, machine.root)]
    changes += _users(config, settle(config, machine, record), machine.names)
    changes += _units(config, machine.root, machine.programs)
    return changes


def _paths(record: Record, config: Config, root: Root) -> Iterator[Change]:
    texts = _texts(record, config)
    for path, was in record.entries.items():
        now = look(root, path)
        if now == was:
            continue
        if now is None:
            yield Change(path, ("is gone",))
        else:
            diff = _diff(path, was, now, texts, root) if now.kind == was.kind else None
            yield describe_change(path, was, now)._replace(diff=diff)


def describe_change(path: str, was: RecordedPath, now: RecordedPath) -> Change:
    """What is another way at a path."""
    if now.kind != was.kind:
        return Change(path, (f"is a {now.kind} and was a {was.kind}",))
    return Change(path, (*_contents(was, now), *_rights(was, now)))


def _contents(was: RecordedPath, now: RecordedPath) -> Iterator[str]:
    if was.digest != now.digest:
        yield "contents"
    if was.target != now.target:
        yield f"leads to {now.target} and not to {was.target}"


def _rights(was: RecordedPath, now: RecordedPath) -> Iterator[str]:
    if was.mode != now.mode:
        yield f"mode {was.mode:04o} -> {now.mode:04o}"
    if (was.uid, was.gid) != (now.uid, now.gid):
        yield f"owner {was.uid}:{was.gid} -> {now.uid}:{now.gid}"


def _texts(record: Record, config: Config) -> Mapping[str, str]:
    """What the files held whose contents are known."""
    texts = dict(record.texts)
    for unit in config.systemd.units:
        path = f"{UNIT_DIRECTORY}/{unit.name}"
        if unit.contents:
            texts[path] = unit.contents
        texts |= {f"{path}.d/{dropin.name}": dropin.contents for dropin in unit.dropins if dropin.contents is not None}
    for file in config.storage.files:
        parts = (file.contents, *file.append)
        if file.contents.source is not None and all(map(is_inline, parts)):
            try:
                texts[file.path] = b"".join(map(inline_bytes, parts)).decode()
            except (BadResource, UnicodeDecodeError):
                continue
    return texts


def _diff(path: str, was: RecordedPath, now: RecordedPath, texts: Mapping[str, str], root: Root) -> str | None:
    """Only if nothing in it is hidden from anybody, before or now."""
    if was.digest == now.digest or path not in texts or not (is_public(was) and is_public(now)):
        return None
    data = root.read(path, follow=False)
    if max(len(data), len(texts[path])) > SHOWN_BYTES:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    before, after = texts[path].splitlines(), text.splitlines()
    lines = difflib.unified_diff(before, after, f"applied{path}", f"now{path}", n=_CONTEXT_LINES, lineterm="")
    # A line that changed is there also where what changed in it is a secret.
    concealed = (*zip(before, conceal_lines(texts[path]), strict=True), *zip(after, conceal_lines(text), strict=True))
    shown = {line: instead for line, instead in concealed if line != instead}
    return "\n".join(line[:1] + shown.get(line[1:], line[1:]) for line in lines) or None


def _users(config: Config, left: Config, names: Names) -> Iterator[Change]:
    """Accounts; ``left`` is what of the config is not as it says."""
    for group in config.passwd.groups:
        if (group.name in names.groups) != (group.should_exist is not False):
            yield Change(f"group {group.name}", (_presence(group.should_exist),))
    for user, open_ in zip(config.passwd.users, left.passwd.users, strict=True):
        if (user.name in names.users) != (user.should_exist is not False):
            yield Change(f"user {user.name}", (_presence(user.should_exist),))
        elif user.should_exist is not False:
            what = tuple(words for name, words in _SETTINGS.items() if getattr(open_, name) not in _NOTHING[name])
            if what:
                yield Change(f"user {user.name}", what)


def _presence(should_exist: bool | None) -> str:
    return "is there again" if should_exist is False else "is gone"


def _units(config: Config, root: Root, programs: Programs) -> Iterator[Change]:
    for unit in config.systemd.units:
        if unit.enabled is None or unit.mask or not has_unit(unit.name, root):
            continue
        argv = ["systemctl", f"--root={root.directory}", "is-enabled", "--", unit.name]
        enabled = programs.run_for_status(argv)[0] == 0
        if enabled != unit.enabled:
            yield Change(f"unit {unit.name}", ("is enabled" if enabled else "is no longer enabled",))
