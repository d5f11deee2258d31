"""Keys that a user may log in with by ssh, in files of the user's home, whoever brings them: a config or a platform."""

from __future__ import annotations

import os

from firstboot.apply.accounts import Account
from firstboot.apply.root import Root

_PRIVATE = 0o700
CONFIG_FRAGMENT = ".ssh/authorized_keys.d/ignition"
PLATFORM_FRAGMENT = ".ssh/authorized_keys.d/afterburn"


def choose_config_keys_file() -> str:
    """Where a config's keys go, below a home. sshd reads the fragment; other readers want the one file."""
    if os.environ.get("IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT") == "false":
        return ".ssh/authorized_keys"
    return CONFIG_FRAGMENT


def write_keys(root: Root, account: Account, file: str, data: bytes) -> None:
    """Write a file of keys below a home, and the directories to it that are missing, all of them the user's.

    The home is the user's to change, links in it too: they lead to what is the user's, or nothing is written.

    Raises:
        OSError: ENOLINK: a link of a user leads to what is not that user's.
    """
    home = account.home.rstrip("/")
    # It may be missing: root's is a link to nothing on a machine whose /var is new.
    directories = [home or "/"]
    for name in file.split("/")[:-1]:
        directories.append(f"{directories[-1].rstrip('/')}/{name}")
    for directory in directories:
        if not root.has(directory):
            root.make_directory(directory, _PRIVATE, uid=account.uid, gid=account.gid, follow=True)
    root.write(f"{home}/{file}", data, mode=0o600, uid=account.uid, gid=account.gid)
