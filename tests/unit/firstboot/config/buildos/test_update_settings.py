"""``updates`` of a first-boot config becomes the file that the agent reads, and what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from firstboot.config.update_words import SETTINGS_FILE
from tests.support.variant import Read
from update.agent.host import Host
from update.agent.settings import FleetLock, Settings, read_settings
from update.agent.window import parse_window

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
TEXT = """\
updates:
  enabled: false
  url: https://updates.example/fleet
  channel: testing
  pin: 1.2.0
  rate: 500K
  window: {days: [sat, sun], begin: 02:00, end: "04:00", timezone: Europe/Berlin}
  fleet_lock: {url: "http://locks.example:8000", group: web}
"""


def read_on_a_machine(found: Read, root: Path) -> Settings:
    path = root / SETTINGS_FILE.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(found.texts[SETTINGS_FILE])
    image = root / "usr/lib/build-os/updates.json"
    image.parent.mkdir(parents=True)
    image.write_text('{"arch": "amd64", "url": "https://image.example", "fleet_lock": {"url": "https://l.example"}}')
    return read_settings(Host(root))


def test_the_agent_reads_what_the_config_says(config: Config, tmp_path: Path) -> None:
    settings = read_on_a_machine(config(TEXT), tmp_path)
    assert settings._replace(window=None) == Settings(
        "amd64",
        url="https://updates.example/fleet",
        channel="testing",
        rate=500 << 10,
        fleet_lock=FleetLock("http://locks.example:8000", "web"),
        pin="1.2.0",
        enabled=False,
    )
    assert settings.window is not None
    assert parse_window(settings.window).is_open(1_800_000_000) is False


def test_what_is_not_said_is_as_the_image_says(config: Config, tmp_path: Path) -> None:
    settings = read_on_a_machine(
        config("updates: {fleet_lock: {group: db}, window: {begin: '00:00', end: '23:59'}}"), tmp_path
    )
    assert (settings.url, settings.enabled) == ("https://image.example", True)
    assert settings.fleet_lock == FleetLock("https://l.example", "db")
    assert settings.window is not None
    assert parse_window(settings.window).is_open(1_800_000_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{url: updates.example}",
            "3 updates.url: this is no URL that starts with http:// or https://, and no oci://HOST/NAME",
        ),
        ("{channel: A B}", "3 updates.channel: a channel's name is"),
        ("{pin: a_b}", "3 updates.pin: a version is"),
        ("{rate: 2MB}", "3 updates.rate: a rate is a number of KiB"),
        ("{window: {begin: 24:00, end: '01:00'}}", "3 updates.window.begin: a time of the day is"),
        ("{window: {begin: '01:00'}}", "3 updates.window: it has no 'end'"),
        ("{window: {begin: '01:00', end: '01:00'}}", "3 updates.window.end: a window that ends when it begins"),
        ("{window: {days: [so], begin: '01:00', end: '02:00'}}", "3 updates.window.days.0: 'so' is no day"),
        ("{window: {begin: '01:00', end: '02:00', timezone: a b}}", "3 updates.window.timezone: a time zone is"),
        ("{fleet_lock: {url: ftp://x}}", "3 updates.fleet_lock.url: this is no URL"),
        ("{fleet_lock: {group: a b}}", "3 updates.fleet_lock.group: a group's name is"),
        ("{root: x}", "3 updates.root: "),
        ("{enabled: 1}", "3 updates.enabled: "),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(config: Config, text: str, message: str) -> None:
    said = config(f"updates: {text}\n").said
    assert len(said) == 1
    assert said[0].startswith(message)
