"""A config with the lines its parts were written in, and how several become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from firstboot.config.merge import merge
from firstboot.config.models import Config
from firstboot.config.origins import Complaint, Origins
from firstboot.config.text import Problem


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

    def complaint(self, problem: Problem) -> Complaint:
        """A problem at a path of :attr:`config`, pointing at the user's own line."""
        return self.origins.complaint(problem)


def merge_all(configs: Iterable[LoadedConfig]) -> LoadedConfig:
    """Merge configs in order, later ones winning. The result is not checked: see :func:`finish`.

    Raises:
        ValueError: there are none.
    """
    result: LoadedConfig | None = None
    for each in configs:
        if result is None:
            result = each
            continue
        config, origins = merge(result.config, each.config, result.origins, each.origins)
        result = LoadedConfig(config, origins, (*result.warnings, *each.warnings))
    if result is None:
        raise ValueError("nothing to merge")
    return result
