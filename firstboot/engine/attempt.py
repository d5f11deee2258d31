"""How far a first boot has come, for whoever has to say how it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from firstboot.config import digests
    from firstboot.config.models import Config
    from firstboot.platforms import Fetched
else:
    digests = import_lazily("firstboot.config.digests")


class Attempt:
    """What is known of a first boot; filled in as it goes.

    Attributes:
        image: its id and version.
        is_alone: whether the process is a first boot and nothing else.
        base: the image's own configs, and the platform's.
        user: the platform's config; an empty one is none.
        configs: what could be read and is right by itself.
        disks: whether block devices may have been changed.
        warnings: what was noticed and does not stop it.
        actions: what was done, one line each, without contents.
    """

    def __init__(self, image: Mapping[str, str], *, is_alone: bool = False) -> None:
        self.image = image
        self.is_alone = is_alone
        self._started = time.monotonic()
        self.platform = ""
        self.base: tuple[Fetched, ...] = ()
        self.user: Fetched | None = None
        self.configs: list[Config] = []
        self.disks = False
        self.warnings: tuple[str, ...] = ()
        self.actions: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._started, 3)

    def describe(self) -> dict[str, Any]:
        """What a result says of a first boot, however it ended."""
        user = self.user
        return {
            "image": {**self.image},
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": self.seconds,
            # Of this process, from its start on, and of the programs that it ran.
            "cpuSeconds": round(sum(os.times()[:4]), 3),
            "platform": self.platform,
            "userConfigProvided": user is not None,
            "config": None if user is None else {"name": user.name, "sha256": _digest(user)},
            "base": [{"name": config.name, "sha256": _digest(config)} for config in self.base],
            "warnings": list(self.warnings),
            "actions": list(self.actions),
        }


def _digest(fetched: Fetched) -> str:
    return digests.sha256(fetched.data).hexdigest()
