"""A build, as functions over frozen values: a request goes in, a result comes out."""

from __future__ import annotations

from builder.build.container import build_container
from builder.build.request import BuildRequest, BuildResult
from builder.build.system import build_system
from builder.definition.load import read_kind


def build_definition(request: BuildRequest) -> BuildResult:
    """Build a definition of either kind.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: see :mod:`builder.core.errors`.
    """
    return build_container(request) if read_kind(request.definition) == "container" else build_system(request)


__all__ = ["BuildRequest", "BuildResult", "build_container", "build_definition", "build_system"]
