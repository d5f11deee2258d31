"""How a machine makes or joins a Docker Swarm: programs in place of the engine and of ssh note what they are asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

SCRIPT = Path(__file__).parents[2] / "overlays/swarm/usr/lib/build-os/swarm-start"
TOKEN = "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-7p73s1dx5in4tatdymyhg9hu2"
DOCKER = """\
#!/bin/sh
echo "docker $*" >>"$NOTES"
case "$*" in info*LocalNodeState*) echo "$STATE" ;; info*) echo "no quorum" ;; *) exit "$DOCKER_STATUS" ;; esac
"""
SSH = """\
#!/bin/sh
echo "ssh $*" >>"$NOTES"
printf '%s\\n' "$ANSWER"
exit "$SSH_STATUS"
"""


class Ran:
    def __init__(self, folder: Path, role: str, settings: str, **given: str) -> None:
        (folder / f"{role}.conf").write_text(settings)
        for name, text in (("docker", DOCKER), ("ssh", SSH)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        notes = folder / "notes"
        notes.write_text("")
        defaults = {"STATE": "inactive", "ANSWER": TOKEN, "DOCKER_STATUS": "0", "SSH_STATUS": "0"}
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(notes), **defaults, **given}
        done = subprocess.run(
            ["/bin/sh", SCRIPT, role, folder], env=environment, capture_output=True, text=True, check=False
        )
        self.status, self.said = done.returncode, done.stdout + done.stderr
        self.asked = [line for line in notes.read_text().splitlines() if " info " not in line]


def test_a_manager_makes_a_swarm_at_its_address(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "manager", "ADDRESS=10.0.0.21\n")
    assert (ran.status, ran.asked) == (0, ["docker swarm init --advertise-addr=10.0.0.21"])
    assert Ran(tmp_path, "manager", "").asked == ["docker swarm init"]


def test_a_worker_joins_with_the_token_that_the_manager_gives_it(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "worker", "MANAGER=swarm-1\n")
    assert ran.status == 0
    ssh, join = ran.asked
    assert ssh.endswith(" swarm-join@swarm-1")
    assert f"-i {tmp_path}/join.key" in ssh
    assert "StrictHostKeyChecking=yes" in ssh
    assert join == f"docker swarm join --token {TOKEN} swarm-1:2377"
    assert TOKEN not in ran.said


@pytest.mark.parametrize("state", ["active", "pending"])
def test_who_is_in_a_swarm_is_left_alone(tmp_path: Path, state: str) -> None:
    for role in ("manager", "worker"):
        ran = Ran(tmp_path, role, "MANAGER=swarm-1\n", STATE=state)
        assert (ran.status, ran.asked) == (0, [])


@pytest.mark.parametrize(
    ("settings", "given", "why"),
    [
        ("", {}, "does not say MANAGER="),
        ("MANAGER=swarm-1\n", {"SSH_STATUS": "255", "ANSWER": ""}, "swarm-1 gives no join token (yet)"),
        ("MANAGER=swarm-1\n", {"ANSWER": "Welcome!"}, "something else than a join token"),
        ("MANAGER=swarm-1\n", {"ANSWER": f"{TOKEN} --force"}, "something else than a join token"),
        ("MANAGER=swarm-1\n", {"ANSWER": ""}, "something else than a join token"),
        ("MANAGER=swarm-1\n", {"DOCKER_STATUS": "1"}, "swarm-1 did not let this machine in"),
        ("MANAGER=swarm-1\n", {"STATE": "error"}, "cannot get back into its swarm: no quorum"),
        ("MANAGER=swarm-1\n", {"STATE": "locked"}, "the swarm is locked"),
    ],
)
def test_a_worker_that_cannot_join_says_why_and_fails(
    tmp_path: Path, settings: str, given: dict[str, str], why: str
) -> None:
    ran = Ran(tmp_path, "worker", settings, **given)
    assert ran.status == 1
    assert why in ran.said
    assert [line for line in ran.asked if "swarm join" in line] == (
        [f"docker swarm join --token {TOKEN} swarm-1:2377"] if "DOCKER_STATUS" in given else []
    )
