"""Requirements as pip reads them, line by line: what is asked for, and what an image cannot be made of.

Sources: PyPA, "Dependency specifiers"; pip's documentation of the requirements file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.definition.findings import make_line_error, make_lines_error, shorten_path
from firstboot.config.located import LocatedError

WHEEL_HINT = "make a wheel of it ('pip wheel --no-deps -w wheels ...') and name the directory under find_links"
INDEX_HINT = "pip's own configuration says where the index is; a definition names hashes and no hosts"
_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[= ](\S+)")
_VCS = re.compile(r"(?:git|hg|svn|bzr)\+")
_OPTION = re.compile(r"(--?[a-zA-Z][a-z-]*)[= ]*(.*)")
_INDEX = ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host")
_NESTED = {"-r": "requirement", "--requirement": "requirement", "-c": "constraint", "--constraint": "constraint"}
MAX_DEPTH = 10


@dataclass(frozen=True)
class Requirement:
    """One requirement.

    Attributes:
        text: as it is written, without comments and hashes.
        name: normalised (PEP 503).
        hashes: ``sha256:...`` of files that are allowed; empty for any.
        file: where it stands; ``line`` is the number of its line there, 0 in a definition.
    """

    text: str
    name: str
    hashes: tuple[str, ...] = ()
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Requirements:
    """What an environment asks for, and constraints, which are no requests."""

    wanted: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()


class Refused(ValueError):
    """A line that an environment cannot be made of, and what to do instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def parse_requirement(text: str, *, file: str = "", line: int = 0) -> Requirement:
    """A requirement, as ``NAME[EXTRA,...] SPECIFIER; MARKER`` with pip's ``--hash`` options.

    Raises:
        Refused: it is none, or one that names a place instead of a version.
    """
    from packaging.requirements import InvalidRequirement  # noqa: PLC0415 - most definitions have none
    from packaging.requirements import Requirement as Parsed  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    hashes = tuple(_HASH.findall(text))
    bare = _HASH.sub("", text).strip()
    if _VCS.match(bare) or re.search(r"@\s*(?:git|hg|svn|bzr)\+", bare):
        raise Refused("this names a repository, which has other content tomorrow and must be built", WHEEL_HINT)
    if re.match(r"https?://|file:", bare) or " @ " in bare or re.match(r"[\w.\[\],-]+\s*@\s*\w+:", bare):
        raise Refused("this names a place instead of a version", WHEEL_HINT)
    if bare.startswith((".", "/", "~")) or bare.endswith((".whl", ".tar.gz", ".zip")):
        raise Refused("this names a file or directory instead of a distribution", WHEEL_HINT)
    for hash in hashes:
        algorithm, _, digest = hash.partition(":")
        if algorithm not in ("sha256", "sha384", "sha512") or not re.fullmatch(r"[0-9a-f]+", digest):
            raise Refused(f"'{hash[:100]}' is no hash that can be relied on", "write --hash=sha256:...")
    try:
        parsed = Parsed(bare)
    except InvalidRequirement as error:
        raise Refused(
            f"this is no requirement: {str(error).splitlines()[0]}", "like flask>=3, or uvicorn[standard]"
        ) from None
    return Requirement(bare, str(canonicalize_name(parsed.name)), hashes, file, line)


def read_requirements(path: Path) -> Requirements:
    """A requirements file with all that it includes.

    Raises:
        LocatedError: lines of it are refused, with all of them; it cannot be read.
    """
    wanted: list[Requirement] = []
    constraints: list[Requirement] = []
    _read_file(path, wanted, constraints, is_constraint=False, above=())
    return Requirements(tuple(wanted), tuple(constraints))


