"""Mount points in a home: they were made before the user was, and belong to the user nevertheless."""

from __future__ import annotations

from firstboot.apply.action import Machine
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

PRIVATE = 0o700


class GiveMountPoints(NamedTuple):
    """Give directories that were made for mounts to the user of the config in whose home they are, as Ignition does."""

    paths: tuple[str, ...]
    users: tuple[str, ...]
    at: Path = ()

    def describe(self) -> str:
        return "give mount points in homes to their users"

    def perform(self, machine: Machine) -> None:
        users = [user for name, user in machine.names.users.items() if name in self.users]
        # The longest first: a home may be inside another one.
        homes = sorted(((machine.root.resolve(user.home), user) for user in users), key=lambda pair: -len(pair[0]))
        for path in self.paths:
            owner = next((owned for home, owned in homes if home != "/" and f"{path}/".startswith(f"{home}/")), None)
            if owner is not None and owner.uid != 0:
                machine.root.change(path, uid=owner.uid, gid=owner.gid, mode=PRIVATE)
