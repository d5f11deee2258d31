"""Which files of a lock file are for the image: the best wheel of each distribution that is wanted there.

Source: PEP 751; :mod:`packaging.pylock` does what it says about markers, extras and tags.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from builder.core.errors import InputError
from builder.python.target import Target

HOW_TO_MAKE = (
    "make one on a machine like the image ('pip wheel --no-deps -w wheels {}'), and name the directory under find_links"
)


@dataclass(frozen=True)
class Chosen:
    """A wheel: ``size`` is 0 where nobody says it; ``url`` may be a ``file:`` one, or empty."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    url: str


class NotChosen(InputError):
    """A distribution has no file that an image can be made of; ``name`` is whose."""

    def __init__(self, name: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name


def choose_wheels(
    text: str, target: Target, *, extras: Sequence[str] = (), hashes: Mapping[str, Collection[str]] | None = None
) -> list[Chosen]:
    """The wheels that a lock file has for a target.

    Args:
        extras: of the project that the lock is of.
        hashes: distribution -> ``sha256:...`` of its files that are allowed.

    Raises:
        NotChosen: a distribution has no such wheel.
        InputError: it is no lock file, or one for other machines.
    """
    from packaging.pylock import PackageWheel, Pylock, PylockSelectError, PylockValidationError  # noqa: PLC0415

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"this is no lock file of PEP 751: {error}") from error
    try:
        for package in data.get("packages", ()) if hashes else ():
            _keep_allowed(package, hashes or {})
        selected = list(
            Pylock.from_dict(data).select(
                environment=target.make_markers(),  # type: ignore[arg-type]  # a TypedDict of the same keys
                tags=target.list_tags(),
                extras=extras,
            )
        )
    except PylockValidationError as error:
        raise InputError(f"this is no lock file of PEP 751: {error}") from error
    except PylockSelectError as error:
        raise _explain(data, str(error), target) from error
    chosen = []
    for package, source in selected:
        version = str(package.version or "")
        if not isinstance(source, PackageWheel):
            what = {"PackageSdist": "only its source"}.get(type(source).__name__, "a directory, archive or repository")
            raise NotChosen(
                package.name,
                f"{package.name} {version} is {what} in the lock file, and an image is made of wheels alone",
                HOW_TO_MAKE.format(f"{package.name}=={version}" if version else package.name),
            )
        sha256 = source.hashes.get("sha256", "")
        if not sha256:
            raise NotChosen(package.name, f"{package.name} {version} has no sha256 in the lock file")
        url = source.url or source.path or ""
        file = source.name or unquote(urlsplit(url).path).rpartition("/")[2]
        chosen.append(Chosen(str(package.name), version, file, sha256, source.size or 0, url))
    return sorted(chosen, key=lambda wheel: wheel.name)


def _keep_allowed(package: dict[str, Any], hashes: Mapping[str, Collection[str]]) -> None:
    """Leave only the wheels whose hash is allowed.

    Raises:
        NotChosen: none is.
    """
    allowed = hashes.get(package.get("name", ""))
    if not allowed:
        return
    wheels = package.get("wheels", ())
    package["wheels"] = [
        wheel
        for wheel in wheels
        if any(f"{kind}:{value}" in allowed for kind, value in wheel.get("hashes", {}).items())
    ]
    package.pop("sdist", None)
    if not package["wheels"]:
        name = package.get("name", "")
        raise NotChosen(
            name,
            f"no wheel of {name} {package.get('version', '')} has one of the hashes that are written here",
            "the index has other files under this name: an sdist's hash alone is not enough, and a changed file is no "
            "accident",
        )


def _explain(data: Mapping[str, Any], reason: str, target: Target) -> InputError:
    """Why nothing could be selected, with the name of the distribution if it is one's."""
    for package in data.get("packages", ()):
        name = package.get("name", "")
        if (name and f"'{name}'" in reason) or f" {name} " in f"{reason} ":
            message = (
                f"{name} {package.get('version', '')} has no wheel for Python {target.version} on {target.machine}"
            )
            return NotChosen(name, f"{message}: {reason}", HOW_TO_MAKE.format(name))
    return InputError(f"the lock file is not for this image: {reason}")
