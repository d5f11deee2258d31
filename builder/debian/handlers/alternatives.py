"""``update-alternatives(1)``: its links, and its database, for all that scripts offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.debian.handlers.work import Work
from builder.debian.scripts.effects import Does, Effect
from builder.tree.node import file, symlink

ORIGIN = "stage:packages"
DATABASE = "/var/lib/dpkg/alternatives"


@dataclass(frozen=True, order=True)
class Alternative:
    """One ``--install`` call: the higher priority wins, then the one that was offered first.

    Attributes:
        slaves: (link, name, path) of what follows the choice.
    """

    priority: int
    path: str
    name: str
    link: str
    slaves: tuple[tuple[str, str, str], ...]


def alternative_of(effect: Effect) -> Alternative:
    """What a script offers."""
    link, path, priority, *slaves = effect.data
    assert isinstance(link, str)
    assert isinstance(path, str)
    assert isinstance(priority, int)
    return Alternative(priority, path, effect.name, link, tuple(slaves))  # type: ignore[arg-type]  # the model's own


def install_alternatives(work: Work) -> None:
    """Make ``/etc/alternatives``, the links into it for the best choice of every name, and the database."""
    found: dict[str, dict[str, Alternative]] = {}
    for effect in work.effects(Does.ALTERNATIVE):
        alternative = alternative_of(effect)
        if work.has(alternative.path):
            found.setdefault(alternative.name, {})[alternative.path] = alternative
    for name, choices in found.items():
        best = max(choices.values(), key=lambda choice: choice.priority)
        for choice in choices.values():  # what follows the first choice was there for the scripts after it
            for link, each, _ in choice.slaves:
                node = work.tree.get(link)
                if node is not None and node.target == f"/etc/alternatives/{each}":
                    work.tree.remove(link)
                    work.tree.remove(f"/etc/alternatives/{each}")
        for link, each, path in ((best.link, name, best.path), *best.slaves):
            if work.has(path):
                work.tree.put(f"/etc/alternatives/{each}", symlink(path, origin=ORIGIN))
                work.tree.put(link, symlink(f"/etc/alternatives/{each}", origin=ORIGIN))
        text = record(best.link, sorted(choices.values(), key=lambda choice: choice.path))
        work.tree.put(f"{DATABASE}/{name}", file(text, origin=ORIGIN))


def record(link: str, choices: Sequence[Alternative]) -> str:
    """A file of the database: state, links, choices (``altdb_save`` in dpkg's ``utils/update-alternatives.c``)."""
    slaves = {name: where for choice in choices for where, name, _ in choice.slaves}
    lines = ["auto", link, *(line for name in sorted(slaves) for line in (name, slaves[name])), ""]
    for choice in choices:
        paths = {name: path for _, name, path in choice.slaves}
        lines += [choice.path, str(choice.priority), *(paths.get(name, "") for name in sorted(slaves))]
    return "\n".join([*lines, "", ""])
