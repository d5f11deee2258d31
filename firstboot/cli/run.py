"""``prepare``, ``run``, ``delete-config``, ``recovery-key``: the machine's first boot, each in a process of its own."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from firstboot.apply.root import Root
from firstboot.config.lazy import import_lazily
from firstboot.log import Log
from firstboot.places import Places

if TYPE_CHECKING:
    from firstboot import prepare, recovery_key
    from firstboot.engine import provision
    from firstboot.sources import deletion
else:
    deletion = import_lazily("firstboot.sources.deletion")
    prepare = import_lazily("firstboot.prepare")
    provision = import_lazily("firstboot.engine.provision")
    recovery_key = import_lazily("firstboot.recovery_key")


HELP = {
    "prepare": "decide whether this is a first boot; the initrd calls it",
    "run": "make this machine what its config says: its first boot; the initrd calls it once",
    "delete-config": "take the config away from the platform, where the first boot could not",
    "recovery-key": "hand over the recovery key of the encrypted state partition, if nobody has it yet",
}


def run_command(arguments: list[str], places: Places | None = None) -> int:
    """Decide whether this is a first boot, do it, or do what it left to do; 0 if that succeeded."""
    # Classes and what a config says live until the end; looking for garbage among them finds none.
    gc.disable()
    places = places or Places()
    match arguments:
        case ["prepare"]:
            return prepare.prepare(places, Log())
        case ["run"]:
            return provision.run(places, Log(), is_alone=True)
        case ["delete-config"]:
            with Root(places.root) as root:
                return 0 if deletion.delete_kept_config(root, places, Log()) else 1
        case ["recovery-key"]:
            return recovery_key.hand_over(places, Log())
        case [command, "-h" | "--help"]:
            print(f"usage: firstboot {command}\n\n{HELP[command]}")
            return 0
        case _:
            print(f"firstboot {arguments[0]} takes no arguments", file=sys.stderr)
            return 2
