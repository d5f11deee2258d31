"""Users whose shell or home will not work."""

from __future__ import annotations

from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage
from firstboot.config.explain import find_suggestion
from firstboot.config.text import Path, Problem

SHELLS = "/etc/shells"


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """Warnings, one for each user's setting; unknown groups are the machine's own errors."""
    shells = [line.strip() for line in image.root.facts.texts.get(SHELLS, "").splitlines() if line.startswith("/")]
    there = [shell for shell in shells if image.has(shell)]
    for index, user in enumerate(image.config.passwd.users):
        at: Path = ("passwd", "users", index, "shell")
        if not user.shell or user.should_exist is False or image.has(user.shell):
            continue
        hint = find_suggestion(user.shell, there) or f"the image has {', '.join(there)}"
        yield Problem(at, f"there is no '{user.shell}': {user.name} could not log in", hint, "warning")
