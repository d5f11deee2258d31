"""Keys and hashes with which nobody could log in, in languages whose machines do what they are told: warnings."""

from __future__ import annotations

from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage
from firstboot.config.checks.logins import check_logins
from firstboot.config.text import Problem


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """One warning for each; ``variant: buildos`` has refused its own when it was read."""
    for problem in check_logins(image.config.passwd):
        yield problem._replace(severity="warning")
