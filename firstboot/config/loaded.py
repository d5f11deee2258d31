"""What reading gives: a document that was checked, and a config with the lines its parts were written in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from firstboot.config.dump import dump, has_own
from firstboot.config.merge import merge
from firstboot.config.models import Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.origins import Complaint, Origins
from firstboot.config.text import Located, Problem
from firstboot.config.versions import OWN_SUFFIX

Version = tuple[int, int]


class Document(NamedTuple):
    """One text, checked.

    Attributes:
        located: the text.
        variant: ``ignition``, or a YAML variant.
        version: the spec version it is written for or compiles to.
        config: in that version's meaning; ``None`` if there are errors.
        problems: errors and warnings, at paths of the text.
        origins: from paths of ``config`` to the text.
        wrap: puts the compiled config, as plain data, into what its variant wraps it in: a MachineConfig.
        secrets: names of the secrets whose values are in ``config``.
    """

    located: Located
    variant: str
    version: Version
    config: Config | None
    problems: tuple[Problem, ...]
    origins: Origins
    wrap: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    secrets: frozenset[str] = frozenset()

    def compile(self) -> dict[str, Any]:
        """What it compiles to, as plain data. Only for a document without errors."""
        assert self.config is not None
        data = dump(self.config)
        if has_own(self.config):
            # No Ignition accepts such a version, so that none can pass over what it does not know.
            data["ignition"]["version"] += OWN_SUFFIX
        return data if self.wrap is None else self.wrap(data)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop it."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


class LoadedConfig(NamedTuple):
    """A config that may be carried out: in the newest version's terms, merged, checked.

    Attributes:
        config: what to do.
        origins: from its paths to the users' own lines.
        warnings: what is worth saying and does not stop it.
    """

    config: Config
    origins: Origins
    warnings: tuple[Complaint, ...] = ()

    def make_complaint(self, problem: Problem) -> Complaint:
        """A problem at a path of :attr:`config`, pointing at the user's own line."""
        return self.origins.make_complaint(problem)


def merge_all(configs: Iterable[LoadedConfig]) -> LoadedConfig:
    """Merge configs in order, later ones winning. The result is not checked: see :func:`finish`.

    Raises:
        ValueError: there are none.
    """
    result: LoadedConfig | None = None
    for other in configs:
        if result is None:
            result = other
            continue
        config, origins = merge(result.config, other.config, result.origins, other.origins)
        result = LoadedConfig(config, origins, (*result.warnings, *other.warnings))
    if result is None:
        raise ValueError("nothing to merge")
    return result
