"""What starts an app, looked up in the tree: its console script or module, and whether Python would find it.

Nothing is run: an image of another architecture is looked at in the same way. What a module imports whenever it is
imported must be there as well; what is imported in functions or under ``try`` may be missing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builder.core.suggest import make_suggestion
from builder.definition.resolved_app import ResolvedApp
from builder.python.scheme import make_scheme
from builder.stages.app_units import APPS
from builder.tree.node import Kind
from builder.tree.tree import Tree

_VERSION = re.compile(r"python3\.\d+")
# Modules inside the interpreter itself have no file; those that begin with an underscore are taken for there.
_BUILT_IN = frozenset(
    re.findall(
        r"\w+",
        "array atexit binascii builtins cmath errno faulthandler fcntl gc grp itertools marshal math mmap posix pwd "
        "pyexpat readline resource select sys syslog termios time unicodedata zlib",
    )
)
_GUARDS = (ast.Try, ast.If)


@dataclass(frozen=True)
class PythonPlace:
    """An interpreter of the image and where it finds modules.

    Attributes:
        interpreter: its path.
        scripts: the directory of console scripts.
        sites: directories of packages, with their ``.dist-info``.
    """

    interpreter: str
    scripts: str
    sites: tuple[str, ...]


class NotStartable(Exception):
    """What an app names cannot be run; the text says why.

    Attributes:
        name: what is to blame, as the user wrote it.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def find_place(tree: Tree, environment: str | None) -> PythonPlace:
    """An environment of the definition; without a name Debian's own interpreter with the packages of the image."""
    names = tree.list_children("/usr/lib") if "/usr/lib" in tree else []
    versions = [name for name in names if _VERSION.fullmatch(name)]
    standard = tuple(path for name in versions for path in (f"/usr/lib/{name}", f"/usr/lib/{name}/lib-dynload"))
    debian = "/usr/lib/python3/dist-packages"
    if environment is None:
        return PythonPlace("/usr/bin/python3", "/usr/bin", (*standard, debian))
    scheme = make_scheme(environment, versions[-1].removeprefix("python") if versions else "3")
    packages = (debian,) if scheme.is_system else ()
    return PythonPlace(scheme.interpreter, scheme.scripts, (*standard, *packages, scheme.site))


def make_command(app: ResolvedApp, place: PythonPlace, tree: Tree) -> list[str]:
    """The program and the first arguments of an app, after a look whether they can work.

    Raises:
        NotStartable: there is no such script, module or function, or it imports what is not there.
    """
    modules = _Modules(tree, (f"{APPS}/{app.name}", *place.sites))
    if app.app.module is not None:
        modules.require(app.app.module, app.app.module)
        if modules.is_package(app.app.module):
            modules.require(f"{app.app.module}.__main__", app.app.module)
        return [place.interpreter, "-m", app.app.module]
    entry, written = app.entrypoint or "", app.app.entrypoint or ""
    module, colon, function = entry.partition(":")
    if not colon:
        path = f"{place.scripts}/{entry}"
        if path not in tree:
            raise NotStartable(written, f"there is no script '{entry}'{_suggest_script(entry, place, tree)}")
        return [path]
    modules.require(module, written)
    first = function.partition(".")[0]
    if not modules.defines(module, first):
        raise NotStartable(written, f"the module '{module}' has no '{first}'")
    # As pip writes scripts: what the function returns is the status.
    return [place.interpreter, "-c", f"import sys, {module}; sys.exit({module}.{function}())"]


def _suggest_script(name: str, place: PythonPlace, tree: Tree) -> str:
    scripts = tree.list_children(place.scripts) if place.scripts in tree else []
    return make_suggestion(name, scripts)


