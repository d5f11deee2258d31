"""``firstboot apply`` and a server that does not answer: a person sits there, or a timer will try again."""

from __future__ import annotations

from typing import Any

import pytest

from firstboot.cli.drift import PATIENCE
from firstboot.fetch.clock import Clock
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import Temporary

pytestmark = pytest.mark.unit

CONFIG = """\
variant: buildos
version: 1.0.0
storage:
  files:
    - path: /etc/app/more
      contents: {source: "http://away.example/more"}
"""


class Nowhere(Connector):
    """A network on which nobody is known; a second there takes a moment here."""

    def __init__(self) -> None:
        super().__init__(Clock(60))

    def find_addresses(self, host: str, port: int, seconds: float, *, datagram: bool = False) -> list[tuple[int, Any]]:
        raise Temporary(f"the name {host} cannot be resolved")


@pytest.mark.parametrize(("option", "seconds"), [((), PATIENCE), (("--timeout", "7"), 7)])
def test_it_is_waited_for_as_long_as_was_said(made: Any, option: tuple[str, ...], seconds: int) -> None:
    made.places = made.places._replace(connector=Nowhere())
    made.at("tmp").mkdir(exist_ok=True)
    config = made.at("tmp/more.yaml")
    config.write_text(CONFIG)
    status, _, err = made.call("apply", "--check", *option, str(config))
    assert status == 2
    assert f"given up after {seconds} s: the name away.example cannot be resolved" in err


def test_a_config_that_says_how_long_is_believed(made: Any) -> None:
    made.places = made.places._replace(connector=Nowhere())
    made.at("tmp").mkdir(exist_ok=True)
    config = made.at("tmp/more.yaml")
    config.write_text(CONFIG.replace("storage:", "ignition: {timeouts: {http_total: 11}}\nstorage:"))
    _, _, err = made.call("apply", "--check", str(config))
    assert "given up after 11 s" in err


def test_seconds_are_a_number(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        made.call("apply", "--check", "--timeout", "soon")
    assert "'soon' is no number of seconds" in capsys.readouterr().err
