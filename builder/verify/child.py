"""The build inside :mod:`builder.verify.perturbed`: the ordinary one, into a store that has only the downloads."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.build import BuildRequest, build_definition
from builder.core.clock import find_clock_library
from builder.core.console import QuietConsole
from builder.core.errors import BuildError
from builder.core.files import write_file
from builder.core.store import Store
from builder.core.tools import Tools
from builder.definition.variation import parse_variation
from builder.outputs.signing import parse_key_pair
from builder.verify.records import Recorder
from builder.verify.surroundings import describe_surroundings, format_surroundings


def build(spec: Mapping[str, Any]) -> None:
    """Build what the spec names; exits with the status of the failure if there is one."""
    directory = Path(spec["directory"])
    write_file(
        directory / "surroundings.json", format_surroundings(describe_surroundings(caches="none", order=spec["order"]))
    )
    with closing(Recorder(directory / "stages.jsonl")) as recorder:
        console = QuietConsole(directory / "build.log")
        request = BuildRequest(
            Path(spec["definition"]),
            directory / "out",
            Store.open(),
            console,
            offline=True,
            adapt_tools=lambda tools: shift_clock(tools, spec["days"]),
            watch=recorder.record,
            key_pair=parse_key_pair(spec["key_pair"]) if spec["key_pair"] else None,
            variation=parse_variation(spec["variation"]),
        )
        try:
            build_definition(request)
        except BuildError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)
        except Exception:
            traceback.print_exc()
            sys.exit(1)


def shift_clock(tools: Tools, days: int) -> Tools:
    """The tools tree, whose programs are told another time. It is the second build's own."""
    if not days:
        return tools
    preload = tools.root / "etc" / "ld.so.preload"
    preload.write_text(f"{find_clock_library(tools)}\n")
    preload.chmod(0o644)
    environment = {
        "FAKETIME": f"+{days}d",
        # Waits and timeouts count on it; and a changed clock changes no file's time.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }
    return replace(tools, environment={**tools.environment, **environment})
