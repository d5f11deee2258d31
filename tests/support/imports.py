"""Which file of ours imports which, read from the sources: also imports inside functions, and those for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("builder", "firstboot", "update", "vm")

Graph = Mapping[str, Set[str]]


@cache
def read_imports(root: Path = ROOT) -> dict[str, set[str]]:
    """For each module of the product, the modules of the product that its file names in an import."""
    files = {_module_of(path.relative_to(root)): path for name in PRODUCT for path in (root / name).rglob("*.py")}
    return {
        module: {name for name in _find_imports(path, files) if name in files and name != module}
        for module, path in files.items()
    }


def find_circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, by way of others or at once: strongly connected parts (Tarjan)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    pending: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        pending.append(module)
        for other in sorted(graph[module]):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in pending:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            start = pending.index(module)
            circle = pending[start:]
            del pending[start:]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for module in sorted(graph):
        if module not in numbers:
            visit(module)
    return circles


def _module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _find_imports(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    """``from package import name`` means the module of that name where there is one, else the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in files else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))
