"""An environment in the tree: its wheels, what makes a directory a virtual environment, and what is checked of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import LockedWheel
from builder.python.bytecode import compile_wheels
from builder.python.install import Installed, finish_record, install_wheel
from builder.python.libraries import Missing, find_missing, guess_package
from builder.python.pack import unpack_wheels
from builder.python.scheme import Scheme, make_scheme
from builder.python.target import Target
from builder.python.trim import trim
from builder.tree.elf import list_library_directories, read_needs
from builder.tree.node import Kind, Node, make_file, make_symlink
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.debian.contents import Owner

    FindOwners = Callable[[Collection[str]], Mapping[str, Sequence[Owner]] | None]

SHOWN = 20
SHOWN_OWNERS = 3


@dataclass(frozen=True)
class Environment:
    """What a build knows of an environment.

    Attributes:
        wheels: what the lock has for it.
        requested: names of distributions that somebody asked for.
        trim, imports, absent_libraries: as in the definition.
    """

    name: str
    target: Target
    wheels: tuple[LockedWheel, ...]
    requested: frozenset[str] = frozenset()
    trim: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    absent_libraries: tuple[str, ...] = ()


def install_environment(
    tree: Tree,
    environment: Environment,
    arch: str,
    tools: Tools,
    store: Store,
    console: Console,
    scratch: Path,
    refetch: Callable[[LockedWheel], None] | None = None,
    find_owners: FindOwners | None = None,
) -> Scheme:
    """Add an environment to an image's tree.

    Args:
        find_owners: asks Debian's archive which packages have a library that is missing.

    Raises:
        WheelError: a wheel is malformed or hostile.
        InputError: two wheels have the same file, one is for another machine, or a shared library is missing.
        SourceError, CapabilityError, ToolError: of store and tools.
    """
    scheme = make_scheme(environment.name, environment.target.version)
    with console.open_step(f"Python environment {environment.name}: {len(environment.wheels)} wheels"):
        require_interpreter(tree, environment)

        def check(installed: Sequence[Installed]) -> None:
            require_libraries(find_missing(installed, tree, arch), environment, tree, find_owners)

        installed = add_wheels(tree, environment, scheme, tools, store, console, scratch, refetch=refetch, check=check)
        if environment.imports:
            files = check_imports(tree, environment, scheme, arch, tools, console, scratch)
            if "bytecode" in environment.trim and files is not None:
                saved = trim_bytecode(tree, installed, files)
                console.log(f"bytecode of what is not imported: {saved} bytes are left out")
    return scheme


def add_wheels(
    tree: Tree,
    environment: Environment,
    scheme: Scheme,
    tools: Tools,
    store: Store,
    console: Console,
    scratch: Path,
    *,
    refetch: Callable[[LockedWheel], None] | None = None,
    check: Callable[[Sequence[Installed]], None] = lambda _: None,
) -> list[Installed]:
    """Add an environment's own files to a tree, whatever else is in it; returns its wheels.

    Args:
        check: is shown what the wheels bring, before anything is left out, and may refuse it.

    Raises:
        BuildError: as for :func:`install_environment`.
    """
    check_tags(environment)
    packs = unpack_wheels(environment.wheels, store, console, refetch=refetch)
    installed = [install_wheel(pack, scheme, requested=pack.wheel.name in environment.requested) for pack in packs]
    check_conflicts(installed, tree, make_virtual_environment(scheme, environment.target))
    check(installed)
    for wheel in installed:
        if saved := trim(wheel, environment.trim):
            console.log(f"{wheel.pack.wheel.name}: {saved} bytes are left out")
    compile_wheels(installed, tools, store, scratch)
    add_to_tree(tree, installed, scheme, environment.target)
    return installed


def trim_bytecode(tree: Tree, installed: Sequence[Installed], files: Collection[str]) -> int:
    """Take the bytecode out of a tree of modules that are not among these files; returns how many bytes that was."""
    sources = {*files}
    size = 0
    for wheel in installed:
        gone = [path for path in wheel.nodes if path.endswith(".pyc") and find_source(path) not in sources]
        size += sum(wheel.nodes[path].size for path in gone)
        tree.discard(gone)
        wheel.drop(gone)
        finish_record(wheel)
        tree.put(wheel.record, wheel.nodes[wheel.record])
    for directory in {path.rpartition("/")[0] for wheel in installed for path in wheel.nodes}:
        cache = f"{directory}/__pycache__"
        if cache in tree and not tree.list_children(cache):
            tree.remove(cache)
    return size


def find_source(bytecode: str) -> str:
    """The module that a file below ``__pycache__`` was compiled from (PEP 3147)."""
    directory, _, name = bytecode.rpartition("/")
    return f"{directory.removesuffix('/__pycache__')}/{name.partition('.cpython-')[0]}.py"


def hash_contents(environment: Environment) -> str:
    """A hash over what decides what is in an environment: two with the same are the same, file by file."""
    wheels = sorted((wheel.file, wheel.sha256, wheel.name in environment.requested) for wheel in environment.wheels)
    parts = [environment.name, environment.target.full_version, sorted(environment.trim), wheels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def require_interpreter(tree: Tree, environment: Environment) -> None:
    """Refuse a root in which the interpreter would not start: a container without the links of a merged ``/usr``.

    Raises:
        InputError: it is not there, or its loader is not.
    """
    interpreter = f"/usr/bin/python{environment.target.version}"
    node = tree.get(interpreter, follow=True)
    loader = read_needs(node.content.read()).interpreter if node is not None and node.kind is Kind.FILE else None
    if loader is None or tree.get(loader, follow=True) is None:
        raise InputError(
            f"environment '{environment.name}' has no Python that starts: the root has no {loader or interpreter}",
            hint="add base-files and base-passwd to packages: they bring what a root has at its top, and its accounts"
            if loader
            else "add python3 to packages",
        )


def check_imports(
    tree: Tree, environment: Environment, scheme: Scheme, arch: str, tools: Tools, console: Console, scratch: Path
) -> tuple[str, ...] | None:
    """Import what the definition names, where this machine can.

    Returns:
        the files of all modules that were imported; ``None`` where nothing could be.

    Raises:
        InputError: something cannot be imported.
    """
    from builder.python.imports import import_modules, require_imports  # noqa: PLC0415 - where it is asked for

    with console.open_step("import modules"):
        places = [] if scheme.is_system else [scheme.prefix]
        imported = import_modules(
            tree, scheme.interpreter, environment.imports, arch, tools, scratch, directories=places
        )
    if imported is None:
        console.note(f"{environment.name}: nothing is imported, because this machine does not run {arch}")
        return None
    require_imports(imported, f"environment '{environment.name}'")
    return imported.files


def check_tags(environment: Environment) -> None:
    """Refuse wheels that the image's interpreter would not take.

    Raises:
        InputError: with all of them.
    """
    from packaging.utils import parse_wheel_filename  # noqa: PLC0415 - few builds need it

    fitting = set(environment.target.list_tags())
    target = environment.target
    wrong = [w.file for w in environment.wheels if not fitting & set(parse_wheel_filename(w.file)[3])]
    if wrong:
        raise InputError(
            f"{wrong[0]} is not for Python {target.version} on {target.machine} with glibc 2.{target.glibc}",
            details=wrong[1:],
            hint="'build-os lock' chooses wheels for the image's own Python",
        )


def check_conflicts(installed: Sequence[Installed], tree: Tree, made: Container[str] = ()) -> None:
    """Refuse two wheels that have the same file with other content, and a file that a package or the environment has.

    Args:
        made: paths of what makes the directory an environment.

    Raises:
        InputError: with all such files.
    """
    owners: dict[str, Installed] = {}
    problems = []
    for wheel in installed:
        name = wheel.pack.wheel.name
        for path, node in wheel.nodes.items():
            other = owners.setdefault(path, wheel)
            if path in made:
                problems.append(f"{path}: of {name} and of every environment")
            if other is not wheel:
                known = other.nodes[path]
                if known.mode != node.mode or known.content.read() != node.content.read():
                    problems.append(f"{path}: of {other.pack.wheel.name} and of {name}")
            elif (there := tree.get(path)) is not None and there.kind is not Kind.DIRECTORY:
                problems.append(f"{path}: of {there.origin.replace(':', ' ', 1)} and of {name}")
    folders = {parent for path in owners for parent in _list_parents(path)}
    problems += [
        f"{path}: a file of {owners[path].pack.wheel.name}, and a directory of another"
        for path in folders & owners.keys()
    ]
    if problems:
        raise InputError(
            f"two have one file: {problems[0]}",
            details=problems[1:SHOWN],
            hint="an environment has every file once; put one of the two into another environment",
        )


def _list_parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def add_to_tree(tree: Tree, installed: Sequence[Installed], scheme: Scheme, target: Target) -> None:
    """Put the wheels' files, and what makes the directory an environment, into the tree."""
    for path, node in make_virtual_environment(scheme, target).items():
        tree.put(path, node)
    for wheel in installed:
        finish_record(wheel)
        for path in sorted(wheel.nodes):
            tree.put(path, wheel.nodes[path])


