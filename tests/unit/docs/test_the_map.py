"""The house as the imports draw it: which way they point, and who is on which floor."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from tests.support.house_map import draw_map, find_floors, read_map, read_room_imports
from tests.support.imports import PRODUCT, ROOT, find_circles, read_imports

pytestmark = pytest.mark.unit


def packages() -> list[str]:
    """Every directory of modules that is one step below an import name."""
    return [f"{name}.{path.parent.name}" for name in PRODUCT for path in sorted((ROOT / name).glob("*/__init__.py"))]


def test_no_two_files_import_each_other_in_a_circle() -> None:
    assert find_circles(read_imports()) == []


def test_a_circle_is_found_wherever_its_imports_are(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "__init__.py").touch()
    (tmp_path / "vm" / "one.py").write_text("def work():\n    from vm import two\n")
    (tmp_path / "vm" / "two.py").write_text("import_module('vm.three')\n")
    (tmp_path / "vm" / "three.py").write_text("if TYPE_CHECKING:\n    from vm.one import work\n")
    assert find_circles(read_imports(tmp_path)) == [["vm.one", "vm.three", "vm.two"]]


def test_every_package_is_in_a_contract_about_layers() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {
        module.strip(" ()")
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for module in layer.replace(":", "|").split("|")
    }
    assert [package for package in packages() if package not in named] == []


def test_the_map_in_the_documentation_is_what_the_imports_draw() -> None:
    assert read_map() == draw_map(), "run 'make reference'"


def test_a_room_stands_above_all_that_it_uses() -> None:
    uses = read_room_imports()
    floors = find_floors(uses)
    assert max(floors, key=lambda package: floors[package]) == "builder.cli"
    assert all(floors[package] > floors[other] for package, others in uses.items() for other in others)


def test_the_provisioner_names_what_it_imports_at_the_top_of_each_file() -> None:
    """What few machines need is imported by :mod:`firstboot.config.lazy`, when it is first used."""
    late = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "firstboot").rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert late == []
