"""What a config says of updates, and whether the image can do it: who may publish, and whose clock is meant."""

from __future__ import annotations

import json
from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.checks.own_texts import find_text
from firstboot.config.text import Path, Problem
from firstboot.config.update_words import SETTINGS_FILE

PROGRAM = "/usr/bin/os-update"
ROOT = "/usr/share/build-os/updates/root.json"
ZONES = "/usr/share/zoneinfo/"


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """A warning where nothing comes of what the config says."""
    if not image.has(PROGRAM):
        return  # then nobody reads the file at all, which is said of it
    for index, file in enumerate(image.config.storage.files):
        if file.path != SETTINGS_FILE:
            continue
        at: Path = ("storage", "files", index)
        try:
            said = json.loads(find_text(file) or "{}")
        except ValueError:
            yield Problem(at, f"{SETTINGS_FILE} is not JSON: nothing is updated", None, "warning")
            continue
        if not image.has(ROOT):
            hint = "set updates.url and updates.root in the image's definition"
            message = "this machine takes no version by itself, for the image does not say who may publish"
            yield Problem(at, message, hint, "warning")
        window = said.get("window") if isinstance(said, dict) else None
        zone = window.get("timezone") if isinstance(window, dict) else None
        if isinstance(zone, str) and not image.has(ZONES + zone):
            message = f"the image has no time zone '{zone}', and the machine never reboots by itself"
            yield Problem(at, message, "one of tzdata's, like Europe/Berlin or UTC", "warning")
