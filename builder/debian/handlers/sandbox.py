"""A maintainer script, run: in a user namespace, over a copy of the tree, because the definition says so.

What it may do is what a process may do that is root of nothing but a directory: it sees no device but those of
``/dev``, and owns no file but as root. The difference is taken over; the time of files is not.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builder.core.errors import ConfigError, ProgramError
from builder.debian.handlers.work import Work
from builder.debian.scripts.effects import Does, Effect
from builder.debian.scripts.evaluate import CALLS
from builder.tree.materialise import NOT_WRITTEN, Workdir, materialise, same, scan
from builder.tree.node import Kind
from builder.tree.tree import Tree

PLACE = "/.build-os-script"
SURROUNDINGS = ("/dev", "/proc")
# What is the machine's and not the script's.
NOT_TAKEN = (*SURROUNDINGS, "/sys", "/run", "/tmp", PLACE)


def run_scripts(work: Work, package: str, scripts: Mapping[str, str], names: list[str]) -> tuple[Effect, ...]:
    """Run these of a package's scripts and take over what they change.

    Raises:
        ConfigError: one of them fails, or gives files to others than root.
        CapabilityError: this machine allows no user namespaces.
    """
    with tempfile.TemporaryDirectory(dir=work.scratch, prefix="sandbox-") as place:
        part = materialise(work.tree, Path(place), ["/"])
        for where in (*SURROUNDINGS, "/tmp", "/run"):
            (part.root / where[1:]).mkdir(exist_ok=True)
        owner = _owner(part.root)
        for name, arguments in CALLS:
            if name in names:
                _run_one(work, part, package, name, scripts[name], arguments)
        (part.root / PLACE[1:]).unlink(missing_ok=True)
        return _absorbed(part, work.tree, package, owner)


def _run_one(work: Work, part: Workdir, package: str, name: str, text: str, arguments: tuple[str, ...]) -> None:
    script = part.root / PLACE[1:]
    script.write_bytes(text.encode(errors="surrogateescape"))
    script.chmod(0o755)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        "DPKG_MAINTSCRIPT_PACKAGE": package,
        "DPKG_MAINTSCRIPT_NAME": name,
        "DPKG_ROOT": "",
    }
    binds = [(Path(where), f"{part.root}{where}") for where in SURROUNDINGS]
    try:
        work.tools.run("chroot", part.root, PLACE, *arguments, env=environment, binds=binds)
    except ProgramError as error:
        raise ConfigError(
            f"scripts: {package}: its {name} failed in the sandbox",
            details=error.details,
            hint="declare what it does instead: 'effects', or 'ignore' with a reason",
        ) from error


def _absorbed(part: Workdir, tree: Tree, package: str, owner: tuple[int, int]) -> tuple[Effect, ...]:
    effects: list[Effect] = []
    origin = f"package:{package}"
    seen = set()
    for path, found in scan(part.root, origin):
        seen.add(path)
        if _is_not_taken(path):
            continue
        if _owner(part.root / path[1:]) != owner:
            raise ConfigError(
                f"scripts: {package}: it gives {path} to another user or group than root's, which a sandbox cannot",
                hint=f"declare what it does instead: scripts: {{{package}: {{effects: [...]}}}}",
            )
        known = part.before.get(path)
        written = None if known is None else known.mode & 0o755 | stat.S_IRUSR | stat.S_IWUSR
        if known is None:
            tree.put(path, found)
        elif not same(known, found):
            tree.put(path, known.but(kind=found.kind, content=found.content, target=found.target, origin=origin))
        elif known.kind is Kind.FILE and found.mode != written:
            tree.change(path, mode=found.mode)
        else:
            continue
        effects.append(Effect(Does.LINK if found.kind is Kind.SYMLINK else Does.FILE, path, "in the sandbox"))
    for path, node in part.before.walk():
        if path not in seen and path != "/" and node.kind not in NOT_WRITTEN and not _is_not_taken(path):
            tree.remove(path)
            effects.append(Effect(Does.REMOVE, path, "in the sandbox"))
    return tuple(effects)


def _owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def _is_not_taken(path: str) -> bool:
    return any(path == where or path.startswith(f"{where}/") for where in NOT_TAKEN)
