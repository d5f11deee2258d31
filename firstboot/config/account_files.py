"""The files of accounts: passwd(5), group(5), shadow(5), gshadow(5), subuid(5).

A line is a row of fields with colons between them, its name first. Names are never looked up on the machine we run on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Row = list[str]
NUMBER, MEMBERS = 2, 3  # of a user or group; of a group


def parse_rows(text: str) -> list[Row]:
    """The rows of a file."""
    return [line.split(":") for line in text.splitlines()]


def format_rows(rows: Iterable[Sequence[str]]) -> str:
    """The file of these rows."""
    return "".join(":".join(row) + "\n" for row in rows)


def find_row(rows: Iterable[Row], name: str) -> Row | None:
    """The first row of a name."""
    return next((row for row in rows if row[0] == name), None)


def find_name(rows: Iterable[Row], number: int) -> str | None:
    """Who has a number."""
    return next((row[0] for row in rows if row[NUMBER : NUMBER + 1] == [str(number)]), None)


def list_members(row: Row) -> list[str]:
    """The users whom a row of group or gshadow names."""
    return [user for user in row[MEMBERS].split(",") if user] if len(row) > MEMBERS else []


def list_groups(rows: Iterable[Row], user: str) -> list[str]:
    """The groups that name a user, which its login group need not do."""
    return [row[0] for row in rows if user in list_members(row)]


def add_member(row: Row, user: str) -> bool:
    """Put a user into a row of group or gshadow; whether that changed it."""
    members = list_members(row)
    if len(row) <= MEMBERS or user in members:
        return False
    row[MEMBERS] = ",".join([*members, user])
    return True


def remove_member(row: Row, user: str) -> None:
    """Take a user out of a row of group or gshadow."""
    if len(row) > MEMBERS:
        row[MEMBERS] = ",".join(member for member in list_members(row) if member != user)
