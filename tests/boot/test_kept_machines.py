"""A machine that is kept, as its user has it: written to, killed, started again; its image is built anew meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.boot

CONFIG = """\
variant: buildos
version: 1.0.0
hostname: kept
systemd:
  units:
    - {name: web.service, mask: true}
    - name: fails.service
      enabled: true
      contents: |
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/false
        [Install]
        WantedBy=multi-user.target
"""


@pytest.fixture
def home(demo: Path, tmp_path: Path) -> Path:
    """A project whose image is the demo; its files are its own."""
    (tmp_path / "out").mkdir()
    data = json.loads(demo.read_text())
    for artifact in data["artifacts"].values():
        shutil.copy(demo.parent / artifact["path"], tmp_path / "out")
    (tmp_path / "out" / "build.json").write_text(json.dumps(data))
    (tmp_path / "machine.yaml").write_text(CONFIG)
    return tmp_path


def build_os(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home / "run")}
    command = [sys.executable, "-m", "builder", *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


def in_machine(home: Path, command: str, *options: str) -> str:
    """What a command says in the only machine that runs."""
    done = build_os(home, "ssh", *options, "--", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_was_written_is_there_after_a_power_cut_and_a_new_build(home: Path) -> None:
    try:
        started = build_os(home, "run", "-c", "machine.yaml", "--detach", "--keep", "--name", "kept")
        assert started.returncode == 0, started.stderr
        assert "warning: fails.service has failed; to look: build-os ssh --root kept -- journalctl" in started.stderr
        assert "its disk is kept" in started.stderr
        assert in_machine(home, "id -un") == "core"
        assert in_machine(home, "id -un", "--root") == "root"
        assert "status=1/FAILURE" in in_machine(home, "journalctl -b -u fails.service", "--root")
        machine_id = in_machine(home, "echo written > data; sync; cat /etc/machine-id")

        (listed,) = json.loads(build_os(home, "machine", "list", "--json").stdout)
        os.kill(listed["pid"], signal.SIGKILL)
        # Built anew: nothing of the old image is where it was.
        data = json.loads((home / "out" / "build.json").read_text())
        for artifact in data["artifacts"].values():
            (home / "out" / artifact["path"]).unlink()
        (home / "out" / "build.json").write_text(json.dumps({**data, "roothash": "0" * 64}))
        (listed,) = json.loads(build_os(home, "machine", "list", "--json").stdout)
        assert (listed["state"], listed["disk"]) == ("off", "kept")

        again = build_os(home, "machine", "start")
        assert again.returncode == 0, again.stderr
        assert f"kept stays the {data['name']} {data['version']} that it was made of" in again.stderr
        assert in_machine(home, "cat data /etc/machine-id") == f"written\n{machine_id}"
        stopped = build_os(home, "machine", "stop")
        assert "kept is off, and its disk is kept" in stopped.stderr
        assert "switched off" not in stopped.stderr
        assert build_os(home, "machine", "rm", "kept").returncode == 0
        assert list((home / "data").rglob("*.qcow2")) == []
    finally:
        build_os(home, "machine", "rm", "--force", "kept")
