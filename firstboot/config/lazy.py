"""Modules that are imported when something of them is first used: what few machines need costs the others nothing.

On an emulated processor imports are most of the time that a first boot takes. Write::

    if TYPE_CHECKING:
        from firstboot.apply import archives
    else:
        archives = import_lazily("firstboot.apply.archives")

and use ``archives.plan(...)`` where there are archives. This is the only place that imports anything late.
"""

from __future__ import annotations

from typing import Any


class _LazyModule:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(__import__(self._name, fromlist=("",)), attribute)


def import_lazily(name: str) -> Any:
    """A module by its full name, not imported yet."""
    return _LazyModule(name)
