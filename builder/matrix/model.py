"""What the user writes into ``matrix.yaml``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from builder.core.architecture import Arch
from builder.definition.model import Model
from builder.definition.scalars import ImageName, PartName, ProductName, RelativePath, Variable
from builder.products.catalogue import SYSTEM_PRODUCTS

MOST_CELLS = 1000


def _wrap_one(value: Any) -> Any:
    """One where a list belongs; and a list, which a strict model takes only from JSON itself."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


_FORMATS = {"enum": list(SYSTEM_PRODUCTS)}
OutputSet = Annotated[
    tuple[ProductName, ...],
    BeforeValidator(_wrap_one),
    WithJsonSchema({"anyOf": [_FORMATS, {"type": "array", "items": _FORMATS}]}),
]
"""The formats of a cell: one, or a list."""


class Rule(Model):
    """Which cells are meant: those of which all that is said here is true."""

    definition: RelativePath | None = Field(None, description="One of `definitions`.")
    arch: Arch | None = Field(None, description="One of `arch`.")
    outputs: ProductName | None = Field(None, description="A format that the cell writes.")
    variables: ImageName | None = Field(None, description="The name of a set under `variables`.")
    features: ImageName | None = Field(None, description="The name of a set under `features`.")


class Addition(Model):
    """One more cell, beside those that the axes make."""

    definition: RelativePath = Field(description="A system's definition, relative to this file.")
    arch: Arch | None = Field(None, description="Default: the definition's own.")
    outputs: tuple[ProductName, ...] = Field((), description="Formats to write. Default: the definition's own.")
    variables: ImageName | None = Field(None, description="The name of a set under `variables`.")
    features: ImageName | None = Field(None, description="The name of a set under `features`.")


class Limits(Model):
    """What a run may take."""

    cells: int = Field(MOST_CELLS, ge=1, description="More cells than that are refused: a product grows quickly.")
    jobs: int | None = Field(
        None, ge=1, description="Cells at the same time. Default: as many as processors and memory bear."
    )
    seconds: int | None = Field(None, ge=1, description="A cell that takes longer is ended, and has failed.")


class Matrix(Model):
    """Many images of few definitions: a cell for each combination of what stands on the axes."""

    definitions: tuple[RelativePath, ...] = Field(
        (), description="Definitions of systems, relative to this file; each needs a file name of its own."
    )
    arch: tuple[Arch, ...] = Field((), description="Architectures. Default: each definition's own.")
    outputs: tuple[OutputSet, ...] = Field(
        (), description="Formats; a list in the list is one cell that writes several. Default: each definition's own."
    )
    variables: dict[ImageName, dict[str, Variable]] = Field(
        {}, description="Sets of values for `*.j2` files, `NAME: {variable: value}`, which win over the definition's."
    )
    features: dict[ImageName, tuple[PartName, ...]] = Field(
        {}, description="Sets of features, `NAME: [feature]`, which are added to the definition's."
    )
    exclude: tuple[Rule, ...] = Field((), description="Combinations that are left out.")
    include: tuple[Addition, ...] = Field((), description="Cells beside those of the axes; `exclude` leaves them in.")
    tests: tuple[str, ...] = Field(
        (), description="Which tests `build-os matrix test` runs: files, or patterns of names. Default: all."
    )
    limits: Limits = Field(Limits(), description="What a run may take.")
