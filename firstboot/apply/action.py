"""Decide, then do: an action is something decided, with the place in the config that asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from firstboot.apply.accounts import Names
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root
from firstboot.config.text import Path

if TYPE_CHECKING:
    from firstboot.apply.contents import Fetched
    from firstboot.config.origins import Complaint


class Machine:
    """What actions act on.

    Attributes:
        root: where everything is written.
        programs: how programs are started.
        names: the root's users and groups; whoever changes them calls :meth:`Names.forget`.
        keys: of encrypted devices that were made, by name.
        luks_uuids: of the same devices.
        attempt: which first boot this is, through all its beginnings; empty if it is none.
        made: UUIDs of the filesystems that this first boot has made, also before it was cut short.
        note_made: called with the UUID of each that is made.
        mount_points: directories that were made to mount something, those above them included.
        mounted: where filesystems of the config are mounted now, in order, as programs are told.
        fetched: what the config names by URLs.
        warnings: what was noticed in planning that does not stop it.
    """

    def __init__(self, root: Root, programs: Programs | None = None) -> None:
        self.root = root
        self.programs = Programs() if programs is None else programs
        self.names = Names(root)
        self.keys: dict[str, bytes] = {}
        self.luks_uuids: dict[str, str] = {}
        self.attempt = ""
        self.made: frozenset[str] = frozenset()
        self.note_made: Callable[[str], None] = lambda _: None
        self.mount_points: list[str] = []
        self.mounted: list[str] = []
        self.fetched: Fetched = {}
        self.warnings: list[Complaint] = []


class Action(Protocol):
    """One thing to do. Frozen, comparable, printable; deciding was done when it was made."""

    @property
    def at(self) -> Path:
        """Where in the config it was asked for; ``()`` if it is always done."""

    def describe(self) -> str:
        """One line for people, without secrets."""

    def perform(self, machine: Machine) -> None:
        """Do it.

        Raises:
            OSError, ProgramError, Refused
        """


class Refused(Exception):
    """The machine is not as it was when the action was decided, or not as the config wants it to be."""
