"""A build, as functions over frozen values: a request goes in, a result comes out."""

from __future__ import annotations

from builder.build.container import build_container
from builder.build.extension import build_extension
from builder.build.request import BuildRequest, BuildResult
from builder.build.system import build_system
from builder.definition.load import read_kind


def build_definition(request: BuildRequest) -> BuildResult:
    """Build a definition of any kind.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: see :mod:`builder.core.errors`.
    """
    match read_kind(request.definition):
        case "container":
            return build_container(request)
        case "extension":
            return build_extension(request)
        case "system":
            return build_system(request)


__all__ = ["BuildRequest", "BuildResult", "build_container", "build_definition", "build_extension", "build_system"]
