"""Wheels into an environment: build-os beside ``uv pip install`` and ``pip install`` of the same files.

What is compared: uv and pip write an environment onto the disk, uv by links to files that its cache has; build-os
verifies every file against RECORD, writes each wheel's files into one file of its store, and has a tree that points
there: the image is written from that. Nobody compiles bytecode, unless it is said, and nobody asks an index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.debian.lock import LockedWheel
from builder.python.choose import choose_wheels
from builder.python.fetch import fetch_chosen
from builder.python.pip_config import read_pip_config
from builder.python.target import Target
from builder.python.uv import Uv, find_uv
from builder.tree.bytecode import PROGRAM
from tests.bench.measuring import Run, compare, measured, show

# What an app of some size brings; for the interpreter that runs this, or uv and pip would not take them.
REQUIREMENTS = (
    "numpy pandas scipy fastapi uvicorn[standard] sqlalchemy psycopg[binary] cryptography lxml pillow aiohttp"
)
IMPORTS = "fastapi, uvicorn, sqlalchemy, psycopg, aiohttp, lxml.etree, cryptography.fernet"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def prepare(work: Path) -> list[LockedWheel]:
    """The wheels, downloaded into the store and laid into ``work/wheels``."""
    store, console = Store.open(), QuietConsole()
    target = Target(f"{VERSION}.{sys.version_info.micro}", 41, os.uname().machine)
    uv = Uv(target, read_pip_config(os.environ), store.root / "indexes" / "uv", console)
    with tempfile.TemporaryDirectory() as scratch:
        text, _ = uv.compile(REQUIREMENTS.replace(" ", "\n"), "", (), Path(scratch))
    chosen = choose_wheels(text, target)
    sizes = fetch_chosen(chosen, store, console)
    (work / "wheels").mkdir()
    for each in chosen:
        shutil.copy(store.locate_blob(each.sha256), work / "wheels" / each.file)
    return [LockedWheel("image", "bench", c.name, c.version, c.file, c.sha256, sizes[c.sha256]) for c in chosen]


def measure_wheels(runs: int) -> None:
    """Print all of it."""
    with tempfile.TemporaryDirectory(prefix="build-os-bench-") as directory:
        work = Path(directory)
        wheels = prepare(work)
        (work / "wheels.json").write_text(json.dumps([[getattr(w, f) for f in w.__slots__] for w in wheels]))
        (work / "store").mkdir()
        (work / "store" / "blobs").symlink_to(Store.open().root / "blobs")
        names = [f"{wheel.name}=={wheel.version}" for wheel in wheels]
        environment = work / "environment"
        from_wheels = ["--no-index", "--no-deps", "--find-links", work / "wheels"]

        def ours() -> Run:
            program = Path(__file__).with_name("unpack_wheels.py")
            return measured([sys.executable, "-m", f"tests.bench.{program.stem}", work / "wheels.json", work / "store"])

        def fresh() -> None:
            shutil.rmtree(environment, ignore_errors=True)
            measured([sys.executable, "-m", "venv", "--without-pip", environment])

        def uv() -> Run:
            fresh()
            python = ["--python", environment / "bin" / "python", "--cache-dir", work / "cache", "--no-config"]
            return measured([find_uv(), "pip", "install", "--quiet", *python, *from_wheels, *names])

        def pip(*options: str) -> Run:
            fresh()
            python = ["--isolated", "--python", environment / "bin" / "python"]
            return measured([sys.executable, "-m", "pip", *python, "install", "-q", *options, *from_wheels, *names])

        def cold(run: str) -> None:
            for place in ("store/packs", "cache")[run == "uv" : 1 + (run == "uv")]:
                shutil.rmtree(work / place, ignore_errors=True)

        taken: dict[str, list[Run]] = {}
        for _ in range(runs):
            for name, run in (("build-os", ours), ("uv", uv)):
                cold(name)
                taken.setdefault(f"{name}, cold", []).append(run())
                taken.setdefault(f"{name}, warm", []).append(run())
            taken.setdefault("pip, without bytecode", []).append(pip("--no-compile"))
        taken["pip, with bytecode"] = [pip()]
        packed = sum(wheel.size for wheel in wheels)
        size = sum(path.stat().st_size for path in (work / "store" / "packs").glob("*.wheel"))
        print(f"\n{len(wheels)} wheels of {packed / 1e6:.0f} MB, {size / 1e6:.0f} MB unpacked")
        middle = {title: show(title, run) for title, run in taken.items()}
        fresh()
        pip("--no-compile")
        measure_imports(runs, environment)
        compare("uv / build-os, cold", middle["uv, cold"], middle["build-os, cold"])
        compare("uv / build-os, warm", middle["uv, warm"], middle["build-os, warm"])
        compare("pip / build-os, cold", middle["pip, without bytecode"], middle["build-os, cold"])


def measure_imports(runs: int, environment: Path) -> None:
    """Print what an import costs with and without bytecode, as a root that cannot be written has it."""
    python = [environment / "bin" / "python", "-B", "-c", f"import {IMPORTS}"]
    shown = {}
    for title, prepared in (("imports without bytecode", False), ("imports with our bytecode", True)):
        if prepared:
            program = ["-I", "-B", "-W", "ignore", "-c", PROGRAM, environment]
            modules = "\0".join(str(path.relative_to(environment)) for path in sorted(environment.rglob("*.py")))
            subprocess.run([environment / "bin" / "python", *program], input=modules.encode(), check=True)
        measured(python)  # what the disk has is read once
        shown[title] = show(title, [measured(python) for _ in range(runs)])
    compare("without / with bytecode", *shown.values())
