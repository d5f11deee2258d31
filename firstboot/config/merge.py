"""Merge two configs as the specification says: the child wins.

A walk over the models, not a list of fields. Structs merge field by field. Lists merge by key: a parent's
element stays where it is and takes what its child sets, new elements follow; lists named in ``UNKEYED`` are
joined as they are. Where lists share a key space (``SHARED``), a child's element replaces a parent's of
another list entirely.
"""

from __future__ import annotations

from typing import Any, TypeVar

from firstboot.config.fields import Field, list_fields
from firstboot.config.model import Model
from firstboot.config.models import Config, HttpHeader
from firstboot.config.origins import GeneratedFrom, Origins
from firstboot.config.text import Located, Path

M = TypeVar("M", bound=Model)


def merge(parent: Config, child: Config, parent_from: Origins, child_from: Origins) -> tuple[Config, Origins]:
    """The config of both, and where its parts come from. Neither argument is changed.

    The merged config's version is the child's, if it has one. It is not checked again here.
    """
    merger = _Merger(parent_from, child_from)
    return merger.merge_models(parent, child, (), (), ()), Origins(merger.entries)


class _Merger:
    def __init__(self, parent_from: Origins, child_from: Origins) -> None:
        self.parent_from = parent_from
        self.child_from = child_from
        self.entries: dict[Path, tuple[Located | GeneratedFrom | Origins, Path]] = {}

    def merge_models(self, parent: M, child: M, out: Path, parent_at: Path, child_at: Path) -> M:
        """Two structs, field by field."""
        self.entries[out] = (self.child_from, child_at)
        values: dict[str, Any] = {}
        for field in list_fields(type(child)).values():
            ours, theirs = getattr(parent, field.name), getattr(child, field.name)
            at, above, below = (*out, field.alias), (*parent_at, field.alias), (*child_at, field.alias)
            if field.kind == "model":
                values[field.name] = self.merge_models(ours, theirs, at, above, below)
            elif field.kind == "scalar":
                # "" is unset only where a field cannot be None: names, paths, the version.
                set_by_child = theirs is not None and not (theirs == "" and field.default == "")
                values[field.name] = theirs if set_by_child else ours
                self.entries[at] = (self.child_from, below) if set_by_child else (self.parent_from, above)
            else:
                values[field.name] = self._lists(parent, child, field, at, above, below)
        return type(child)(**values)

    def _lists(self, parent: Model, child: Model, field: Field, out: Path, above: Path, below: Path) -> Any:
        ours, theirs = getattr(parent, field.name), getattr(child, field.name)
        merged: list[Any] = []
        if field.name in child.UNKEYED:
            for source, at, elements in ((self.parent_from, above, ours), (self.child_from, below, theirs)):
                for index, element in enumerate(elements):
                    self.entries[(*out, len(merged))] = (source, (*at, index))
                    merged.append(element)
            return tuple(merged)
        new = {_key(element): index for index, element in enumerate(theirs)}
        replaced = _keys_of_siblings(child, field.name)
        taken: set[str] = set()
        for index, element in enumerate(ours):
            key = _key(element)
            here = (*out, len(merged))
            if key in new:
                taken.add(key)
                match, at = theirs[new[key]], (*below, new[key])
                if isinstance(match, HttpHeader) and match.value is None:
                    continue  # how a child removes a header
                if isinstance(element, Model):
                    merged.append(self.merge_models(element, match, here, (*above, index), at))
                else:
                    self.entries[here] = (self.child_from, at)
                    merged.append(match)
            elif key not in replaced:
                self.entries[here] = (self.parent_from, (*above, index))
                merged.append(element)
        for index, element in enumerate(theirs):
            if _key(element) not in taken:
                self.entries[(*out, len(merged))] = (self.child_from, (*below, index))
                merged.append(element)
        return tuple(merged)


def _key(element: Any) -> str:
    return element.key if isinstance(element, Model) else str(element)


def _keys_of_siblings(model: Model, name: str) -> set[str]:
    """The keys in the other lists that share a key space with the list ``name``."""
    shared = next((names for names in model.SHARED if name in names), ())
    return {_key(element) for other in shared if other != name for element in getattr(model, other)}
