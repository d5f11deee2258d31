"""RECORD: the list of a wheel's files with their hashes, read to verify a wheel and written as pip leaves it.

Sources: PyPA, "Recording installed projects" and "Binary distribution format"; pip's
``get_csv_rows_for_installed`` for the rows' order and form.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from builder.python.errors import WheelError

# Files that no hash is needed of: the list itself, and signatures of it.
UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
STRONG = ("sha256", "sha384", "sha512")


class Row(NamedTuple):
    """A line: the path, ``ALGORITHM=HASH`` and the size, each as it is written."""

    path: str
    digest: str = ""
    size: str = ""


def parse_record(data: bytes) -> list[Row]:
    """The rows of a RECORD.

    Raises:
        WheelError: it is no such list, or names a file twice.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(data.decode(), newline="")) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WheelError(f"its RECORD cannot be read: {error}") from error
    rows = []
    seen = set()
    for line in lines:
        if len(line) > 3:
            raise WheelError(f"its RECORD has a line of {len(line)} fields: {','.join(line)[:200]!r}")
        row = Row(*line)
        if row.path in seen:
            raise WheelError(f"its RECORD names {row.path[:200]!r} twice")
        seen.add(row.path)
        rows.append(row)
    return rows


def check_file(row: Row | None, path: str, data: bytes) -> None:
    """Compare a file with its row.

    Raises:
        WheelError: the row is missing or says something else.
    """
    if row is None:
        raise WheelError(f"its RECORD does not name {path[:200]!r}")
    algorithm, _, expected = row.digest.partition("=")
    if algorithm not in STRONG:
        said = f"only {algorithm} of" if algorithm else "no hash of"
        raise WheelError(f"its RECORD has {said} {path[:200]!r}", hint=f"the format wants one of {', '.join(STRONG)}")
    if expected.rstrip("=") != _encode(hashlib.new(algorithm, data).digest()):
        raise WheelError(f"{path[:200]!r} is not what its RECORD says: the hash differs")
    if row.size and row.size != str(len(data)):
        raise WheelError(f"{path[:200]!r} has {len(data)} bytes, and its RECORD says {row.size[:20]}")


def check_complete(rows: Mapping[str, Row], names: Iterable[str]) -> None:
    """Refuse rows of files that the wheel does not have.

    Raises:
        WheelError: with the first such name.
    """
    missing = sorted(rows.keys() - set(names))
    if missing:
        raise WheelError(f"its RECORD names {missing[0][:200]!r}, which is not in it")


def make_row(path: str, data: bytes) -> Row:
    """The row of a file that was made or changed while the wheel was unpacked."""
    return Row(path, f"sha256={_encode(hashlib.sha256(data).digest())}", str(len(data)))


def format_record(rows: Iterable[Row]) -> bytes:
    """The text of an installed RECORD: sorted, as pip writes it."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows(sorted(map(tuple, rows)))
    return out.getvalue().encode()


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
