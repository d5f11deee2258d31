"""Modules imported in the built tree, in the sandbox and without a boot, to see that they can be.

What is there is what the modules have on the machine as far as the tree goes: the interpreter, its library, the
environment, shared libraries. There is no network, no device and no state.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.architecture import require_architecture
from builder.core.errors import InputError
from builder.core.sandbox import Sandbox
from builder.core.tools import Tools
from builder.tree.dynamic import read_dynamic
from builder.tree.elf import find_closure, list_library_directories
from builder.tree.materialise import materialise
from builder.tree.node import Kind
from builder.tree.tree import Tree, TreeError

# What programs look into that are started without anybody's configuration.
ALWAYS = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ssl", "/etc/mime.types", "/usr/share/zoneinfo/UTC")
SHOWN = 30
PROGRAM = """
import importlib, io, json, pkgutil, sys, traceback
search, deep = json.loads(sys.argv[1])
sys.path[:0] = search
out, sys.stdout = sys.stdout, io.StringIO()
failed = {}
done = []

def load(name):
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        place = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        where = f" ({place[-1].filename}:{place[-1].lineno})" if place else ""
        failed[name] = f"{type(error).__name__}: {error}{where}"
        return
    done.append(name)
    for found in pkgutil.iter_modules(getattr(module, "__path__", ()), name + ".") if deep else ():
        if found.name.rpartition(".")[2] != "__main__":
            load(found.name)

for name in sys.argv[2:]:
    load(name)
files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
json.dump({"failed": failed, "done": done, "files": [file for file in files if isinstance(file, str)]}, out)
out.flush()
"""


@dataclass(frozen=True)
class Imported:
    """What came of it: modules that were imported, and of others why they were not.

    Attributes:
        files: of all modules that were there in the end, those among them that others import.
    """

    done: tuple[str, ...]
    failed: dict[str, str]
    files: tuple[str, ...] = ()


def import_modules(
    tree: Tree,
    interpreter: str,
    modules: Sequence[str],
    arch: str,
    tools: Tools,
    scratch: Path,
    *,
    directories: Iterable[str] = (),
    search: Sequence[str] = (),
    deep: bool = True,
) -> Imported | None:
    """Import modules, and all below them but ``__main__``.

    Args:
        interpreter: the path of the image's, or of an environment's.
        directories: of the tree, that have to be there beside the interpreter and what it needs.
        search: directories in which modules are looked for first; they have to be there as well.
        deep: whether what is below a module is imported as well.

    Returns:
        ``None`` if the image is of another architecture than this machine.

    Raises:
        CapabilityError: this machine does not allow the sandbox.
        ToolError: the interpreter itself failed.
    """
    if not require_architecture(arch).is_native:
        return None
    real = tree.resolve(interpreter)
    places = [
        *directories,
        *search,
        *(f"/usr/lib/{name}" for name in tree.list_children("/usr/lib") if _is_pythons(name)),
    ]
    needed = _list_needed(tree, real, _list_objects(tree, places))
    with tempfile.TemporaryDirectory(dir=scratch, prefix="imports-") as place:
        Path(place).chmod(0o711)
        part = materialise(tree, Path(place) / "root", [real, interpreter, *needed, *places, *ALWAYS])
        (part.root / "tmp").mkdir(exist_ok=True)
        sandbox = Sandbox(tools, part.root, Path(place))
        sandbox.give_files()
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "OPENBLAS_NUM_THREADS": "1"}
        said = sandbox.run(
            interpreter,
            "-W",
            "ignore",
            "-c",
            PROGRAM,
            json.dumps([list(search), deep]),
            *modules,
            env=environment,
            believes=False,
        )
    result = json.loads(said)
    return Imported(tuple(result["done"]), dict(result["failed"]), tuple(result["files"]))


def require_imports(imported: Imported, whose: str) -> None:
    """Refuse what could not be imported.

    Raises:
        InputError: with every module, and why.
    """
    if imported.failed:
        lines = [f"{name}: {why}" for name, why in sorted(imported.failed.items())]
        raise InputError(
            f"{whose}: {len(lines)} modules cannot be imported: {lines[0]}",
            details=lines[1:SHOWN],
            hint="they were imported in the built tree, without a network and without state; "
            "a requirement may be missing, or a Debian package",
        )


def _is_pythons(name: str) -> bool:
    return name == "python3" or name.startswith("python3.")


def _list_objects(tree: Tree, places: Iterable[str]) -> list[str]:
    """Shared objects below these directories."""
    paths = []
    for start in places:
        if tree.get(start, follow=True) is not None:
            for path, node in tree.walk(tree.resolve(start)):
                if ".so" in path.rpartition("/")[2] and node.kind is Kind.FILE:
                    paths.append(path)
    return paths


def _list_needed(tree: Tree, program: str, files: Iterable[str]) -> list[str]:
    """What a program needs to start, and the image's own libraries that these files need, with all that those need."""
    directories = list_library_directories(tree)
    libraries: dict[str, None] = {}
    names: set[str] = set()
    for path in files:
        dynamic = read_dynamic(tree.require(path).content.read())
        names.update(dynamic.needed if dynamic else ())
    for name in sorted(names):
        where = next((f"{d}/{name}" for d in directories if tree.get(f"{d}/{name}", follow=True) is not None), None)
        if where is not None:
            libraries[tree.resolve(where, follow_last=False)] = None
    try:
        return find_closure(tree, [program, *libraries])
    except TreeError:
        # A library's own library is missing: who imports it is told so.
        return [*find_closure(tree, [program]), *libraries]
