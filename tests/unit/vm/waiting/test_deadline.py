"""One deadline for all waits."""

from __future__ import annotations

import pytest

from builder.core.errors import InputError
from vm.spec import Accel
from vm.waiting.deadline import TCG_SCALE, Deadline, choose_timeout_scale

pytestmark = pytest.mark.unit


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_runs_from_when_it_was_made() -> None:
    clock = FakeClock()
    deadline = Deadline(10, clock=clock)
    clock.now += 4
    assert deadline.remaining == 6
    assert not deadline.expired
    clock.now += 6
    assert deadline.remaining == 0
    assert deadline.expired


def test_a_scale_stretches_it_and_says_so() -> None:
    deadline = Deadline(10, 5.0, FakeClock())
    assert deadline.remaining == 50
    assert str(deadline) == "50 s (10 s, stretched 5 times)"
    assert str(Deadline(10)) == "10 s"


def test_waiting_for_our_turn_does_not_count() -> None:
    deadline = Deadline(10, clock=FakeClock())
    deadline.extend(30)
    assert deadline.remaining == 40


def test_a_step_ends_no_later_than_the_whole() -> None:
    clock = FakeClock()
    deadline = Deadline(10, 2.0, clock)
    assert deadline.shorten(3).remaining == 6
    assert deadline.shorten(60).remaining == 20
    clock.now += 19
    assert deadline.shorten(3).remaining == 1


def test_emulation_stretches_and_the_environment_multiplies() -> None:
    assert choose_timeout_scale(Accel.KVM, {}) == 1
    assert choose_timeout_scale(Accel.TCG, {}) == TCG_SCALE
    assert choose_timeout_scale(Accel.TCG, {"BUILD_OS_TIMEOUT_SCALE": "1.5"}) == TCG_SCALE * 1.5
    assert choose_timeout_scale(Accel.KVM, {"BUILD_OS_TIMEOUT_SCALE": ""}) == 1


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan", "inf", "1e9"])
def test_a_scale_that_is_no_positive_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="BUILD_OS_TIMEOUT_SCALE"):
        choose_timeout_scale(Accel.KVM, {"BUILD_OS_TIMEOUT_SCALE": text})
