"""What is said when the time is over: the last reason that an attempt had, not that there was no time for another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firstboot.fetch.clock import Clock, Deadline
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import FetchError, Temporary, TimedOut
from firstboot.fetch.retry import try_again

pytestmark = pytest.mark.unit


class Still(Clock):
    """A clock that only a test moves."""

    def __init__(self, late: float = 0.0) -> None:
        super().__init__()
        self.moment = 0.0
        self.late = late  # seconds that every sleep takes longer: a busy machine

    def get_time(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.moment += seconds + self.late


def failing(clock: Still, *outcomes: tuple[float, Temporary]) -> Callable[[], None]:
    """Attempts that take some seconds and fail, the last one for ever."""
    left = list(outcomes)

    def attempt() -> None:
        seconds, error = left.pop(0) if len(left) > 1 else left[0]
        clock.moment += seconds
        raise error

    return attempt


def given_up(clock: Still, attempt: Callable[[], None]) -> str:
    with pytest.raises(FetchError) as caught:
        try_again("GET http://a/", attempt, clock, Deadline(clock, 10), lambda _: None)
    assert not isinstance(caught.value, Temporary)
    return str(caught.value.args[0])


def test_an_attempt_that_the_deadline_cuts_short_does_not_replace_the_reason() -> None:
    clock = Still()
    attempt = failing(clock, (0, Temporary("Network is unreachable")), (99, TimedOut("not resolved within 0 s")))
    assert given_up(clock, attempt) == "GET http://a/: given up after 10 s: Network is unreachable"


def test_an_attempt_that_had_its_time_does() -> None:
    clock = Still()
    attempt = failing(clock, (0, Temporary("503")), (9.5, TimedOut("no response within 9 s")))
    assert given_up(clock, attempt).endswith("given up after 10 s: no response within 9 s")


def test_a_reason_that_is_more_than_the_time_does_as_well() -> None:
    clock = Still()
    attempt = failing(clock, (0, Temporary("503")), (99, Temporary("the body was still coming")))
    assert given_up(clock, attempt).endswith("given up after 10 s: the body was still coming")


def test_the_only_attempt_is_told_however_it_ended() -> None:
    clock = Still()
    assert given_up(clock, failing(clock, (99, TimedOut("no answer")))).endswith("given up after 10 s: no answer")


def test_nothing_is_attempted_after_the_deadline() -> None:
    clock = Still(late=60)
    attempts: list[float] = []

    def attempt() -> None:
        attempts.append(clock.moment)
        raise Temporary("Network is unreachable")

    assert given_up(clock, attempt).endswith("given up after 10 s: Network is unreachable")
    assert attempts == [0]


@pytest.mark.parametrize("host", ["169.254.169.254", "fd00:ec2::254"])
def test_an_address_is_known_without_any_time(host: str) -> None:
    assert [address[0] for _, address in Connector().find_addresses(host, 80, 0)] == [host]