class _Modules:
    """Modules by their names, as Python's path finder looks them up."""

    def __init__(self, tree: Tree, directories: Sequence[str]) -> None:
        self._tree = tree
        self._directories = [directory for directory in directories if directory in tree]
        self._own = directories[0]
        self._seen: set[str] = set()

    def require(self, name: str, written: str) -> None:
        """A module, the packages it is in, and all that those of the app itself import.

        Raises:
            NotStartable: one of them is not there, or is not Python.
        """
        pending = [(name, "")]
        while pending:
            module, importer = pending.pop()
            if module in self._seen:
                continue
            self._seen.add(module)
            path = self._find(module)
            if path is None:
                by = f", which '{importer}' imports" if importer else ""
                raise NotStartable(written, f"the image has no module '{module}'{by}")
            if path.startswith(f"{self._own}/") and path.endswith(".py"):
                try:
                    tree = ast.parse(self._tree.read(path))
                except (SyntaxError, ValueError) as error:
                    line = getattr(error, "lineno", None)
                    where = f"{path}:{line}" if line else path
                    raise NotStartable(written, f"{where}: {error.args[0]}") from None
                pending += [(imported, module) for imported in self._list_imports(tree.body, module)]

    def is_package(self, name: str) -> bool:
        """Whether it is a directory."""
        path = self._find(name)
        return path is not None and (path.endswith("/__init__.py") or not path.endswith((".py", ".so")))

    def defines(self, module: str, name: str) -> bool:
        """Whether a module has a name: one that its text defines, or a module in it."""
        path = self._find(module)
        return path is None or self._has_name(path, name) or self._find(f"{module}.{name}") is not None

    def _has_name(self, path: str, name: str) -> bool:
        """Whether the text of a file defines a name at its top; yes where only running it would tell."""
        if not path.endswith(".py"):
            return path.endswith((".so", ">"))
        text = self._tree.read(path)
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError):
            return True
        names = {name for statement in _list_statements(body) for name in _list_defined(statement)}
        return not names.isdisjoint({name, "*", "__getattr__"}) or b"globals()" in text

    def _list_imports(self, body: list[ast.stmt], module: str) -> Iterator[str]:
        """What is imported whenever the module is: a package's name, or with it the app's own module in it."""
        for statement in body:
            if isinstance(statement, ast.Import):
                yield from (alias.name for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                base = self._resolve_relative(statement, module)
                if base:
                    yield base
                    # "from package import name": a module, or what the package defines. Of packages of others only they
                    # themselves know what they define.
                    path = self._find(base)
                    if path is not None and path.startswith(f"{self._own}/"):
                        names = (alias.name for alias in statement.names if alias.name != "*")
                        modules = (f"{base}.{name}" for name in names if not self._has_name(path, name))
                        yield from modules

    def _resolve_relative(self, statement: ast.ImportFrom, module: str) -> str:
        if not statement.level:
            return statement.module or ""
        parts = module.split(".")
        depth = statement.level - (1 if self.is_package(module) else 0)
        above = parts[: len(parts) - depth] if depth else parts
        return ".".join([*above, *([statement.module] if statement.module else [])])

    def _find(self, name: str) -> str | None:
        """The file or directory of a module."""
        top = name.partition(".")[0]
        if top in _BUILT_IN or top.startswith("_"):
            return f"<{top}>"
        relative = name.replace(".", "/")
        for directory in self._directories:
            base = f"{directory}/{relative}"
            for path in (f"{base}/__init__.py", f"{base}.py"):
                if path in self._tree:
                    return path
            node = self._tree.get(base, follow=True)
            if node is not None and node.kind is Kind.DIRECTORY:
                return base
            parent, _, stem = base.rpartition("/")
            if parent in self._tree and any(
                name.startswith(f"{stem}.") and name.endswith(".so") for name in self._tree.list_children(parent)
            ):
                return f"{base}.so"
        return None


def _list_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under ``if`` and ``try`` among them."""
    for statement in body:
        yield statement
        if isinstance(statement, _GUARDS):
            inner = [*statement.body, *statement.orelse]
            if isinstance(statement, ast.Try):
                inner += [inner for handler in statement.handlers for inner in handler.body]
            yield from _list_statements(inner)


def _list_defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id
