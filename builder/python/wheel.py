"""A wheel, verified: every file is what RECORD says, and the wheel is what its name says.

Source: PyPA, "Binary distribution format" 1.0 and "Core metadata specifications".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from email.policy import compat32
from pathlib import Path

from builder.python.archive import ZipMember, open_archive, read_member
from builder.python.errors import WheelError
from builder.python.record import UNLISTED, check_complete, check_file, parse_record

DIST_INFO = ".dist-info"
DATA = ".data"
SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
MAX_TEXT = 16 << 20
_NAME = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class WheelName:
    """What a wheel's file name says: ``NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl``."""

    name: str
    version: str


@dataclass(frozen=True)
class WheelFacts:
    """What a verified wheel is.

    Attributes:
        info, data: the names of its ``.dist-info`` and ``.data`` directories.
        members: its files, in the order of the archive.
    """

    info: str
    data: str
    members: tuple[ZipMember, ...]


def normalise_name(name: str) -> str:
    """``Foo_Bar`` as ``foo-bar``: the name under which an index has a distribution (PEP 503)."""
    return _NAME.sub("-", name).lower()


def parse_wheel_name(file: str) -> WheelName:
    """The normalised name and the version of a wheel's file name.

    Raises:
        WheelError: it is no wheel's name.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415 - few builds need it

    try:
        name, version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise WheelError(f"{file[:200]!r} is no wheel's name: {error}") from error
    return WheelName(str(name), str(version))


def verify_wheel(path: Path, file: str, keep: Callable[[ZipMember, bytes], None]) -> WheelFacts:
    """Read a wheel through, and hand every file to ``keep`` once it is known to be what RECORD says.

    Args:
        file: its name on the index.

    Raises:
        WheelError: it is malformed, hostile, or another distribution than its name says.
    """
    wanted = parse_wheel_name(file)
    with open_archive(path) as (view, members):
        by_name = {member.name: member for member in members}
        info = _find_info(by_name)
        record = by_name.get(f"{info}/RECORD")
        if record is None or record.size > MAX_TEXT:
            raise WheelError("it has no RECORD, so nothing says what its files should be")
        texts = {}
        rows = {row.path: row for row in parse_record(read_member(view, record))}
        check_complete(rows, by_name)
        unlisted = {f"{info}/{name}" for name in UNLISTED}
        for member in members:
            has_hash = member.name not in unlisted
            content = read_member(view, member, check=not has_hash)
            if has_hash:
                check_file(rows.get(member.name), member.name, content)
            if member.name in (f"{info}/WHEEL", f"{info}/METADATA"):
                texts[member.name.rpartition("/")[2]] = content
            keep(member, content)
    _check_format(texts.get("WHEEL"))
    _check_identity(texts.get("METADATA"), info, wanted)
    data = info.removesuffix(DIST_INFO) + DATA
    _check_schemes(by_name, data)
    return WheelFacts(info, data, tuple(members))


def _find_info(names: Iterable[str]) -> str:
    directories = {
        top for top, slash, _ in (name.partition("/") for name in names) if slash and top.endswith(DIST_INFO)
    }
    if len(directories) != 1:
        raise WheelError(f"it has {len(directories)} {DIST_INFO} directories, and a wheel has one")
    return directories.pop()


def read_fields(data: bytes) -> Mapping[str, str]:
    """The first value of each header of a metadata file, by its name in lower case."""
    message = HeaderParser(policy=compat32).parsestr(data.decode(errors="replace"))
    fields: dict[str, str] = {}
    for name, value in message.items():
        fields.setdefault(name.lower(), str(value).strip())
    return fields


def _check_format(data: bytes | None) -> None:
    if data is None:
        raise WheelError("it has no WHEEL file")
    version = read_fields(data).get("wheel-version", "")
    if not re.fullmatch(r"1\.\d+", version):
        raise WheelError(f"it has wheel format {version[:20]!r}, and 1.0 is what there is")


def _check_identity(data: bytes | None, info: str, wanted: WheelName) -> None:
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - as above

    if data is None:
        raise WheelError("it has no METADATA file")
    fields = read_fields(data)
    name, version = fields.get("name", ""), fields.get("version", "")
    place, _, numbered = info.removesuffix(DIST_INFO).rpartition("-")
    for said, where in ((name, "METADATA says"), (place, f"its {DIST_INFO} directory is of")):
        if normalise_name(said) != wanted.name:
            raise WheelError(f"it is named {wanted.name}, and {where} {said[:100]!r}")
    for said, where in ((version, "METADATA says"), (numbered, f"its {DIST_INFO} directory is of")):
        try:
            same = Version(said) == Version(wanted.version)
        except InvalidVersion:
            same = False
        if not same:
            raise WheelError(f"it is named version {wanted.version}, and {where} {said[:100]!r}")


def _check_schemes(names: Iterable[str], data: str) -> None:
    for name in names:
        top, _, rest = name.partition("/")
        if not top.endswith(DATA) or not rest:
            continue
        scheme, _, below = rest.partition("/")
        if top != data:
            raise WheelError(f"{name[:200]!r} is in another wheel's directory; this one's is {data}")
        if scheme not in SCHEMES or not below:
            raise WheelError(f"{name[:200]!r} is in no directory that wheels have: {', '.join(SCHEMES)}")
