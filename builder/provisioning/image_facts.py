"""The image that a config will meet, as ``build.json`` and its facts tell it: looked at by the machine's own code."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.core.errors import InputError
from builder.core.image import read_image
from builder.outputs.facts import SCHEMA
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root, Seen
from firstboot.apply.units import UNIT_PATH

FACTS = "facts"
# What the initrd puts over the read-only root before a config is carried out.
WRITABLE = ("/etc", "/var", "/run", "/dev", "/proc", "/sys")
PROGRAM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
_KINDS = {"f": stat.S_IFREG, "c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_MAX_LINKS = 40  # as the kernel: path_resolution(7)

PathFacts = dict[str, Any] | str | int


@dataclass(frozen=True)
class ImageFacts:
    """What a build says of its root.

    Attributes:
        command_line: the words inside the kernel image.
        texts: contents of the files that decide what a config may say, by path.
        partitions: labels of the image's own partitions and their sizes in MiB, ``None`` for what takes the rest.
        tools: the tools tree that built it; it may be gone by now.
    """

    name: str
    version: str
    arch: str
    command_line: tuple[str, ...]
    paths: dict[str, Any]
    texts: Mapping[str, str]
    partitions: Mapping[str, int | None]
    tools: Path

    def list_units(self) -> Iterator[tuple[str, str]]:
        """Name and text of each unit file, the one that systemd would read."""
        seen: set[str] = set()
        for directory in UNIT_PATH:
            for path, text in self.texts.items():
                name = path.removeprefix(directory + "/")
                if name != path and "/" not in name and name not in seen:
                    seen.add(name)
                    yield name, text


def read_facts(build_json: Path) -> ImageFacts:
    """The facts that lie beside a ``build.json``.

    Raises:
        InputError: there is no such build, it is a container, or an older build-os made it.
    """
    image = read_image(build_json)
    if FACTS not in image.artifacts:
        raise InputError(
            f"{build_json} has no facts that a config could be checked against",
            hint="run 'build-os build' again: builds of this version have them; those of 'kind: container' have not",
        )
    path = image.require_artifact(FACTS).path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(data["schema"])
        return ImageFacts(
            name=image.name,
            version=image.version,
            arch=image.arch,
            command_line=tuple(image.command_line.split()),
            paths=data["paths"],
            texts=data["texts"],
            partitions=data["partitions"],
            tools=image.tools,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"cannot use {path}: it is not what this build-os writes", hint="build again") from error


def find_facts(build_json: Path) -> ImageFacts | None:
    """The same; ``None`` if the build has none: it is a container, or an older build-os made it.

    Raises:
        InputError: there is no such build, or its facts cannot be used.
    """
    return read_facts(build_json) if FACTS in read_image(build_json).artifacts else None


class ImageRoot(Root):
    """The root as a first boot finds it, for looking only: nothing is on any disk."""

    def __init__(self, facts: ImageFacts) -> None:
        # Not Root's own: there is no directory to open.
        self.directory = "/sysroot"
        self.facts = facts

    def __exit__(self, *_: object) -> None:
        pass

    def see(self, path: str, *, follow: bool = False) -> Seen:
        """What is at ``path``, as :meth:`firstboot.apply.root.Root.see` says it.

        Raises:
            NotADirectoryError, OSError (ELOOP)
        """
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        entries: list[PathFacts | None] = [self.facts.paths]
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if done:
                    done.pop()
                    entries.pop()
                continue
            here = entries[-1]
            if isinstance(here, (str, int)):
                raise NotADirectoryError(errno.ENOTDIR, f"'/{'/'.join(done)}' is not a directory", path)
            entry = None if here is None or not part else here.get(part)
            if (pending or follow) and isinstance(entry, str) and entry.startswith(">"):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, "too many links, or links that point at each other", path)
                target = entry[1:]
                if target.startswith("/"):
                    done, entries = [], [self.facts.paths]
                pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                continue
            done.append(part)
            entries.append(entry)
        where = "/" + "/".join(done)
        entry = entries[-1]
        target_of_link = entry[1:] if isinstance(entry, str) and entry.startswith(">") else None
        return Seen(where, None if entry is None else _status(entry, where), target_of_link, not is_writable(where))

    def read(self, path: str, *, follow: bool = True) -> bytes:
        """The text of a file that the facts have.

        Raises:
            OSError: it is not there, or its text is not among the facts.
        """
        seen = self.see(path, follow=follow)
        if seen.stat is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if seen.path not in self.facts.texts:
            raise OSError(errno.ENODATA, "its text is not among the facts of the image", path)
        return self.facts.texts[seen.path].encode()

    def list_paths(self) -> Iterator[str]:
        """Every path, below the root."""
        pending: list[tuple[str, dict[str, Any]]] = [("", self.facts.paths)]
        while pending:
            above, directory = pending.pop()
            for name, entry in directory.items():
                if name:
                    yield f"{above}/{name}"
                    if isinstance(entry, dict):
                        pending.append((f"{above}/{name}", entry))

    def list_names(self, directory: str) -> list[str]:
        """What is in a directory, sorted; nothing if there is none."""
        entry: PathFacts | None = self.facts.paths
        for part in self.resolve(directory).split("/"):
            if part:
                entry = entry.get(part) if isinstance(entry, dict) else None
        return sorted(name for name in entry if name) if isinstance(entry, dict) else []


def is_writable(path: str) -> bool:
    """Whether a machine can write there, by its resolved path."""
    return any(path == place or path.startswith(place + "/") for place in WRITABLE)


def _status(entry: PathFacts, where: str) -> os.stat_result:
    kind, mode, uid, gid = stat.S_IFREG, 0o644, 0, 0
    text = ""
    if isinstance(entry, dict):
        kind, mode, text = stat.S_IFDIR, 0o755, entry.get("", "")
    elif isinstance(entry, str) and entry.startswith(">"):
        kind, mode = stat.S_IFLNK, 0o777
    elif isinstance(entry, str):
        kind, text = _KINDS[entry[0]], entry[1:]
    if text:
        octal, uid_text, gid_text = text.split(":")
        mode, uid, gid = int(octal, 8), int(uid_text), int(gid_text)
    # A number of its own for each path, as inodes are; the image's hard links are not looked for.
    return os.stat_result((kind | mode, hash(where), 0, 1, uid, gid, 0, 0, 0, 0))


class ImagePrograms(Programs):
    """Which programs the image has, and what systemctl would say of its units. None is started."""

    root: ImageRoot

    @classmethod
    def make(cls, root: ImageRoot) -> ImagePrograms:
        """The programs of this root."""
        programs = cls()
        programs.root = root
        return programs

    def find(self, name: str) -> str | None:
        """The path of a program in the image, or ``None``."""
        for directory in PROGRAM_PATH:
            if self.root.has(f"{directory}/{name}"):
                return f"{directory}/{name}"
        return None

    def run_for_status(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:  # noqa: ARG002 - as the door has it
        """``systemctl is-enabled`` alone."""
        assert argv[0] == "systemctl", argv
        assert "is-enabled" in argv, argv
        return (0, "enabled") if is_enabled(self.root, argv[-1]) else (1, "disabled")


def is_enabled(root: ImageRoot, unit: str) -> bool:
    """Whether a unit of the image is started by another one: a link in a ``.wants`` or ``.requires`` directory."""
    return unit in list_pulled_in(root)


def list_pulled_in(root: ImageRoot) -> set[str]:
    """The names of all units that others pull in."""
    names: set[str] = set()
    for directory in UNIT_PATH:
        for name in root.list_names(directory):
            if name.endswith((".wants", ".requires", ".upholds")):
                names.update(root.list_names(f"{directory}/{name}"))
    return names
