"""What a machine was made and what became of it: status, diff, applying again, and beginning again."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from builder.provisioning.comparison import compare_with_image
from builder.provisioning.image_facts import ImageRoot, read_facts
from vm.machine import Machine

DOCS = Path(__file__).parents[2] / "docs" / "drift.md"
DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024)]


def test_the_facts_of_the_build_are_those_of_the_machine(vm: Machine, demo: Path) -> None:
    """And the plan made of them is what the machine did."""
    root = ImageRoot(read_facts(demo))
    # Container images are shown once more where a mount without setuid is.
    shown = "-path '/usr/share/containers/storage/*' -prune"
    listed = vm.succeed(f"find /usr -xdev {shown} -o -printf '%y %m %U %G %l %p\\n'").splitlines()
    assert len(listed) > 5000
    for line in listed:
        kind, mode, uid, gid, target, path = line.split(" ", 5)
        seen = root.see(path)
        assert seen.stat is not None, path
        assert (seen.is_directory, seen.target) == (kind == "d", target or None), path
        if kind != "l":
            found = (f"{stat.S_IMODE(seen.stat.st_mode):o}", str(seen.stat.st_uid), str(seen.stat.st_gid))
            assert found == (mode, uid, gid), path
    inside = sum(1 for path in root.list_paths() if path.startswith("/usr/"))
    assert inside == len(listed) - 1
    comparison = compare_with_image(DEMO, None, read_facts(demo))
    assert comparison.complaints == ()
    done = json.loads(vm.succeed("firstboot status --json"))["firstboot"]["actions"]
    assert [each.describe() for each in comparison.actions] == done


def test_drift_is_seen_made_good_and_reset(vm: Machine) -> None:
    """One machine, because starting another takes longer than all of this."""
    status = json.loads(vm.succeed("firstboot status --json"))
    assert status["applied"]["image"] == {"id": "demo", "version": "1.0.0"}
    assert status["firstboot"]["result"] == "ok"
    assert status["firstboot"]["config"]["name"] == "fw_cfg opt/com.coreos/config"
    assert (status["changed"], status["factoryReset"]) == ([], False)
    assert vm.succeed("stat -c %a:%U /var/lib/firstboot/applied.json") == "600:root"

    vm.write("/etc/demo/greeting", "something else\n")
    vm.succeed("chmod 0640 /etc/hostname")
    vm.succeed("rm /etc/demo/hello")
    vm.succeed("systemctl disable demo-ready.service")
    vm.succeed("usermod --shell /bin/sh core")
    session = re.split(r"^\$ (.*)\n", DOCS.read_text().partition("```console\n")[2].partition("```")[0], flags=re.M)
    shown = dict(zip(session[1::2], session[2::2], strict=True))
    said = vm.succeed("firstboot status").splitlines()
    assert [line.split()[0] for line in said] == [line.split()[0] for line in shown["firstboot status"].splitlines()]
    assert said[-1] == shown["firstboot status"].splitlines()[-1]
    seen = vm.run("firstboot", "diff")
    assert seen.status == 3
    assert seen.stdout == shown["firstboot diff"]
    assert vm.fail("setpriv --reuid=1000 --regid=1000 --clear-groups firstboot diff").status == 1

    checked = vm.run("firstboot", "apply", "--check")
    assert checked.status == 3
    assert vm.read("/etc/demo/greeting") == "something else\n"
    assert checked.stdout == shown["firstboot apply --apply"]
    assert vm.succeed("firstboot apply --apply") == checked.stdout.strip()
    assert vm.succeed("firstboot apply --check") == shown["firstboot apply --check"].strip()
    assert vm.read("/etc/demo/hello").startswith("Hello")
    assert vm.succeed("stat -c %a /etc/hostname") == "644"
    assert vm.succeed("getent passwd core").endswith(":/bin/bash")
    assert vm.succeed("systemctl is-enabled demo-ready.service") == "enabled"

    vm.write("/var/lib/mine", "data\n")
    identity = vm.read("/etc/machine-id")
    assert vm.fail("firstboot factory-reset").status == 1  # nobody answers
    vm.succeed("systemctl start --no-block factory-reset.target")
    vm.wait_reboot()
    vm.wait_firstboot()
    vm.wait_unit("multi-user.target")
    vm.fail("test -e /var/lib/mine")
    assert vm.read("/etc/machine-id") != identity
    assert "nothing has changed" in vm.succeed("firstboot diff")
