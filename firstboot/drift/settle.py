"""A config without what is as it says already: what is left is what has to be done.

Nothing is taken out of a list, so that places in the config stay what they are; what is settled asks for nothing. What
an earlier run made may be replaced, as if the config said ``overwrite``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, TypeVar

from firstboot.apply.accounts import Names
from firstboot.apply.action import Action, Machine
from firstboot.apply.contents import Contents, get_contents, read_pieces
from firstboot.apply.root import Root
from firstboot.apply.units import PRESET, WritePreset, format_preset_lines
from firstboot.apply.users import NO_PASSWORD
from firstboot.config.account_files import find_row, list_groups, parse_rows
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.digests import sha256
from firstboot.config.models import (
    BLOCK_DEVICES,
    Config,
    Directory,
    Dropin,
    File,
    Group,
    Link,
    Node,
    Owner,
    Storage,
    Unit,
    User,
)
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.resource import BadResource, is_inline
from firstboot.engine.record import HASHED_BYTES, Record, find_keys_path, hash_part, hash_source, look

N = TypeVar("N", bound=Node)


class Now(NamedTuple):
    """The machine as it is, and what an earlier run made of it."""

    machine: Machine
    record: Record | None

    @property
    def root(self) -> Root:
        """Where to look."""
        return self.machine.root

    @property
    def names(self) -> Names:
        """Users and groups."""
        return self.machine.names


def settle(config: Config, machine: Machine, record: Record | None) -> Config:
    """The same config with everything that is as it should be taken out of its elements."""
    now = Now(machine, record)
    storage, passwd, systemd = config.storage, config.passwd, config.systemd
    return config.model_copy(
        update={
            "passwd": passwd.model_copy(
                update={
                    "groups": tuple(_group(group, now) for group in passwd.groups),
                    "users": tuple(_user(user, now) for user in passwd.users),
                }
            ),
            "storage": storage.model_copy(
                update={
                    "directories": tuple(_directory(directory, now) for directory in storage.directories),
                    "files": tuple(_file(file, now) for file in storage.files),
                    "links": tuple(_link(link, now) for link in storage.links),
                    "archives": tuple(_new_archives(storage, record)),
                    # What is on disks is made once.
                    **dict.fromkeys(BLOCK_DEVICES, ()),
                }
            ),
            "systemd": systemd.model_copy(update={"units": tuple(_unit(unit, now) for unit in systemd.units)}),
        }
    )


def _new_archives(storage: Storage, record: Record | None) -> Iterator[Any]:
    """Those that were not unpacked by an earlier run: what is in the others is the machine's by now."""
    done = () if record is None else record.archives
    return (archive for archive in storage.archives if hash_part(archive) not in done)


def drop_repeats(actions: list[Action], root: Root) -> list[Action]:
    """Preset lines that are there already are not written again."""
    unrepeated: list[Action] = []
    there = _preset(root)
    for action in actions:
        if isinstance(action, WritePreset):
            lines = tuple(line for line in action.lines if line not in there)
            if not lines:
                continue
            action = action._replace(lines=lines)
        unrepeated.append(action)
    return unrepeated


def _preset(root: Root) -> list[str]:
    try:
        return root.read(PRESET).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


# --- files ---


def _recorded(node: N, now: Now) -> N:
    """With the mode and the owner that it was given where the config leaves that open, and free to be replaced."""
    entry = None if now.record is None else now.record.entries.get(node.path)
    if entry is None:
        return node
    changes: dict[str, object] = {"overwrite": True}
    if isinstance(node, File | Directory) and node.mode is None:
        changes["mode"] = entry.mode
    for name, number in (("user", entry.uid), ("group", entry.gid)):
        owner: Owner = getattr(node, name)
        if owner.id is None and not owner.name:
            changes[name] = Owner(id=number)
    return node.model_copy(update=changes)


def _file(file: File, now: Now) -> File:
    file = _recorded(file, now)
    there = look(now.root, file.path)
    if there is None or there.kind != "file":
        return file
    changes: dict[str, object] = {}
    if _has_contents(file, now):
        changes |= {"contents": type(file.contents)(), "append": (), "overwrite": None}
    if changes and file.mode in (None, there.mode) and _owned(file, now):
        changes |= {"mode": None, "user": Owner(), "group": Owner()}
    return file.model_copy(update=changes)


def _has_contents(file: File, now: Now) -> bool:
    """Whether what is in it is what the config says."""
    if file.contents.source is None and not file.append:
        return True
    record = now.record
    if record is not None and record.sources.get(file.path) == hash_source(file) and file.path in record.entries:
        there = look(now.root, file.path)
        if there is not None and there.digest == record.entries[file.path].digest:
            return True  # it need not be fetched again to know that
    parts = [part for part in (file.contents, *file.append) if part.source is not None]
    if not all(is_inline(part) or part in now.machine.fetched for part in parts):
        return False
    try:
        wanted = [get_contents(part, now.machine.fetched) for part in parts]
    except BadResource:
        return False  # the planner says why
    if file.contents.source is None:
        data = now.root.read(file.path, follow=False)
        return all(b"".join(read_pieces(pieces)) in data for pieces in wanted)
    return _is_same(file.path, wanted, now.root)


def _is_same(path: str, wanted: list[Contents], root: Root) -> bool:
    total = sha256()
    size = 0
    for piece in read_pieces(*wanted):
        total.update(piece)
        size += len(piece)
    seen = root.see(path)
    if seen.stat is None or seen.stat.st_size != size:
        return False
    if size > HASHED_BYTES:
        there = sha256(root.read(path, follow=False)).hexdigest()
        return there == total.hexdigest()
    entry = look(root, path)
    return entry is not None and entry.digest == total.hexdigest()


