"""What wheels are chosen for: the image's interpreter, C library and architecture, as its packages have them.

Sources: PyPA, "Platform compatibility tags" (manylinux: PEP 600) and "Dependency specifiers" (markers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.core.architecture import ARCHITECTURES, require_architecture
from builder.core.errors import InputError
from builder.debian.lock import LockedPackage

if TYPE_CHECKING:
    from packaging.tags import Tag

# What manylinux wheels for some versions of glibc were called before.
LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
# The newest manylinux that uv knows by name; what it resolves for that is right for a newer one.
NEWEST_OF_UV = 40
OLDEST_OF_UV = 28
_INTERPRETER = re.compile(r"python3\.(\d+)(?:-minimal)?")
_VERSION = re.compile(r"(?:\d+:)?(\d+\.\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Target:
    """An interpreter in an image.

    Attributes:
        full_version: like ``3.13.5``.
        glibc: the minor version of the C library: 41 of 2.41.
        machine: the kernel's name of the architecture.
    """

    full_version: str
    glibc: int
    machine: str

    @property
    def version(self) -> str:
        """Major and minor version, like ``3.13``."""
        return ".".join(self.full_version.split(".")[:2])

    @property
    def uv_platform(self) -> str:
        """What uv calls it."""
        return f"{self.machine}-manylinux_2_{max(OLDEST_OF_UV, min(self.glibc, NEWEST_OF_UV))}"

    def list_platforms(self) -> list[str]:
        """Platform tags, the best first."""
        tags = []
        oldest = next(facts.oldest_glibc for facts in ARCHITECTURES.values() if self.machine in facts.machines)
        for minor in range(self.glibc, oldest - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in LEGACY:
                tags.append(f"{LEGACY[minor]}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    def list_tags(self) -> list[Tag]:
        """All tags that fit, the best first."""
        from packaging.tags import compatible_tags, cpython_tags  # noqa: PLC0415 - few builds need them

        major, minor = map(int, self.version.split("."))
        interpreter = f"cp{major}{minor}"
        platforms = self.list_platforms()
        return [
            *cpython_tags((major, minor), abis=[interpreter], platforms=platforms),
            *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
        ]

    def make_markers(self) -> dict[str, str]:
        """The values of environment markers."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full_version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full_version,
            "python_version": self.version,
            "sys_platform": "linux",
        }


def find_target(packages: Iterable[LockedPackage], arch: str, environment: str) -> Target:
    """The interpreter that a root's packages bring.

    Raises:
        InputError: they bring none.
    """
    by_name = {package.name: package.version for package in packages}
    versions = {}
    for name, version in by_name.items():
        match = _INTERPRETER.fullmatch(name)
        if match is not None and (upstream := _VERSION.match(version)) is not None:
            versions[int(match[1])] = upstream[1]
    libc = _VERSION.match(by_name.get("libc6", ""))
    if not versions or libc is None:
        raise InputError(
            f"environment '{environment}' has no Python to run in",
            hint="add python3 to packages",
            names={environment: "the image has no Python for this environment"},
        )
    default = _VERSION.match(by_name.get("python3-minimal", by_name.get("python3", "")))
    minor = int(default[1].split(".")[1]) if default else max(versions)
    return Target(
        versions.get(minor, versions[max(versions)]), int(libc[1].split(".")[1]), require_architecture(arch).machines[0]
    )
