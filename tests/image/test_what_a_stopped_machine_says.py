"""What the root's emergency says of filesystems that are missing, by the script that says it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/build-os/explain-emergency"
# Answers as systemctl(1) does, of a machine whose /var is missing and whose other filesystem is mounted.
SYSTEMCTL = """\
#!/bin/sh
case "$*" in
*--property=Requires*) echo "-.mount var.mount srv-x.mount other.service" ;;
*is-active*var.mount) exit 3 ;;
*is-active*) exit 0 ;;
*--property=Where*) echo /var ;;
*--property=What*) echo /dev/mapper/var ;;
*) exit 1 ;;
esac
"""


def said(tmp_path: Path, systemctl: str) -> list[str]:
    program = tmp_path / "systemctl"
    program.write_text(systemctl)
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_filesystem_that_is_missing_is_named_with_its_device(tmp_path: Path) -> None:
    assert said(tmp_path, SYSTEMCTL) == [
        "build-os: /var is not mounted: /dev/mapper/var is missing, or could not be opened, checked or mounted",
        "build-os: this machine stopped: attach or repair the device and start it again; nothing takes its place",
    ]


def test_another_reason_is_not_blamed_on_a_device(tmp_path: Path) -> None:
    assert said(tmp_path, SYSTEMCTL.replace("exit 3", "exit 0")) == [
        "build-os: this machine stopped; the lines above say why",
    ]
