"""``updates``: the machine's own file of what it does about new versions of its image."""

from __future__ import annotations

import json
import re
from typing import Any

from firstboot.config import update_words as words
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.update_models import FleetLock, Updates, UpdateWindow
from firstboot.config.text import Path

AT: Path = ("updates",)


def write_settings(output: SugarOutput) -> None:
    """The file, with what the config says and nothing else."""
    updates = output.find_part(Updates, AT)
    if updates is None:
        return
    before = output.complaints
    said: dict[str, Any] = {"enabled": updates.enabled, "url": updates.url}
    if updates.url is not None and not words.is_place(updates.url):
        output.complain((*AT, "url"), words.PLACE_WORDS)
    for name, pattern, what in (
        ("channel", words.CHANNEL_PATTERN, words.CHANNEL_WORDS),
        ("pin", words.VERSION_PATTERN, words.VERSION_WORDS),
        ("rate", words.RATE_PATTERN, words.RATE_WORDS),
    ):
        said[name] = getattr(updates, name)
        _check_text(said[name], pattern, what, (*AT, name), output)
    said["window"] = None if updates.window is None else _make_window(updates.window, (*AT, "window"), output)
    said["fleet_lock"] = None if updates.fleet_lock is None else _make_lock(updates.fleet_lock, output)
    if output.complaints == before:
        said["rate"] = None if updates.rate is None else words.parse_rate(updates.rate)
        text = json.dumps({key: value for key, value in said.items() if value is not None}, sort_keys=True)
        output.add_file(words.SETTINGS_FILE, f"{text}\n", AT)


def _make_window(window: UpdateWindow, at: Path, output: SugarOutput) -> dict[str, Any]:
    for index, day in enumerate(window.days):
        if day not in words.DAYS:
            output.complain((*at, "days", index), f"'{day}' is no day", f"days are {', '.join(words.DAYS)}")
    for name, text in (("begin", window.begin), ("end", window.end)):
        if not text:
            output.complain(at, f"it has no '{name}'", words.HOUR_WORDS)
        else:
            _check_text(text, words.HOUR_PATTERN, words.HOUR_WORDS, (*at, name), output)
    _check_text(window.timezone, words.ZONE_PATTERN, words.ZONE_WORDS, (*at, "timezone"), output)
    if window.begin and window.begin == window.end:
        output.complain((*at, "end"), "a window that ends when it begins is never open")
    made = {"days": [*window.days], "begin": window.begin, "end": window.end, "timezone": window.timezone}
    return {key: value for key, value in made.items() if value}


def _make_lock(lock: FleetLock, output: SugarOutput) -> dict[str, str]:
    at = (*AT, "fleet_lock")
    if lock.url is not None and not words.is_server(lock.url):
        output.complain((*at, "url"), words.URL_WORDS)
    _check_text(lock.group, words.GROUP_PATTERN, words.GROUP_WORDS, (*at, "group"), output)
    return {key: value for key, value in (("url", lock.url), ("group", lock.group)) if value is not None}


def _check_text(text: str | None, pattern: str, what: str, at: Path, output: SugarOutput) -> None:
    if text is not None and not re.fullmatch(pattern, text):
        output.complain(at, what)
