"""What a running systemd has to be told after its units have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from firstboot.apply.action import Action
from firstboot.apply.programs import ProgramError, Programs
from firstboot.apply.units import Mask, Systemctl, Unmask, WriteUnit
from firstboot.config.checks.units import UNIT_DIRECTORY


def reload_units(actions: Iterable[Action], programs: Programs) -> Iterator[str]:
    """Let systemd read its units again; what to start anew is for the administrator, and is said."""
    changed: dict[str, None] = {}
    reload = False
    for action in actions:
        if isinstance(action, WriteUnit):
            name = action.path.removeprefix(UNIT_DIRECTORY + "/").partition("/")[0].removesuffix(".d")
            changed.setdefault(name)
        reload = reload or isinstance(action, WriteUnit | Mask | Unmask | Systemctl)
    if not reload or not Path("/run/systemd/system").is_dir():
        return
    with suppress(ProgramError):
        # Programs are started with SYSTEMD_OFFLINE, for roots that do not run.
        programs.run(["env", "-u", "SYSTEMD_OFFLINE", "systemctl", "daemon-reload"])
    if changed:
        yield f"units have changed; to use them now: systemctl restart {' '.join(changed)}"
