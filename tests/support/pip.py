"""pip, and what it leaves of wheels, to compare with what build-os leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.python import scripts
from builder.python.install import add_bytecode, finish_record, install_wheel
from builder.python.pack import WheelPack
from builder.python.scheme import make_virtual_scheme
from builder.tree.node import Kind, make_file


def list_install_options(prefix: Path, wheels: Path, names: Sequence[str]) -> list[str]:
    """The arguments of pip that install these into the virtual environment at ``prefix``, from a directory alone."""
    return [
        *("-m", "pip", "--isolated", "--python", str(prefix / "bin" / "python"), "install", "--quiet", "--no-index"),
        *("--no-deps", "--find-links", str(wheels), "--no-warn-script-location", "--disable-pip-version-check", *names),
    ]


def find_template() -> str:
    """The text of pip's scripts, which differs between its versions, in the form in which ours is written."""
    from pip._internal.operations.install.wheel import PipScriptMaker
    from pip._vendor.distlib.scripts import ScriptMaker

    template = getattr(PipScriptMaker, "script_template", ScriptMaker.script_template)
    doubled = re.sub(r"[{}]", r"\g<0>\g<0>", template)
    for theirs, ours in (("%(module)s", "{module}"), ("%(import_name)s", "{first}"), ("%(func)s", "{function}")):
        doubled = doubled.replace(theirs, ours)
    return doubled


def list_files(prefix: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of what pip left; bytecode, whose content is of another kind than ours, by name alone."""
    found = {}
    for path in sorted(prefix.rglob("*")):
        made_by_venv = path.name in ("pyvenv.cfg", ".gitignore") or (
            path.parent.name == "bin" and "ctivate" in path.name
        )
        if path.is_file() and not path.is_symlink() and not made_by_venv:
            data = b"" if path.suffix == ".pyc" else path.read_bytes()
            found[str(path)] = (data, path.stat().st_mode & 0o777)
    return found


def compare_with_pip(
    prefix: Path, packs: Sequence[WheelPack], version: str, monkeypatch: pytest.MonkeyPatch
) -> set[str]:
    """Compare what pip left at ``prefix`` with what build-os makes of the same wheels; the names of all files."""
    theirs = list_files(prefix)
    monkeypatch.setattr(scripts, "TEMPLATE", find_template())
    scheme = make_virtual_scheme(str(prefix), "web", version)
    tag = f"cpython-{version.replace('.', '')}"
    ours: dict[str, tuple[bytes, int]] = {}
    for pack in packs:
        installed = install_wheel(pack, scheme, requested=True, installer="pip")
        caches = [_find_cache(module, tag) for module in installed.list_modules()]
        add_bytecode(installed, {cache: make_file("", origin="test") for cache in caches if cache in theirs})
        finish_record(installed)
        assert all(node.kind is Kind.FILE for node in installed.nodes.values())
        ours |= {path: (node.content.read(), node.mode) for path, node in installed.nodes.items()}
    assert sorted(ours.keys() ^ theirs.keys()) == []
    assert [path for path in ours if ours[path] != theirs[path]] == []
    return {path.removeprefix(f"{prefix}/") for path in ours}


def _find_cache(module: str, tag: str) -> str:
    directory, _, name = module.rpartition("/")
    return f"{directory}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
