"""The map in docs/architecture.md, drawn from the imports: ``python -m tests.support.house_map`` writes it anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from tests.support.imports import PRODUCT, ROOT, read_imports

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- The map is made by 'make reference'. -->\n", "<!-- End of the map. -->\n"
MODULES = ("builder.locking", "builder.toolstree")  # files that are rooms of their own


def list_rooms() -> list[str]:
    """The packages one step below the import names, and the few files that stand beside them."""
    packages = [f"{name}.{path.parent.name}" for name in PRODUCT for path in (ROOT / name).glob("*/__init__.py")]
    return sorted([*packages, *MODULES])


def read_room_imports() -> dict[str, set[str]]:
    """For each room, the rooms that its files import."""
    rooms = list_rooms()
    uses: dict[str, set[str]] = {room: set() for room in rooms}
    for module, imported in read_imports().items():
        here = _room_of(module, rooms)
        if here is not None:
            uses[here] |= {there for name in imported if (there := _room_of(name, rooms)) not in (None, here)}
    return uses


def find_floors(uses: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """The height of each room: one above the highest of those that it uses.

    Raises:
        RecursionError: rooms use each other in a circle.
    """
    floors: dict[str, int] = {}

    def find_floor(room: str) -> int:
        if room not in floors:
            floors[room] = 1 + max((find_floor(other) for other in uses[room]), default=0)
        return floors[room]

    for room in uses:
        find_floor(room)
    return floors


def draw_map() -> str:
    """The picture, as Mermaid, and a row for each room."""
    uses = read_room_imports()
    floors = find_floors(uses)
    lines = ["```mermaid", "flowchart TD"]
    for name in PRODUCT:
        lines.append(f"  subgraph {name}")
        rooms = sorted((room for room in uses if room.startswith(f"{name}.")), key=lambda room: (-floors[room], room))
        lines += [f"    {_id_of(room)}[{room.partition('.')[2]}]" for room in rooms]
        lines.append("  end")
    for room in sorted(uses, key=lambda room: (-floors[room], room)):
        lines += [f"  {_id_of(room)} --> {_id_of(other)}" for other in sorted(_find_next(room, uses))]
    lines += ["```", "", "| floor | room | holds |", "|---|---|---|"]
    for room in sorted(uses, key=lambda room: (-floors[room], room)):
        lines.append(f"| {floors[room]} | `{room.replace('.', '/')}` | {_read_purpose(room)} |")
    return "\n".join(lines) + "\n"


def read_map() -> str:
    """What stands between the marks of the page."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def write_map() -> None:
    """Replace it."""
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + mark + draw_map() + END + rest.partition(END)[2], encoding="utf-8")


def _room_of(module: str, rooms: Iterable[str]) -> str | None:
    return next((room for room in rooms if module == room or module.startswith(f"{room}.")), None)


def _id_of(room: str) -> str:
    return room.replace(".", "_")


def _find_next(room: str, uses: Mapping[str, set[str]]) -> set[str]:
    """What a room uses and reaches in no other way: the arrows that a picture needs."""
    return {other for other in uses[room] if not any(other in _reach(via, uses) for via in uses[room] - {other})}


def _reach(room: str, uses: Mapping[str, set[str]]) -> set[str]:
    return uses[room].union(*(_reach(other, uses) for other in uses[room]))


def _read_purpose(room: str) -> str:
    """The first line of its docstring."""
    path = ROOT / room.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    words = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"`\1\2`", docstring.partition("\n\n")[0])
    return words.replace("\n", " ").replace("|", "\\|").rstrip(".")


if __name__ == "__main__":
    write_map()
