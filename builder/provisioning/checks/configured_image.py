"""The machine as image and config make it: which paths, units, users and groups there will be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from functools import cached_property

from builder.core.suggest import find_nearest
from builder.provisioning.checks.own_texts import UnitText, list_own_units
from builder.provisioning.image_facts import ImageRoot, list_pulled_in
from firstboot.apply.accounts import Names
from firstboot.apply.units import UNIT_PATH
from firstboot.config.models import Config
from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.quadlets import find_unit_name


class ConfiguredImage:
    """Image and config; what the config removes is taken for gone, what it adds for there."""

    def __init__(self, root: ImageRoot, config: Config) -> None:
        self.root = root
        self.config = config
        self.names = Names(root)

    @cached_property
    def written(self) -> frozenset[str]:
        """Everything that the config puts somewhere, by resolved path, with the directories above."""
        storage = self.config.storage
        paths: set[str] = set()
        for node in (*storage.directories, *storage.files, *storage.links):
            path = self.locate(node.path)
            while path not in paths and path != "/":
                paths.add(path)
                path = posixpath.dirname(path)
        return frozenset(paths)

    def locate(self, path: str) -> str:
        """Where a path really is; itself if that cannot be said."""
        try:
            return self.root.see(path).path
        except OSError:
            return posixpath.normpath(path)

    def has(self, path: str) -> bool:
        """Whether there will be something at a path."""
        try:
            return self.locate(path) in self.written or self.root.has(path)
        except OSError:
            return False

    @cached_property
    def users(self) -> frozenset[str]:
        """The names of all users there will be."""
        return frozenset({*self.names.users, *(user.name for user in self.config.passwd.users)})

    @cached_property
    def groups(self) -> frozenset[str]:
        """The names of all groups there will be; a new user has one of its own."""
        passwd = self.config.passwd
        made = {*(group.name for group in passwd.groups), *(user.name for user in passwd.users)}
        return frozenset({*self.names.groups, *made})

    # --- units ---

    @cached_property
    def unit_names(self) -> frozenset[str]:
        """Every unit that will be there, also those that podman makes of quadlets."""
        names = {name for directory in UNIT_PATH for name in self.root.list_names(directory)}
        names |= {unit.name for unit in self.config.systemd.units if unit.contents}
        names |= self.made_of_quadlets
        names |= {posixpath.basename(path) for path in self.written if posixpath.dirname(path) in UNIT_PATH}
        return frozenset(names)

    @cached_property
    def made_of_quadlets(self) -> frozenset[str]:
        """The units that podman makes at each boot."""
        paths = [path for path in (*self.root.facts.texts, *self.written) if path.startswith(QUADLETS)]
        return frozenset(name for path in paths if (name := find_unit_name(path)))

    def has_unit(self, name: str) -> bool:
        """Whether there will be a unit of this name, or the template it is an instance of."""
        stem, at, rest = name.partition("@")
        template = f"{stem}@.{rest.rpartition('.')[2]}"
        return name in self.unit_names or (bool(at) and template in self.unit_names)

    @cached_property
    def started(self) -> frozenset[str]:
        """Units that others start, as far as image and config say."""
        pulled_in = list_pulled_in(self.root)
        for unit in self.config.systemd.units:
            if unit.mask or unit.enabled is False:
                pulled_in.discard(unit.name)
            elif unit.enabled:
                pulled_in.add(unit.name)
        return frozenset(pulled_in)

    @cached_property
    def own_units(self) -> tuple[UnitText, ...]:
        """What the config says in units, drop-ins and quadlets."""
        return tuple(list_own_units(self.config))

    @cached_property
    def image_units(self) -> tuple[UnitText, ...]:
        """What the image says in units and quadlets that the config does not replace."""
        mine = {unit.name for unit in self.own_units if unit.at is not None and "dropins" not in unit.at}
        units = [UnitText.read(name, None, text) for name, text in self.root.facts.list_units() if name not in mine]
        for path, text in self.root.facts.texts.items():
            if path.startswith(QUADLETS):
                units.append(UnitText.read(posixpath.basename(path), None, text))
        return tuple(units)


def find_hint(name: str, known: Iterable[str]) -> str | None:
    """A hint, if there is something that may have been meant. Stricter than for settings: there are many names."""
    similar = find_nearest(name, known, 1, cutoff=0.8)
    return f"did you mean '{similar[0]}'?" if similar else None
