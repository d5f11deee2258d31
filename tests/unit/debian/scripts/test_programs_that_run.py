"""Programs that scripts leave their work to, and what they may read and write."""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.subjects.catalogs import SUPER, install_sgml_catalog
from builder.debian.scripts.subjects.certificates import install_bundle
from builder.debian.scripts.subjects.programs import run_programs
from builder.debian.scripts.work import Work
from builder.tree.node import Node, make_file

pytestmark = pytest.mark.unit

FONTS = "/usr/share/fonts/X11/misc"
MAKE = "/usr/bin/mkfontscale"
CALL = f"#!/bin/sh\nmkfontscale -b -s {FONTS}\nmkfontscale -b -s {FONTS}\n"
NUMBERS = {"x86_64": 62, "aarch64": 183}


def program(*, foreign: bool = False) -> Node:
    """The start of an ELF file that needs no library: enough to see which machine it is for."""
    here = NUMBERS[platform.machine()]
    machine = next(number for number in NUMBERS.values() if number != here) if foreign else here
    fields = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
    return make_file(b"\x7fELF\2\1\1" + bytes(9) + fields, 0o755, origin="package:a")


def test_a_program_runs_once_over_what_it_reads_and_leaves_what_it_may_write(work_on: Callable[..., Work]) -> None:
    calls: list[tuple[str, ...]] = []

    def mkfontscale(*words: str) -> str:
        root = next(work.scratch.glob("program-*/root"))
        calls.append((MAKE, *words))
        seen = sorted(str(p.relative_to(root)) for p in Path(root).rglob("*") if p.is_file())
        Path(root, FONTS[1:], "fonts.dir").write_text("\n".join(seen))
        Path(root, "usr/elsewhere").write_text("")
        return ""

    work = work_on({f"{FONTS}/a.pcf": "", "/usr/share/other": ""}, xfonts=CALL)
    work.tree.put(MAKE, program())
    work.tools.programs[MAKE] = mkfontscale  # type: ignore[attr-defined]
    evaluate_scripts(work)
    run_programs(work)
    assert calls == [(MAKE, "-b", "-s", FONTS)]
    assert work.tree.read_text(f"{FONTS}/fonts.dir").split() == ["usr/bin/mkfontscale", f"{FONTS[1:]}/a.pcf"]
    assert "/usr/elsewhere" not in work.tree


def test_a_program_for_another_machine_does_not_run_and_the_build_says_so(
    work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    work = work_on({f"{FONTS}/a.pcf": ""}, xfonts=CALL)
    monkeypatch.setattr(work.tools.console, "warn", said.append)
    work.tree.put(MAKE, program(foreign=True))
    evaluate_scripts(work)
    run_programs(work)
    assert len(said) == 1
    assert "mkfontscale" in said[0]


def test_certificates_that_are_deselected_are_trusted_by_nobody(work_on: Callable[..., Work]) -> None:
    base = "/usr/share/ca-certificates"
    work = work_on(
        {f"{base}/a.crt": "a\n", f"{base}/b.crt": "b\n", "/etc/ca-certificates.conf": "# these\n!a.crt\nb.crt\n"}
    )
    work.tools.programs["openssl"] = lambda *_: ""  # type: ignore[attr-defined]
    install_bundle(work)
    assert work.tree.read_text("/etc/ca-certificates.conf") == "# these\n!a.crt\nb.crt\n"
    assert work.tree.read_text("/etc/ssl/certs/ca-certificates.crt") == "b\n"
    assert "/etc/ssl/certs/a.pem" not in work.tree


def test_the_catalog_of_catalogs_names_those_that_are_whole(work_on: Callable[..., Work]) -> None:
    work = work_on(
        {
            "/usr/sbin/update-catalog": "",
            "/etc/sgml/b.cat": "-- CATALOG /no --\nCATALOG /usr/share/sgml/b\n",
            "/etc/sgml/a.cat": "CATALOG /usr/share/sgml/gone\n",
            "/usr/share/sgml/b": "",
        }
    )
    install_sgml_catalog(work)
    assert work.tree.read_text(SUPER).splitlines()[4:] == ["CATALOG /etc/sgml/b.cat"]
