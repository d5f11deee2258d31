"""The command as its user sees it: what it prints, and how it ends."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from builder.cli.main import main


class Outcome(NamedTuple):
    """Of one command."""

    status: int
    out: str
    err: str


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """Run ``build-os ARGUMENTS`` to its end, in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    return Outcome(int(caught.value.code or 0), out, err)
