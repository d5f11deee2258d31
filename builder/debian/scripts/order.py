"""The order in which packages are configured: what a package depends on comes before it.

Source: Debian Policy 7.2; where packages depend on each other in a circle, dpkg starts somewhere, and so do we:
with the first by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.debian.control import parse_relations

FIELDS = ("Pre-Depends", "Depends")
# They make what others take for granted (dpkg(1) configures them first in a new system).
FIRST = ("base-passwd", "base-files", "libc-bin")


def sort_for_configuration(controls: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The names of packages, sorted so that dependencies come first, and by name otherwise.

    Args:
        controls: the fields of each package's control file, by the package's name.
    """
    providers: dict[str, list[str]] = {}
    for name in sorted(controls):
        providers.setdefault(name, []).insert(0, name)
        for group in parse_relations(controls[name].get("Provides", "")):
            providers.setdefault(group[0].name, []).append(name)
    needs = {name: _needs(control, providers) for name, control in controls.items()}
    done: dict[str, None] = {}
    for name in (*(first for first in FIRST if first in controls), *sorted(controls)):
        _visit(name, needs, done)
    return list(done)


def _needs(control: Mapping[str, str], providers: Mapping[str, Sequence[str]]) -> list[str]:
    relations = [group for field in FIELDS for group in parse_relations(control.get(field, ""))]
    return sorted({name for group in relations for relation in group for name in providers.get(relation.name, ())[:1]})


def _visit(start: str, needs: Mapping[str, Sequence[str]], done: dict[str, None]) -> None:
    """Depth first, without recursion: chains of dependencies can be long."""
    entered = {start}
    stack = [(start, iter(needs[start]))]
    while stack:
        name, rest = stack[-1]
        following = next((need for need in rest if need not in done and need not in entered), None)
        if following is None:
            stack.pop()
            done[name] = None
        else:
            entered.add(following)
            stack.append((following, iter(needs[following])))
