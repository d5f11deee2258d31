"""What a maintainer script that is run cannot do: each way out is tried, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.attacks import ATTACKS
from tests.support.escaping import GREEDY, LIMITS_SAY
from tests.support.users import REPOSITORY, UID, become

pytestmark = pytest.mark.image

WHO = ("root", "user") if os.getuid() == 0 else ("user",)
# Root of a container has two capabilities and no other user to become: programs of the image run, scripts do not.
CONTAINER = "root of a container"
# What gets through where there is no sandbox, and does no harm when it is tried there.
HARMLESS = (
    "roots_of_processes", "host_loopback", "abstract_socket", "unix_socket", "signal_host", "see_processes",
    "inherited_files", "network_devices", "sys_and_cgroups", "privileges", "raise_limits", "environment",
    "shared_memory", "lock_on_host", "own_user_namespace", "odd_sockets",
)  # fmt: skip
Tries = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def tries(demo: Path) -> Iterator[Tries]:
    """Run the builder's side of the tests as somebody; each question is asked once."""
    tools = Path(json.loads(demo.read_text())["tools"])
    with tempfile.TemporaryDirectory(prefix="build-os-escapes-") as directory:
        place = Path(directory)
        place.chmod(0o777)

        @cache
        def run(who: str, *words: str) -> dict[str, Any]:
            command = [sys.executable, "-m", "tests.support.escaping", str(tools), str(place), *words]
            if who != "root" and os.getuid() == 0:
                command = become(f"{who} with network", *command, shown=[tools])
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(
                command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            assert isinstance(found, dict)
            return found

        yield run


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("attempt", ATTACKS)
def test_an_attempt_to_get_out_of_the_sandbox_fails(who: str, attempt: str, tries: Tries) -> None:
    assert tries(who, "attempts")[attempt] == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be root of a container")
@pytest.mark.parametrize("attempt", ATTACKS)
def test_an_attempt_of_a_program_of_the_image_fails_for_root_of_a_container(attempt: str, tries: Tries) -> None:
    assert tries(CONTAINER, "attempts", "program")[attempt] == ""


@pytest.mark.parametrize("attempt", HARMLESS)
def test_the_same_attempt_succeeds_where_there_is_no_sandbox(attempt: str, tries: Tries) -> None:
    assert tries("root" if os.getuid() == 0 else "user", "outside", *HARMLESS)[attempt] != ""


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("greed", GREEDY)
def test_a_script_that_takes_too_much_is_ended(who: str, greed: str, tries: Tries) -> None:
    found = tries(who, "limits", greed)
    assert LIMITS_SAY[greed] in found["said"]
    assert all(size <= 16 << 20 for size in found["sizes"].values())


@pytest.mark.parametrize("who", WHO)
def test_nothing_of_a_script_runs_on_when_it_has_ended(who: str, tries: Tries) -> None:
    found = tries(who, "limits", "lingering")
    assert found["said"] == "it ended"
    assert found["sizes"]["late"] == found["later"]["late"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be root of a container")
def test_root_who_cannot_become_another_user_runs_no_script(tries: Tries) -> None:
    assert "root cannot become another user here" in tries(CONTAINER, "limits", "sleeper")["said"]


def test_what_root_runs_in_the_sandbox_is_not_roots(tries: Tries) -> None:
    if os.getuid() != 0:
        pytest.skip("only root has to become somebody else")
    assert tries("root", "attempts")["who"] not in (0, UID)