def make_virtual_environment(scheme: Scheme, target: Target) -> dict[str, Node]:
    """What ``python3 -m venv --without-pip`` makes, but for scripts that change a shell's variables; nothing for the
    system's own environment."""
    if scheme.is_system:
        return {}
    origin = f"environment:{scheme.name}"
    interpreter = f"/usr/bin/python{scheme.version}"
    config = (
        "home = /usr/bin\n"
        "include-system-site-packages = false\n"
        f"version = {target.full_version}\n"
        f"executable = {interpreter}\n"
        f"command = {interpreter} -m venv --without-pip {scheme.prefix}\n"
    )
    return {
        f"{scheme.prefix}/pyvenv.cfg": make_file(config, origin=origin),
        f"{scheme.scripts}/python": make_symlink(interpreter, origin=origin),
        f"{scheme.scripts}/python3": make_symlink("python", origin=origin),
        f"{scheme.scripts}/python{scheme.version}": make_symlink("python", origin=origin),
        f"{scheme.prefix}/lib64": make_symlink("lib", origin=origin),
    }


def require_libraries(
    missing: Sequence[Missing], environment: Environment, tree: Tree, find_owners: FindOwners | None = None
) -> None:
    """Refuse an environment whose wheels ask for libraries that nobody has.

    Raises:
        InputError: with each of them, and the packages of Debian that have it.
    """
    left = [need for need in missing if need.library not in environment.absent_libraries]
    if not left:
        return
    owners = None if find_owners is None else find_owners([need.library for need in left])
    directories = list_library_directories(tree)
    lines, packages, nowhere = [], [], False
    for need in left:
        if owners is None:
            package = guess_package(need.library)
            said = f"by its name it is in Debian's {package}"
        else:
            package, said = describe_owners(owners.get(need.library, ()), directories)
        lines.append(f"{need.library}: {need.wheel} needs it ({need.file}); {said}")
        packages += [package] if package else []
        nowhere = nowhere or not package
    hints = [f"add to packages: {', '.join(dict.fromkeys(packages))}"] if packages else []
    hints += ["what no package has, a wheel or an artifact has to bring"] if nowhere else []
    raise InputError(
        f"environment '{environment.name}' lacks shared libraries: {lines[0]}",
        details=lines[1:],
        hint="; ".join([*hints, "absent_libraries names those that may be missing"]),
    )


def describe_owners(owners: Sequence[Owner], directories: Sequence[str]) -> tuple[str, str]:
    """The package to add for a library, empty if there is none that would do, and what to say of all who have it.

    Args:
        directories: those of the image that the loader looks into.
    """
    if not owners:
        return "", "no package of Debian has it"
    # Before all of /usr was merged, packages had some of their files in /lib.
    places = {*directories, *(directory.removeprefix("/usr") for directory in directories)}
    seen = list(dict.fromkeys(owner.package for owner in owners if owner.path.rpartition("/")[0] in places))
    if not seen:
        hidden = [f"{owner.package} in {owner.path.rpartition('/')[0]}" for owner in owners[:SHOWN_OWNERS]]
        return "", f"Debian's {' and '.join(hidden)}, where the loader does not look"
    if len(seen) == 1:
        return seen[0], f"Debian's {seen[0]} has it"
    return seen[0], f"Debian's {', '.join(seen[:-1])} and {seen[-1]} have it"
