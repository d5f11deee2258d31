"""A config compared with the image of a build, before a machine is started with both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError
from builder.provisioning.comparison import compare_with_image
from builder.provisioning.image_facts import find_facts
from builder.provisioning.values import NO_VALUES, Values
from firstboot.config.origins import collect_by_document


@dataclass(frozen=True)
class BuildComparison:
    """What came of a config and the image that it is for.

    Attributes:
        image: the image's name and version; empty if the config could not be compared with any.
        why_not: why it could not.
        warnings: drawn.
        notes: what could not be looked at.
    """

    image: str = ""
    why_not: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare_with_build(
    path: Path, build_json: Path, values: Values = NO_VALUES, files_dir: Path | None = None
) -> BuildComparison:
    """Compare a config with what a build says of its image (:func:`.comparison.compare_with_image`).

    Args:
        path: the config.
        values: of its variables and secrets.
        files_dir: where its local files are; none, as on a machine.

    Raises:
        InputError: a machine of that image would refuse it; shows every problem at its line.
    """
    if not build_json.exists():
        return BuildComparison(why_not=f"there is no {build_json}: 'build-os build' makes it")
    facts = find_facts(build_json)
    if facts is None:
        return BuildComparison(why_not=f"{build_json} has no facts of its image")
    comparison = compare_with_image(path, files_dir, facts, values)
    if comparison.has_errors:
        raise InputError("\n".join(str(complaint) for complaint in collect_by_document(comparison.complaints)))
    return BuildComparison(
        f"{facts.name} {facts.version}", warnings=draw_warnings(comparison.complaints), notes=comparison.notes
    )


def draw_warnings(warnings: Iterable[object]) -> tuple[str, ...]:
    """Warnings as a console shows them, which says by itself that they are some."""
    return tuple(str(warning).replace(": warning: ", ": ", 1) for warning in warnings)