def _directory(directory: Directory, now: Now) -> Directory:
    there = look(now.root, directory.path)
    is_made = now.record is not None and directory.path in now.record.entries
    directory = _recorded(directory, now)
    if there is None:
        return directory
    if there.kind == "directory" and is_made:
        # What is in it by now is the machine's.
        directory = directory.model_copy(update={"overwrite": None})
    if there.kind != "directory" or directory.overwrite:
        return directory
    if (directory.mode is None or directory.mode == there.mode) and _owned(directory, now):
        return directory.model_copy(update={"mode": None, "user": Owner(), "group": Owner()})
    return directory


def _link(link: Link, now: Now) -> Link:
    return _recorded(link, now)


def _owned(node: Node, now: Now) -> bool:
    """Whether it belongs to whom it should; an ordinary user cannot give files away."""
    if os.geteuid() != 0:
        return True
    there = look(now.root, node.path)
    assert there is not None
    uid: int | None = node.user.id
    gid: int | None = node.group.id
    if uid is None and node.user.name:
        account = now.names.users.get(node.user.name)
        uid = -1 if account is None else account.uid
    if gid is None and node.group.name:
        gid = now.names.groups.get(node.group.name, -1)
    return uid in (None, there.uid) and gid in (None, there.gid)


# --- accounts ---


def _user(user: User, now: Now) -> User:
    account = now.names.users.get(user.name)
    if account is None or user.should_exist is False:
        return user
    fields = _fields(now.root, "/etc/passwd", user.name)
    settled: dict[str, object] = {}
    if user.uid == account.uid:
        settled["uid"] = None
    if user.home_dir == account.home:
        settled["home_dir"] = None
    for name, index in (("gecos", 4), ("shell", 6)):
        if len(fields) > index and getattr(user, name) == fields[index]:
            settled[name] = None
    primary = user.primary_group
    if primary and now.names.groups.get(primary, int(primary) if primary.isdigit() else -1) == account.gid:
        settled["primary_group"] = None
    if set(user.groups) == set(list_groups(_rows(now.root, "/etc/group"), user.name)):
        settled["groups"] = ()
    wanted = None if user.password_hash is None else user.password_hash or NO_PASSWORD
    if wanted is not None and _secret(now.root, "/etc/shadow", user.name) == wanted:
        settled["password_hash"] = None
    if user.ssh_authorized_keys and _has_keys(user, now):
        settled["ssh_authorized_keys"] = ()
    return user.model_copy(update=settled)


def _has_keys(user: User, now: Now) -> bool:
    path = find_keys_path(user.name, now.root, now.names)
    assert path is not None
    try:
        data = now.root.read(path, follow=False)
    except OSError:
        return False
    return data == "\n".join(user.ssh_authorized_keys).encode("utf-8", "surrogatepass") + b"\n"


def _group(group: Group, now: Now) -> Group:
    if group.should_exist is False or group.name not in now.names.groups:
        return group
    settled: dict[str, object] = {}
    if group.gid == now.names.groups[group.name]:
        settled["gid"] = None
    wanted = None if group.password_hash is None else group.password_hash or NO_PASSWORD
    if wanted is not None and _secret(now.root, "/etc/gshadow", group.name) == wanted:
        settled["password_hash"] = None
    return group.model_copy(update=settled)


def _rows(root: Root, path: str) -> list[list[str]]:
    try:
        text = root.read(path).decode("utf-8", "surrogateescape")
    except OSError:
        return []
    return parse_rows(text)


def _fields(root: Root, path: str, name: str) -> list[str]:
    return find_row(_rows(root, path), name) or []


def _secret(root: Root, path: str, name: str) -> str | None:
    fields = _fields(root, path, name)
    return fields[1] if len(fields) > 1 else None


# --- units ---


def _unit(unit: Unit, now: Now) -> Unit:
    path = f"{UNIT_DIRECTORY}/{unit.name}"
    changes: dict[str, object] = {}
    is_masked = _target(now.root, path) == "/dev/null"
    if unit.contents and ((unit.mask and is_masked) or _has_text(now.root, path, unit.contents)):
        changes["contents"] = None
    if unit.mask and is_masked:
        changes["mask"] = None
    changes["dropins"] = tuple(
        Dropin(name=dropin.name)
        if dropin.contents is not None and _has_text(now.root, f"{path}.d/{dropin.name}", dropin.contents)
        else dropin
        for dropin in unit.dropins
    )
    if unit.enabled and (unit.mask or _is_enabled(unit.name, now)):
        changes["enabled"] = None
    return unit.model_copy(update=changes)


def _is_enabled(name: str, now: Now) -> bool:
    if not set(format_preset_lines([name])) <= set(_preset(now.root)) and not _is_instance_in_preset(name, now.root):
        return False
    argv = ["systemctl", f"--root={now.root.directory}", "is-enabled", "--", name]
    return now.machine.programs.run_for_status(argv)[0] == 0


def _is_instance_in_preset(name: str, root: Root) -> bool:
    """``enable a@.service one two`` enables ``a@two.service``."""
    stem, at, rest = name.partition("@")
    instance, _, kind = rest.rpartition(".")
    if not at:
        return False
    words = [line.split() for line in _preset(root)]
    return any(word[:2] == ["enable", f"{stem}@.{kind}"] and instance in word[2:] for word in words)


def _target(root: Root, path: str) -> str | None:
    try:
        return root.see(path).target
    except OSError:
        return None


def _has_text(root: Root, path: str, text: str) -> bool:
    try:
        if not root.see(path).is_file:
            return False
        return root.read(path, follow=False) == text.encode("utf-8", "surrogatepass")
    except OSError:
        return False
