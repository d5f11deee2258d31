"""A verified wheel's files at their places in the image, and the records that ``importlib.metadata`` and pip read.

Sources: PyPA, "Binary distribution format" (what an installer does), "Recording installed projects"; pip's
``_install_wheel``, with whose result every file is compared by a test.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from builder.python.errors import WheelError
from builder.python.pack import PackedFile, WheelPack
from builder.python.record import Row, format_record, make_row, parse_record
from builder.python.scheme import Scheme
from builder.python.scripts import change_interpreter, is_wrapper, make_scripts, parse_entry_points
from builder.tree.node import Kind, Node, make_file

INSTALLER = "build-os"
# Directories below /usr in which a wheel of the system's environment may have data.
SHARED = ("share", "include")
_MODE, _EXECUTABLE = 0o644, 0o755


@dataclass
class Installed:
    """A wheel in an environment.

    Attributes:
        nodes: what it brings, by path of the image; its RECORD comes last, by :func:`finish_record`.
        rows: of its RECORD, by path of the image.
        elves: of its programs and shared objects, path of the image -> name in the wheel.
    """

    pack: WheelPack
    scheme: Scheme
    nodes: dict[str, Node] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    elves: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Who brings the files, for reports."""
        return f"wheel:{self.pack.wheel.name}"

    @property
    def record(self) -> str:
        """The path of its RECORD."""
        return f"{self.scheme.site}/{self.pack.info}/RECORD"

    def list_modules(self) -> list[str]:
        """The paths of its Python modules, in the order of their names."""
        return sorted(path for path, node in self.nodes.items() if path.endswith(".py") and node.kind is Kind.FILE)

    def drop(self, paths: Iterable[str]) -> None:
        """Leave files out, of the records as well."""
        for path in paths:
            self.nodes.pop(path, None)
            self.rows.pop(path, None)
            self.elves.pop(path, None)


def install_wheel(pack: WheelPack, scheme: Scheme, *, requested: bool, installer: str = INSTALLER) -> Installed:
    """A wheel's files at their places, scripts made and changed; without bytecode.

    Args:
        requested: whether somebody asked for it by name, which is what the file REQUESTED says.

    Raises:
        WheelError: a file has no place in this environment.
    """
    installed = Installed(pack, scheme)
    origin = installed.origin
    entries = parse_entry_points((pack.read(f"{pack.info}/entry_points.txt") or b"").decode(errors="replace"))
    by_name = {entry.name: entry for entry in entries}
    known = {row.path: row for row in parse_record(pack.read(f"{pack.info}/RECORD") or b"")}
    for file in pack.files:
        if file.name == f"{pack.info}/RECORD":
            continue
        path, is_script = _find_place(file, pack, scheme)
        if is_script and is_wrapper(posixpath.basename(path), by_name):
            # pip leaves its line in RECORD as it is in the wheel, of a file that is not there.
            installed.rows[f"{scheme.site}/{file.name}"] = known.get(file.name, Row(file.name))
            continue
        content = pack.slice(file)
        node = Node(Kind.FILE, _EXECUTABLE if file.executable else _MODE, content=content, origin=origin)
        row = known.get(file.name, Row(""))._replace(path=_relate(path, scheme))
        if is_script:
            # Of a script that runs another interpreter, pip keeps the mode that it has in the wheel.
            changed = change_interpreter(content.read(), scheme)
            if changed is not None:
                node = make_file(changed, node.mode, origin=origin)
                row = make_row(row.path, changed)
        if path in installed.nodes:
            raise WheelError(f"{pack.wheel.file}: two of its files go to {path}")
        installed.nodes[path] = node
        installed.rows[path] = row
        if file.name in pack.elves:
            installed.elves[path] = file.name
    for name, text in make_scripts(entries, scheme).items():
        _generate(installed, f"{scheme.scripts}/{name}", text, _EXECUTABLE)
    _generate(installed, f"{scheme.site}/{pack.info}/INSTALLER", f"{installer}\n".encode())
    if requested:
        _generate(installed, f"{scheme.site}/{pack.info}/REQUESTED", b"")
    return installed


def _generate(installed: Installed, path: str, data: bytes, mode: int = _MODE) -> None:
    installed.nodes[path] = make_file(data, mode, origin=installed.origin)
    installed.rows[path] = make_row(_relate(path, installed.scheme), data)


def add_bytecode(installed: Installed, bytecode: Mapping[str, Node]) -> None:
    """Add compiled modules, path -> node, to a wheel's files and records."""
    for path, node in bytecode.items():
        installed.nodes[path] = node.copy_with(origin=installed.origin)
        installed.rows[path] = Row(_relate(path, installed.scheme))


def finish_record(installed: Installed) -> None:
    """Write the RECORD of all that the wheel has now."""
    rows = [*installed.rows.values(), Row(_relate(installed.record, installed.scheme))]
    installed.nodes[installed.record] = make_file(format_record(rows), origin=installed.origin)


def _find_place(file: PackedFile, pack: WheelPack, scheme: Scheme) -> tuple[str, bool]:
    """Where a file goes, and whether it is a script."""
    top, _, rest = file.name.partition("/")
    if top != pack.data or not rest:
        return f"{scheme.site}/{file.name}", False
    kind, _, below = rest.partition("/")
    place = {
        "purelib": scheme.site,
        "platlib": scheme.site,
        "scripts": scheme.scripts,
        "headers": f"{scheme.headers}/{pack.wheel.name}",
        "data": scheme.prefix,
    }[kind]
    directory = below.partition("/")[0]
    if kind == "data" and directory == "lib64":
        below = f"lib{below.removeprefix('lib64')}"  # a link to it
    if kind == "data" and scheme.is_system and directory not in SHARED:
        raise WheelError(
            f"{pack.wheel.file}: it has a file for /{directory}, {below[:200]!r}, "
            "and wheels cannot configure the system",
            hint="give the environment another name than 'system', so that the file has a place there; "
            "an overlay puts files into the system",
        )
    return f"{place}/{below}", kind == "scripts"


def _relate(path: str, scheme: Scheme) -> str:
    return posixpath.relpath(path, scheme.site)
