"""An app as a build needs it: what the user wrote, with files and units looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.definition.app_models import App


@dataclass(frozen=True)
class ResolvedApp:
    """An app, ready to be put into an image.

    Attributes:
        name: of its unit, without the suffix.
        app: what the user wrote.
        files: of its directory, by their path in it.
        entrypoint: ``module:function`` where the directory's own ``pyproject.toml`` says what its script is.
        after: units that start before it.
        needs: those of them that it cannot run without.
    """

    name: str
    app: App
    files: Mapping[str, Path]
    entrypoint: str | None
    after: tuple[str, ...]
    needs: tuple[str, ...]
