"""``deb-systemd-helper(1p)``: which units a package enables when it is installed, as a preset file.

debhelper's snippet asks ``was-enabled`` for a unit that starts by default, and ``debian-installed`` first for one that
does not (``dh_installsystemd --no-enable``). What no package and no definition enables stays off.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.debian.handlers.work import Work
from builder.debian.scripts.effects import Does
from builder.tree.node import Kind, file

ENABLED = "/etc/systemd/system"
ORIGIN = "stage:packages"
PRESETS = {"": "/usr/lib/systemd/system-preset", "user": "/usr/lib/systemd/user-preset"}


def install_presets(work: Work) -> None:
    """Write what packages enable (``80``), below definitions' own choices, and "all else is off" last (``99``)."""
    if not work.has("/usr/lib/systemd/system"):
        return
    for scope, directory in PRESETS.items():
        states = {effect.name: effect.data[1] for effect in work.effects(Does.UNIT) if effect.data[0] == scope}
        if not scope:
            states |= dict.fromkeys(_linked_by_hand(work), "enable")
        units = sorted(unit for unit, state in states.items() if state == "enable")
        text = "# Units that their packages enable.\n" + "".join(f"enable {unit}\n" for unit in units)
        work.tree.put(f"{directory}/80-packages.preset", file(text, origin=ORIGIN))
        work.tree.put(f"{directory}/99-off.preset", file("# All else is off.\ndisable *\n", origin=ORIGIN))


def _linked_by_hand(work: Work) -> Iterator[str]:
    """Units that a script enables by a link of its own, as display managers do; their presets would remove it."""
    for effect in work.effects(Does.LINK):
        node = work.tree.get(effect.name)
        if effect.name.startswith(f"{ENABLED}/") and node is not None:
            unit = node.target.rpartition("/")[2]
            text = work.tree.get(f"/usr/lib/systemd/system/{unit}", follow=True)
            if text is not None and text.kind is Kind.FILE and b"[Install]" in text.content.read():
                yield unit
