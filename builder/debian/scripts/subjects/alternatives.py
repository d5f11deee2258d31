"""``update-alternatives(1)``: what scripts offer, and the links and the database of the best choices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from builder.debian.scripts.effects import Effect, EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.target_system import NotModelled
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import make_file, make_symlink


def update_alternatives(shell: Shell, arguments: list[str]) -> Status:
    """``update-alternatives --install``; the handler chooses when all are known."""
    rest = [a for a in arguments if a not in ("--quiet", "--verbose", "--force", "--skip-auto")]
    while rest and rest[0] in ("--altdir", "--admindir", "--log"):
        rest = rest[2:]
    action = rest[0] if rest else ""
    if action == "--install" and len(rest) >= 5 and re.fullmatch(r"-?[0-9]+", rest[4]):
        link, name, path, priority = rest[1:5]
        slaves: list[tuple[str, str, str]] = []
        more = rest[5:]
        while more:
            if more[0] in ("--slave", "--follower") and len(more) >= 4:
                slaves.append((more[1], more[2], more[3]))
                more = more[4:]
            else:
                raise NotModelled(f"update-alternatives {more[0]}")
        if shell.system.get(path) is None:
            # update-alternatives fails over a path that is not there.
            return 2
        shell.system.record(
            EffectKind.ALTERNATIVE, name, f"{path}, priority {priority}", link, path, int(priority), *slaves
        )
        shell.records.alternatives[name, path] = (int(priority), link)
        if max(_offers(shell, name).items(), key=lambda offer: offer[1][0])[0] == path:
            _link_alternative(shell, [(link, name, path), *slaves])
        return 0
    if action in ("--auto", "--remove", "--remove-all"):
        return 0
    if action in ("--query", "--display", "--list"):
        offers = _offers(shell, rest[1])
        if not offers:
            return 2
        if action == "--list":
            shell.say("".join(f"{path}\n" for path in sorted(offers)))
            return 0
        best = max(offers, key=lambda path: offers[path][0])
        lines = [f"Name: {rest[1]}", f"Link: {offers[best][1]}", "Status: auto", f"Best: {best}", f"Value: {best}"]
        for path in sorted(offers):
            lines += ["", f"Alternative: {path}", f"Priority: {offers[path][0]}"]
        shell.say("".join(f"{line}\n" for line in lines))
        return 0
    raise NotModelled(f"update-alternatives {action}")


def _offers(shell: Shell, name: str) -> dict[str, tuple[int, str]]:
    """What scripts have offered for a name so far: priority and link by path. As dpkg's record, it outlives them."""
    if ("alternative", name) in shell.state.shared.unclear:
        raise NotModelled(f"what is offered as {name} depends on what only a running machine knows")
    offers = shell.records.alternatives
    return {path: offer for (offered, path), offer in offers.items() if offered == name}


def _link_alternative(shell: Shell, links: list[tuple[str, str, str]]) -> None:
    """Links of the best choice so far, for scripts that look for what it provides; the handler makes the last ones."""
    for link, name, path in links:
        if shell.system.get(path) is not None:
            place = f"/etc/alternatives/{name}"
            shell.system.put(place, make_symlink(path, origin="stage:packages"))
            if shell.system.get(link, follow=False) is None:
                shell.system.put(link, make_symlink(place, origin="stage:packages"))


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


def read_alternative(effect: Effect) -> Alternative:
    """What a script offers."""
    link, path, priority, *slaves = effect.data
    assert isinstance(link, str)
    assert isinstance(path, str)
    assert isinstance(priority, int)
    return Alternative(priority, path, effect.name, link, tuple(slaves))  # type: ignore[arg-type]  # the model's own


def install_alternatives(work: Work) -> None:
    """Make ``/etc/alternatives``, the links into it for the best choice of every name, and the database."""
    by_name: dict[str, dict[str, Alternative]] = {}
    for effect in work.list_effects(EffectKind.ALTERNATIVE):
        alternative = read_alternative(effect)
        if work.has(alternative.path):
            by_name.setdefault(alternative.name, {})[alternative.path] = alternative
    for name, choices in by_name.items():
        best = max(choices.values(), key=lambda choice: choice.priority)
        for choice in choices.values():  # what follows the first choice was there for the scripts after it
            for link, slave, _ in choice.slaves:
                node = work.tree.get(link)
                if node is not None and node.target == f"/etc/alternatives/{slave}":
                    work.tree.remove(link)
                    work.tree.remove(f"/etc/alternatives/{slave}")
        for link, entry, path in ((best.link, name, best.path), *best.slaves):
            if work.has(path):
                work.tree.put(f"/etc/alternatives/{entry}", make_symlink(path, origin=ORIGIN))
                work.tree.put(link, make_symlink(f"/etc/alternatives/{entry}", origin=ORIGIN))
        text = record(best.link, sorted(choices.values(), key=lambda choice: choice.path))
        work.tree.put(f"{DATABASE}/{name}", make_file(text, origin=ORIGIN))


def record(link: str, choices: Sequence[Alternative]) -> str:
    """A file of the database: state, links, choices (``altdb_save`` in dpkg's ``utils/update-alternatives.c``)."""
    slaves = {name: where for choice in choices for where, name, _ in choice.slaves}
    lines = ["auto", link, *(line for name in sorted(slaves) for line in (name, slaves[name])), ""]
    for choice in choices:
        paths = {name: path for _, name, path in choice.slaves}
        lines += [choice.path, str(choice.priority), *(paths.get(name, "") for name in sorted(slaves))]
    return "\n".join([*lines, "", ""])


COMMANDS = make_models({"update-alternatives": update_alternatives}, replayed=("update-alternatives",))
