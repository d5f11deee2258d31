"""Configs that are cut short, disks that are full: all or nothing, with the reason."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.guest import Guest
from tests.support.logins import KEY

pytestmark = pytest.mark.unit

YAML = f"""variant: buildos
version: 1.0.0
hostname: demo
passwd:
  users:
    - name: core
      ssh_authorized_keys: [{KEY}]
storage:
  files:
    - path: /etc/app.conf
      contents:
        inline: |
          one
          two
systemd:
  units:
    - name: app.service
      enabled: true
      contents: "[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n"
"""
JSON = """{
  "ignition": {"version": "3.4.0"},
  "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 A"]}]},
  "storage": {"files": [{"path": "/etc/app.conf", "contents": {"source": "data:,one"}}]}
}"""
NAME = "fw_cfg opt/com.coreos/config"
PARTS = 16


@pytest.fixture
def guest(accounts: Path, programs: Any) -> Guest:
    return Guest(accounts, programs)


def everything(root: Path) -> dict[str, bytes | str | None]:
    """All of ``/etc``, ``/var`` and ``/home``: contents of files, targets of links."""
    found: dict[str, bytes | str | None] = {}
    for top in ("etc", "var", "home", "run/state"):
        for path in sorted((root / top).rglob("*")):
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(root))] = content
    return found


@pytest.mark.parametrize("part", range(1, PARTS))
def test_a_cut_json_is_refused_where_it_ends(guest: Guest, part: int) -> None:
    text = JSON[: len(JSON) * part // PARTS]
    guest.give(text)
    before = everything(guest.root)
    assert guest.boot() == 1
    assert re.search(rf"{NAME}:\d+:\d+: ", guest.console())
    assert everything(guest.root) == before
    assert guest.result()["problems"][0]["line"] <= text.count("\n") + 2
    assert not guest.result()["bug"]


@pytest.mark.parametrize("part", range(1, PARTS))
def test_a_cut_yaml_is_refused_where_it_ends_or_is_a_whole_config(guest: Guest, part: int) -> None:
    """YAML has no end: what is cut between two settings is a config. A hash is what tells the two apart."""
    guest.give(YAML[: len(YAML) * part // PARTS])
    before = everything(guest.root)
    if guest.boot() == 0:
        assert guest.marker.exists()
        return
    assert everything(guest.root) == before
    assert re.search(rf"{NAME}(:\d+:\d+)?: ", guest.console())
    assert not guest.result()["bug"]


def on_small_disk(directory: Path, options: str, work: Callable[[], None]) -> None:
    """Do something in a thread that has a file system of its own at a directory (mount_namespaces(7), tmpfs(5)).

    Whoever is not root, or may not mount, cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            private = 1 << 18 | 1 << 14  # MS_PRIVATE | MS_REC
            if libc.unshare(0x20000) != 0 or libc.mount(b"none", b"/", None, private, None) != 0:
                outcome.append(pytest.skip.Exception("no file system can be mounted here"))
                return
            if libc.mount(b"tmpfs", str(directory).encode(), b"tmpfs", 0, options.encode()) != 0:
                outcome.append(pytest.skip.Exception("no tmpfs can be mounted here"))
                return
            work()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if outcome[0] is not None:
        raise outcome[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
@pytest.mark.parametrize("options", ["size=16k", "size=64k", "size=256k", "nr_inodes=5", "nr_inodes=30"])
def test_a_full_disk_ends_the_first_boot_with_the_reason(tree: Path, programs: Any, options: str) -> None:
    guest = Guest(tree, programs)
    guest.give(YAML + "".join(f"    - name: more-{number}.service\n{UNIT}" for number in range(60)))
    (tree / "etc").mkdir()

    def boot() -> None:
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        assert guest.boot() == 1

    on_small_disk(tree / "etc", options, boot)
    assert "No space left on device" in guest.console()
    assert NAME in guest.console()  # what could not be written stands in the config
    assert not guest.marker.exists()
    assert guest.result()["bug"] is False


UNIT = "      contents: |\n        [Service]\n        ExecStart=/bin/true\n" + "        # filler\n" * 600
