"""The names of the product's public functions, and whether they begin with a verb that CONTRIBUTING.md knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from tests.support.imports import PRODUCT, ROOT

TABLE = "### Names promise something"
# A function that models a command of scripts is called as that command is.
MODELS = "builder/debian/scripts/subjects/"
NOUNS = {"property", "cached_property", "setter", "fixture"}


def read_verbs() -> set[str]:
    """The first column of the table of first words in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition(TABLE)[2]
    rows = [
        line.split("|")[1] for line in text.partition("\nThings are nouns")[0].splitlines() if line.startswith("| `")
    ]
    return {word.rstrip("_") for row in rows for word in re.findall(r"`(\w+)`", row)}


def list_functions() -> list[tuple[str, str]]:
    """Place and name of each public function and method; not properties, which are nouns, nor hooks of pytest."""
    files = [path for name in PRODUCT for path in sorted((ROOT / name).rglob("*.py"))]
    return [
        (f"{place}:{node.lineno}", node.name)
        for path in files
        if not (place := str(path.relative_to(ROOT))).startswith(MODELS)
        for node in _find_functions(ast.parse(path.read_text(encoding="utf-8")))
    ]


def list_without_verb(functions: Iterable[tuple[str, str]]) -> list[str]:
    """Those whose first word is none of the verbs."""
    verbs = read_verbs()
    return [f"{place} {name}" for place, name in functions if name.split("_")[0] not in verbs]


def _find_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _find_functions(child)
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith(("_", "pytest_", "do_")):
            decorators = {
                ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in child.decorator_list
            }
            if not decorators & NOUNS and child.name != "main":
                yield child


if __name__ == "__main__":
    everything = list_functions()
    missing, total = list_without_verb(everything), len(everything)
    print(*missing, f"{total - len(missing)} of {total} public functions begin with a verb", sep="\n")