def _read_file(
    path: Path,
    wanted: list[Requirement],
    constraints: list[Requirement],
    *,
    is_constraint: bool,
    above: tuple[Path, ...],
) -> None:
    name = shorten_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "this file does not exist" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
        raise make_line_error(name, "", 0, 0, reason) from None
    refused: list[tuple[int, str, str | None]] = []
    for number, line in list_lines(text):
        try:
            match = _OPTION.fullmatch(line) if line.startswith("-") else None
            if match is None:
                requirement = parse_requirement(line, file=name, line=number)
                (constraints if is_constraint else wanted).append(requirement)
            elif match[1] in _NESTED:
                other = path.parent / match[2].strip()
                if other.resolve() in [place.resolve() for place in (*above, path)] or len(above) > MAX_DEPTH:
                    raise Refused("these files include each other")
                if not other.is_file():
                    raise Refused(f"there is no file {shorten_path(other)}")
                as_constraint = is_constraint or _NESTED[match[1]] == "constraint"
                _read_file(other, wanted, constraints, is_constraint=as_constraint, above=(*above, path))
            else:
                require_known_option(match[1])
        except Refused as error:
            refused.append((number, str(error), error.hint))
    if refused:
        raise make_lines_error(name, text, refused)


def require_known_option(option: str) -> None:
    """Refuse an option of a requirements file that no environment can have.

    Raises:
        Refused: says why.
    """
    if option in ("-e", "--editable"):
        raise Refused("an editable requirement points at a directory that the image does not have", WHEEL_HINT)
    if option in _INDEX:
        raise Refused(f"{option} names where files come from", INDEX_HINT)
    if option not in ("--require-hashes", "--prefer-binary", "--only-binary", *_NESTED):
        raise Refused(f"{option} is not known", "requirements, --hash, -r and -c are")


def list_lines(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines of a requirements file with their numbers: continued lines joined, no comments."""
    start, parts = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.lstrip().startswith("#"):
            line = ""
        if line.endswith("\\"):
            parts += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", parts + line).strip()
        if whole:
            yield start, whole
        start, parts = 0, ""
    if parts.strip():
        yield start, _COMMENT.sub("", parts).strip()


def read_project(path: Path, extras: Sequence[str]) -> Requirements:
    """What a ``pyproject.toml`` depends on, with these of its extras.

    Raises:
        LocatedError: it cannot be read, or names something that is refused.
    """
    name = shorten_path(path)
    import tomllib  # noqa: PLC0415 - few definitions name a pyproject.toml

    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = "this file does not exist" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
        raise make_line_error(name, "", 0, 0, reason) from None

    def complain(word: str, message: str, hint: str | None = None) -> LocatedError:
        number = next((n for n, line in enumerate(text.splitlines(), 1) if word in line), 1)
        return make_line_error(name, text, number, 1, message, hint)

    project = data.get("project")
    if not isinstance(project, dict):
        raise complain("", "it has no [project] table, so nothing says what the project depends on")
    if "dependencies" in project.get("dynamic", ()):
        raise complain(
            "dynamic", "its dependencies are known only when it is built", "list them under [project] dependencies"
        )
    optional = project.get("optional-dependencies", {})
    lines = list(project.get("dependencies", ()))
    for extra in extras:
        if extra not in optional:
            raise complain("optional-dependencies", f"it has no extra '{extra}'")
        lines += optional[extra]
    wanted = []
    own = normalise(str(project.get("name", "")))
    for line in _expand_own(lines, own, optional):
        try:
            number = next((n for n, row in enumerate(text.splitlines(), 1) if str(line) in row), 0)
            wanted.append(parse_requirement(str(line), file=name, line=number))
        except Refused as error:
            raise complain(str(line), str(error), error.hint) from None
    sources = data.get("tool", {}).get("uv", {}).get("sources", {})
    for requirement in wanted:
        source = next((value for key, value in sources.items() if normalise(key) == requirement.name), None)
        if source is not None:
            raise complain("[tool.uv.sources", f"{requirement.name} comes from a place that only uv knows", WHEEL_HINT)
    return Requirements(tuple(wanted))


def _expand_own(lines: Sequence[Any], own: str, optional: Any) -> Iterator[Any]:
    """The dependencies; where an extra is made of others of the project (``shop[a,b]``), of those."""
    for line in lines:
        match = re.fullmatch(r"\s*([\w.-]+)\s*\[([^\]]*)\]\s*", str(line))
        if match is not None and normalise(match[1]) == own:
            for extra in match[2].split(","):
                yield from _expand_own(optional.get(extra.strip(), ()), "", {})
        else:
            yield line


def normalise(name: str) -> str:
    """``Foo_Bar`` as ``foo-bar`` (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
