"""The map in docs/architecture.md, drawn from the imports: ``python -m tests.support.house_map`` writes it anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from tests.support.imports import PRODUCT, ROOT, read_imports

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- The map is made by 'make reference'. -->\n", "<!-- End of the map. -->\n"
# Files that are packages of their own, and the files of an import name beside the packages below it.
MODULES = ("builder.locking", "builder.toolstree", "update")


def list_packages() -> list[str]:
    """The packages one step below the import names, and the few files that stand beside them."""
    packages = [f"{name}.{path.parent.name}" for name in PRODUCT for path in (ROOT / name).glob("*/__init__.py")]
    return sorted([*packages, *MODULES])


def read_room_imports() -> dict[str, set[str]]:
    """For each package, the packages that its files import."""
    packages = list_packages()
    uses: dict[str, set[str]] = {package: set() for package in packages}
    for module, imported in read_imports().items():
        here = _package_of(module, packages)
        if here is not None:
            uses[here] |= {there for name in imported if (there := _package_of(name, packages)) not in (None, here)}
    return uses


def find_floors(uses: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """The height of each package: one above the highest of those that it uses.

    Raises:
        RecursionError: packages use each other in a circle.
    """
    floors: dict[str, int] = {}

    def find_floor(package: str) -> int:
        if package not in floors:
            floors[package] = 1 + max((find_floor(other) for other in uses[package]), default=0)
        return floors[package]

    for package in uses:
        find_floor(package)
    return floors


def draw_map() -> str:
    """The picture, as Mermaid, and a row for each package."""
    uses = read_room_imports()
    floors = find_floors(uses)
    lines = ["```mermaid", "flowchart TD"]
    for name in PRODUCT:
        packages = sorted(
            (package for package in uses if package == name or package.startswith(f"{name}.")),
            key=lambda package: (-floors[package], package),
        )
        lines.append(f"  subgraph {name}")
        lines += [f"    {_id_of(package)}[{package.partition('.')[2] or 'its own files'}]" for package in packages]
        lines.append("  end")
    for package in sorted(uses, key=lambda package: (-floors[package], package)):
        lines += [f"  {_id_of(package)} --> {_id_of(other)}" for other in sorted(_find_next(package, uses))]
    lines += ["```", "", "| floor | package | holds |", "|---|---|---|"]
    for package in sorted(uses, key=lambda package: (-floors[package], package)):
        lines.append(f"| {floors[package]} | `{package.replace('.', '/')}` | {_read_purpose(package)} |")
    return "\n".join(lines) + "\n"


def read_map() -> str:
    """What stands between the marks of the page."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def write_map() -> None:
    """Replace it."""
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + mark + draw_map() + END + rest.partition(END)[2], encoding="utf-8")


def _package_of(module: str, packages: Iterable[str]) -> str | None:
    """The nearest one that it is in."""
    around = [package for package in packages if module == package or module.startswith(f"{package}.")]
    return max(around, key=len, default=None)


def _id_of(package: str) -> str:
    # A picture's groups are called like import names.
    return package.replace(".", "_") if "." in package else f"{package}_files"


def _find_next(package: str, uses: Mapping[str, set[str]]) -> set[str]:
    """What a package uses and reaches in no other way: the arrows that a picture needs."""
    return {other for other in uses[package] if not any(other in _reach(via, uses) for via in uses[package] - {other})}


def _reach(package: str, uses: Mapping[str, set[str]]) -> set[str]:
    return uses[package].union(*(_reach(other, uses) for other in uses[package]))


def _read_purpose(package: str) -> str:
    """The first line of its docstring."""
    path = ROOT / package.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    words = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"`\1\2`", docstring.partition("\n\n")[0])
    return words.replace("\n", " ").replace("|", "\\|").rstrip(".")


if __name__ == "__main__":
    write_map()
