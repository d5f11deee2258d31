"""A machine in a directory that a first boot has made, with programs that really do what they are asked."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.provisioning.offline import OfflinePrograms
from firstboot.apply.root import Root
from firstboot.cli.drift import run_command as drift
from firstboot.engine.provision import run
from firstboot.log import Log
from firstboot.places import Places

CONFIG = """\
variant: buildos
version: 1.0.0
hostname: web-1
passwd:
  groups: [{name: ops, gid: 2000}]
  users:
    - name: core
      uid: 1001
      groups: [ops]
      shell: /bin/bash
      password_hash: $6$salt$topsecret
      ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc a]
storage:
  directories:
    - {path: /var/lib/app, mode: 0750}
  files:
    - path: /etc/app/settings
      contents: {inline: "one\\ntwo\\nthree\\n"}
    - path: /etc/app/key
      mode: 0640
      contents: {inline: "topsecret\\n"}
    - path: /etc/hosts
      append: [{inline: "192.0.2.1 db\\n"}]
  links:
    - {path: /etc/app/link, target: settings}
systemd:
  units:
    - name: app.service
      enabled: true
      contents: "[Service]\\nExecStart=/usr/bin/cat\\n[Install]\\nWantedBy=multi-user.target\\n"
      dropins: [{name: a.conf, contents: "[Service]\\nNice=5\\n"}]
    - {name: noise.service, mask: true}
"""


class Guest:
    """A machine in a directory."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        self._open = Root(root)
        self.places = Places(root, OfflinePrograms.make(self._open))
        for directory in ("sys/firmware/qemu_fw_cfg", "proc", "dev", "var/lib", "run/state", "usr/lib/systemd/system"):
            (root / directory).mkdir(parents=True)
        (root / "usr/lib/os-release").write_text("IMAGE_ID=demo\nIMAGE_VERSION=1.2.3\n")
        (root / "usr/lib/systemd/system/noise.service").write_text("[Service]\nExecStart=/bin/yes\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    def close(self) -> None:
        self._open.__exit__(None, None, None)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def first_boot(self, text: str) -> int:
        entry = self.at("sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config")
        entry.mkdir(parents=True, exist_ok=True)
        (entry / "raw").write_text(text)
        (entry / "size").write_text(f"{len(text)}\n")
        return run(self.places, Log(priorities=False))

    def call(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        status = drift([*arguments], self.places)
        out, err = self.capsys.readouterr()
        return status, out, err

    def changed(self) -> dict[str, list[str]]:
        status, out, _ = self.call("diff", "--json")
        changes = json.loads(out)["changes"]
        assert status == (3 if changes else 0)
        return {each["subject"]: each["what"] for each in changes}

    def everything(self) -> dict[str, Any]:
        """All there is below the root, but for what is kept about applying."""
        found: dict[str, Any] = {}
        for path in sorted(self.root.rglob("*")):
            name = "/" + str(path.relative_to(self.root))
            there = path.lstat()
            kind = stat.S_IFMT(there.st_mode)
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            found[name] = (kind, oct(there.st_mode), there.st_uid, there.st_gid, content)
        return found


@pytest.fixture
def guest(accounts: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Guest]:
    """A machine that has not had its first boot."""
    guest = Guest(accounts, capsys)
    yield guest
    guest.close()


@pytest.fixture
def made(guest: Guest) -> Guest:
    """One that has, with :data:`CONFIG`."""
    assert guest.first_boot(CONFIG) == 0
    return guest


Damage = Callable[[Guest], object]


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests do not wait for the disks of the machine they run on."""
    monkeypatch.setattr("builder.provisioning.offline._sync", lambda _paths: (0, ""))
