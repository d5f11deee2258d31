#!/usr/bin/env python3
"""The stubs of useradd, usermod, userdel, groupadd, groupmod and groupdel that the blackbox vectors were made with.

One program under six names: ids from 1000 (system ones from 201), a shadow line that ends in
``17331:0:99999:7:::``, a home unless told not to. Only what the vectors need, and only below ``--root``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

SHELL = "/bin/bash"
NAMES = ("useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel")


class Table:
    """A file of lines with colons, changed in place."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / "etc" / name
        text = self.path.read_text() if self.path.exists() else ""
        self.rows = [line.split(":") for line in text.splitlines()]

    def find(self, name: str) -> list[str] | None:
        return next((row for row in self.rows if row[0] == name), None)

    def free_id(self, *, system: bool) -> int:
        taken = {int(row[2]) for row in self.rows}
        return next(number for number in range(201 if system else 1000, 100_000) if number not in taken)

    def remove(self, name: str) -> None:
        self.rows = [row for row in self.rows if row[0] != name]

    def save(self) -> None:
        self.path.write_text("".join(":".join(row) + "\n" for row in self.rows))


def add_group(root: Path, name: str, gid: int | None, *, system: bool, password: str | None = None) -> int:
    group, gshadow = Table(root, "group"), Table(root, "gshadow")
    number = group.free_id(system=system) if gid is None else gid
    group.rows.append([name, "x", str(number), ""])
    gshadow.rows.append([name, password or "!", "", ""])
    group.save()
    gshadow.save()
    return number


def remove_group(root: Path, name: str) -> None:
    for table in (Table(root, "group"), Table(root, "gshadow")):
        table.remove(name)
        table.save()


def join_groups(root: Path, name: str, groups: str) -> None:
    for table, members in ((Table(root, "group"), 3), (Table(root, "gshadow"), 3)):
        for group in groups.split(","):
            row = table.find(group)
            if row is not None:
                row[members] = ",".join([*filter(None, row[members].split(",")), name])
        table.save()


def add_user(root: Path, options: argparse.Namespace) -> None:
    passwd, shadow, group = Table(root, "passwd"), Table(root, "shadow"), Table(root, "group")
    uid = passwd.free_id(system=options.system) if options.uid is None else options.uid
    if options.gid is not None:
        row = group.find(options.gid)
        gid = int(row[2]) if row is not None else int(options.gid)
    elif options.no_user_group:
        gid = 100
    else:
        gid = add_group(root, options.name, None, system=options.system)
    home = options.home_dir or f"/home/{options.name}"
    passwd.rows.append([options.name, "x", str(uid), str(gid), options.comment or "", home, options.shell or SHELL])
    shadow.rows.append([options.name, options.password or "!", "17331", "0", "99999", "7", "", "", ""])
    passwd.save()
    shadow.save()
    if options.groups:
        join_groups(root, options.name, options.groups)
    if options.create_home:
        directory = root / home.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, uid, gid)


def change_user(root: Path, options: argparse.Namespace) -> None:
    passwd, shadow, group = Table(root, "passwd"), Table(root, "shadow"), Table(root, "group")
    row, secret = passwd.find(options.name), shadow.find(options.name)
    assert row is not None
    if options.uid is not None:
        row[2] = str(options.uid)
    if options.gid is not None:
        found = group.find(options.gid)
        row[3] = found[2] if found is not None else options.gid
    row[4] = options.comment or row[4]
    row[6] = options.shell or row[6]
    if options.home is not None:
        old, new = root / row[5].lstrip("/"), root / options.home.lstrip("/")
        if options.move_home and old.is_dir():
            shutil.move(old, new)
        row[5] = options.home
    if options.password is not None and secret is not None:
        secret[1] = options.password
    passwd.save()
    shadow.save()
    if options.groups:
        join_groups(root, options.name, options.groups)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for option in ("root", "home-dir", "home", "password", "comment", "gid", "groups", "shell"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--uid", type=int)
    flags = ("move-home", "create-home", "no-create-home", "no-user-group", "system", "no-log-init", "remove")
    for option in flags:
        parser.add_argument(f"--{option}", action="store_true")
    options = parser.parse_args()
    root = Path(options.root)
    match Path(sys.argv[0]).name:
        case "useradd":
            add_user(root, options)
        case "usermod":
            change_user(root, options)
        case "userdel":
            for table in (Table(root, "passwd"), Table(root, "shadow")):
                table.remove(options.name)
                table.save()
            remove_group(root, options.name)
        case "groupadd":
            gid = None if options.gid is None else int(options.gid)
            add_group(root, options.name, gid, system=options.system, password=options.password)
        case "groupmod":
            table = Table(root, "group")
            row = table.find(options.name)
            assert row is not None
            row[2] = options.gid or row[2]
            table.save()
            secrets = Table(root, "gshadow")
            secret = secrets.find(options.name)
            if options.password is not None and secret is not None:
                secret[1] = options.password
                secrets.save()
        case "groupdel":
            remove_group(root, options.name)
        case other:
            sys.exit(f"unknown program {other}")


if __name__ == "__main__":
    main()
