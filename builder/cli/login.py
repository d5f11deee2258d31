"""The way into a machine that this computer runs: a config of ours beside the user's, which stays as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from builder.core.files import write_file

NAME = "build-os-login.ign"
ROOT = "root"
SSHD = """\
# Written by 'build-os run --detach': on this machine, the key of 'build-os ssh' opens root as well.
PermitRootLogin prohibit-password
"""
# sshd_config(5): of several values, the first is used; the images' own is in 50-build-os.conf.
SSHD_FILE = "/etc/ssh/sshd_config.d/10-build-os-run.conf"


def make_login_config(user: str, key: str) -> str:
    """An Ignition config by which a key opens root and a user, who is made if the machine's own config has none."""
    users = [{"name": name, "sshAuthorizedKeys": [key]} for name in dict.fromkeys((user, ROOT))]
    sshd = {"path": SSHD_FILE, "mode": 0o644, "contents": {"source": f"data:,{quote(SSHD)}"}}
    return json.dumps({"ignition": {"version": "3.4.0"}, "passwd": {"users": users}, "storage": {"files": [sshd]}})


def write_login_config(directory: Path, user: str, key: str) -> Path:
    """The same as a file; returns its path."""
    path = directory / NAME
    write_file(path, make_login_config(user, key), mode=0o600)
    return path
