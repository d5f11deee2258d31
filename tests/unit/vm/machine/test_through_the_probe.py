"""What is asked of a guest: programs, files, units, through a probe that may be lost."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.errors import VmError
from tests.unit.vm.machine.conftest import Start
from vm.spec import Accel

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu

pytestmark = pytest.mark.unit


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_programs_succeed_and_fail(start: Start, qemu: FakeQemu) -> None:
    def run(request: dict[str, Any]) -> object:
        status = 0 if request["argv"][0] == "true" else 1
        return {"status": status, "stdout": b64("said\n"), "stderr": b64("complained\n")}

    qemu.answer["run"] = run
    with start() as machine:
        qemu.greets()
        assert machine.succeed("true") == "said"
        assert machine.fail("false --with 'two words'").argv == ("false", "--with", "two words")
        with pytest.raises(VmError, match="false failed in the guest with status 1") as caught:
            machine.succeed("false")
        assert caught.value.details == ("said", "complained")
        with pytest.raises(VmError, match="true succeeded in the guest, and should not"):
            machine.fail("true")


def test_an_answer_that_is_lost_with_the_probe_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["run"] = lambda _: qemu.greets()
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match="started again before it answered"):
            machine.run("true")


def test_what_only_looks_is_asked_again_when_the_probe_is_killed(start: Start, qemu: FakeQemu) -> None:
    answers = iter([qemu.greets, lambda: {"data": base64.b64encode(b"x").decode()}])
    qemu.answer["read"] = lambda _: next(answers)()
    with start() as machine:
        qemu.greets()
        assert machine.read("/x") == "x"
    assert [request["op"] for request in qemu.requests] == ["read", "read"]


def test_a_guest_that_reboots_by_itself_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    boots = iter(["second", "third"])
    qemu.answer["run"] = lambda _: qemu.greets(next(boots))
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match="the guest has rebooted before it answered"):
            machine.run("true")
        assert machine.run_until_reboot("true") is None


def test_files_go_there_and_back(start: Start, qemu: FakeQemu) -> None:
    kept: dict[str, str] = {}

    def write(request: dict[str, Any]) -> object:
        kept[request["path"]] = request["data"]
        return {}

    qemu.answer["write"] = write
    qemu.answer["read"] = lambda request: {"data": kept[request["path"]]}
    with start() as machine:
        qemu.greets()
        machine.write("/etc/motd", "hello")
        assert machine.read("/etc/motd") == "hello"


def states(*states: str, load: str = "loaded") -> Callable[[dict[str, Any]], object]:
    """Each look sees the next state, at last always the last."""
    left = list(states)

    def answer(_: dict[str, Any]) -> object:
        state = left.pop(0) if len(left) > 1 else left[0]
        return {"properties": {"LoadState": load, "ActiveState": state, "SubState": "x", "Result": "exit-code"}}

    return answer


def test_a_unit_is_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("inactive", "activating", "active")
    with start(changes={"accel": Accel.KVM}) as machine:
        qemu.greets()
        assert machine.wait_unit("web.service")["ActiveState"] == "active"
        assert machine.unit("web.service")["LoadState"] == "loaded"


def test_a_unit_that_failed_ends_the_wait_with_its_journal(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("failed")
    qemu.answer["run"] = lambda _: {"status": 0, "stdout": b64("no such file\n"), "stderr": ""}
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"web.service failed \(exit-code\)") as caught:
            machine.wait_unit("web.service")
    assert caught.value.details[0] == "no such file"


def test_a_unit_that_does_not_exist_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("inactive", load="not-found")
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"the machine has no unit web\.service"):
            machine.wait_unit("web.service")


def test_a_unit_that_never_comes_shows_its_last_state(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("activating")
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"web\.service to be active did not come within") as caught:
            machine.wait_unit("web.service", within=0.2)
    assert caught.value.details[0] == "its last state was activating (x)"
    looks = [request for request in qemu.requests if request["op"] == "unit"]
    assert len(looks) < 5, "an answer is no reason to ask again"
