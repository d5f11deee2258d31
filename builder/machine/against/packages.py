"""What a config writes for programs that the image does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from builder.machine.against.together import Together
from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.text import Path, Problem


class Reader(NamedTuple):
    """Who reads what is in a directory.

    Attributes:
        directory: with its slash.
        program: is there if its package is.
        what: does it.
        hint: how to have it.
    """

    directory: str
    program: str
    what: str
    hint: str


def _package(name: str) -> str:
    return f"add the package {name} to the image's definition"


READERS = (
    Reader(
        QUADLETS[0],
        "/usr/lib/systemd/system-generators/podman-system-generator",
        "makes a unit of it",
        "add the feature 'containers' to the image's definition",
    ),
    Reader("/etc/sudoers.d/", "/usr/bin/sudo", "becomes root by it", _package("sudo")),
    Reader("/etc/ssh/sshd_config.d/", "/usr/sbin/sshd", "reads it", "add the feature 'ssh' to the image's definition"),
    Reader(
        "/etc/systemd/timesyncd.conf.d/",
        "/usr/lib/systemd/systemd-timesyncd",
        "reads it",
        _package("systemd-timesyncd") + "; chrony has its servers in /etc/chrony/sources.d/NAME.sources",
    ),
    Reader(
        "/etc/systemd/resolved.conf.d/", "/usr/lib/systemd/systemd-resolved", "reads it", _package("systemd-resolved")
    ),
    Reader("/etc/cron.d/", "/usr/sbin/cron", "reads it", _package("cron")),
    Reader("/etc/logrotate.d/", "/usr/sbin/logrotate", "reads it", _package("logrotate")),
)


def check(together: Together) -> Iterator[Problem]:
    """A warning for each file that nobody reads, and for keys that nobody asks for."""
    missing = [each for each in READERS if not together.has(each.program)]
    for index, file in enumerate(together.config.storage.files):
        at: Path = ("storage", "files", index, "path")
        for reader in missing:
            if file.path.startswith(reader.directory):
                name = reader.program.rpartition("/")[2]
                message = f"{file.path}: nobody {reader.what}, for {name} is not in the image"
                yield Problem(at, message, reader.hint, "warning")
    if together.has("/usr/sbin/sshd"):
        return
    for index, user in enumerate(together.config.passwd.users):
        if user.ssh_authorized_keys and user.should_exist is not False:
            at = ("passwd", "users", index, "sshAuthorizedKeys")
            message = f"{user.name} cannot log in with these: sshd is not in the image"
            yield Problem(at, message, "add the feature 'ssh' to the image's definition", "warning", on_key=True)
