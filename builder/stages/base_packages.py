"""Packages on a base: what it has is not resolved again, and what is added must fit to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from builder.core.errors import InputError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.archive import PackageArchive
from builder.debian.index import Package
from builder.debian.installed import Installed, find_misfits, make_installed
from builder.debian.lock import LockedImage
from builder.debian.resolve import ResolveRequest
from builder.definition.resolved import ResolvedContainer, parse_package_name
from builder.stages.base_image import read_base, require_debian, wants_tools

HINT = "make it from an image of the same suite, or leave the package out"


@dataclass(frozen=True)
class Bases:
    """The bases of all containers of a definition, by the names of their package sets.

    Attributes:
        fetch: brings the base of a package set into the store, if it is a registry's: to lock it took no more than to
            know its name.
        open_tools: gives the tools tree, for a base whose layers are in zstd.
    """

    containers: Mapping[str, ResolvedContainer]
    rows: Mapping[str, LockedImage]
    store: Store
    fetch: Callable[[str], None]
    open_tools: Callable[[], Tools]

    def find_installed(self, name: str, resolved: Mapping[str, Sequence[Package]]) -> dict[str, Installed]:
        """What the container of a package set finds there.

        Args:
            resolved: the packages of the sets below.

        Raises:
            InputError: the base is no Debian system, and packages are to be added.
        """
        container = self.containers.get(name)
        if container is None or container.base is None or not (container.packages or container.essential):
            return {}
        if isinstance(container.base, ResolvedContainer):
            below = container.base.package_set.name
            added = {package.name: make_installed(package) for package in resolved[below]}
            return {**self.find_installed(below, resolved), **added}
        self.fetch(name)
        row, arch = self.rows[name], container.arch
        tools = self.open_tools() if wants_tools(container.base, row, self.store, architecture=arch) else None
        base = read_base(container.base, row, self.store, architecture=arch, tools=tools)
        return require_debian(container, base.image.tree)


def leave_out(request: ResolveRequest, there: Mapping[str, Installed], archive: PackageArchive) -> ResolveRequest:
    """The request without what is there.

    Raises:
        InputError: another version is asked for than the one that is there.
    """
    for text in request.wanted:
        name, equals, version = text.partition("=")
        if equals and name in there and there[name].version != version:
            raise InputError(
                f"the base has {name} {there[name].version}, and the definition wants {text}", names={text: HINT}
            )
    return replace(
        request,
        wanted=tuple(text for text in request.wanted if parse_package_name(text) not in there),
        excluded=(
            *request.excluded,
            *sorted(name for name in there if archive.get(name) and name not in request.excluded),
        ),
    )


def require_fitting(name: str, packages: Sequence[Package], there: Mapping[str, Installed]) -> None:
    """Refuse packages that cannot be beside what the base has.

    Raises:
        InputError: all of them.
    """
    if there and (problems := find_misfits(packages, there)):
        raise InputError(
            f"packages of {name.removeprefix('container:')} do not fit to what the base has",
            details=problems,
            hint=HINT,
        )
