"""A config while sugar is made for it: what every kind of sugar reads, and what it adds to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from firstboot.config.building import Builder
from firstboot.config.butane import Surroundings
from firstboot.config.butane.variants import Edition
from firstboot.config.explain import describe_kind
from firstboot.config.merge import merge
from firstboot.config.model import Model
from firstboot.config.models import Config
from firstboot.config.origins import GeneratedFrom, Origins
from firstboot.config.shape import Walk
from firstboot.config.text import Path, Problem

M = TypeVar("M", bound=Model)


class Draft:
    """A config that sugar is being made for.

    Attributes:
        config: so far.
        origins: of its parts.
        problems: at paths of the document's clean data, as :attr:`Walk.origins` knows them.
        wrap: puts the compiled config, as plain data, into what the variant wraps it in.
        secrets: names of the secrets whose values have come into the config.
        walk: how the document was read.
        edition: the version of the variant it is in.
        surroundings: what compiling needs besides.
    """

    def __init__(
        self, config: Config, origins: Origins, walk: Walk, edition: Edition, surroundings: Surroundings
    ) -> None:
        self.config = config
        self.origins = origins
        self.problems: list[Problem] = []
        self.wrap: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.secrets: set[str] = set()
        self.walk = walk
        self.edition = edition
        self.surroundings = surroundings

    @property
    def extras(self) -> dict[Path, Any]:
        """The settings that sugar is made of: :attr:`Walk.extras`."""
        return self.walk.extras

    # --- parts of the document ---

    def list_elements(self, model: type[M], path: Path) -> Iterable[tuple[Path, M]]:
        """The elements of an extra list, and where they are."""
        value = self.extras.get(path, [])
        if not isinstance(value, list):
            self.problems.append(Problem(path, f"expected a list, found {describe_kind(value)}"))
            return
        for index in range(len(value)):
            here = (*path, index)
            built = self.find(model, here, value[index])
            if built is not None:
                yield here, built

    def build(self, model: type[M], path: Path) -> M:
        """A part that is one mapping, empty if there is none or it does not fit."""
        built = self.find(model, path, self.extras.get(path, {}))
        return model() if built is None else built

    def find(self, model: type[M], path: Path, value: Any) -> M | None:
        """One part, or ``None`` if it does not fit; then that has been said."""
        root: Any = {}
        inner = root
        for segment in path[:-1]:
            inner = inner.setdefault(segment, {})
        inner[path[-1]] = value
        builder = Builder(root, self.walk.origins, self.walk.located)
        built = builder.build(model, value, path)
        self.problems += builder.problems
        return None if builder.broken else built

    # --- results ---

    def make_origin(self, path: Path) -> tuple[GeneratedFrom, Path]:
        """Where something comes from that is made of what stands at a path of the clean data."""
        return GeneratedFrom(self.walk.located), self.walk.locate(path)

    def merge_rendered(self, rendered: tuple[Config, dict[Path, Path]] | None) -> None:
        """Merge the user's config over what sugar stands for; ``rendered`` says where in the sugar its parts are."""
        if rendered is not None:
            parent, sources = rendered
            self.merge_under(parent, Origins({path: self.make_origin(source) for path, source in sources.items()}))

    def merge_under(self, parent: Config, origins: Origins) -> None:
        """Add what the config does not say itself."""
        self.config, self.origins = merge(parent, self.config, origins, self.origins)
