"""The files, directories and links of a config while sugar adds to them."""

from __future__ import annotations

from typing import TypeVar

from firstboot.config.models import Config, Directory, File, Link, Node
from firstboot.config.origins import GeneratedFrom, Origins
from firstboot.config.shape import Walk
from firstboot.config.text import Located, Path

N = TypeVar("N", bound=Node)


class Nodes:
    """Adds nodes to a config and remembers what each of them came from."""

    def __init__(self, config: Config, origins: Origins, walk: Walk) -> None:
        self._config = config
        self._walk = walk
        self._entries: dict[Path, tuple[Located | GeneratedFrom | Origins, Path]] = {(): (origins, ())}
        self.files = [*config.storage.files]
        self.directories = [*config.storage.directories]
        self.links = [*config.storage.links]
        self._files = {node.path: index for index, node in enumerate(self.files)}
        self._links = {node.path: index for index, node in enumerate(self.links)}
        self._taken = {node.path for nodes in (self.files, self.directories, self.links) for node in nodes}

    def has(self, path: str) -> bool:
        """Whether the config has any node there."""
        return path in self._taken

    def find_file(self, path: str) -> File | None:
        """The file that the config has there."""
        index = self._files.get(path)
        return None if index is None else self.files[index]

    def find_link(self, path: str) -> Link | None:
        """The link that the config has there."""
        index = self._links.get(path)
        return None if index is None else self.links[index]

    def put_file(self, file: File, at: Path) -> None:
        """Add a file, or fill in the one that is there with what it lacks."""
        is_new = file.path not in self._files
        index = self._put(self.files, self._files, file)
        here = ("storage", "files", index)
        self._entries[here if is_new else (*here, "contents")] = self._origin(at)

    def put_link(self, link: Link, at: Path) -> None:
        """Add a link, or give the one that is there its target."""
        index = self._put(self.links, self._links, link)
        self._entries[("storage", "links", index)] = self._origin(at)

    def add_directory(self, directory: Directory, at: Path) -> None:
        """Add a directory."""
        self._entries[("storage", "directories", len(self.directories))] = self._origin(at)
        self.directories.append(directory)
        self._taken.add(directory.path)

    def _origin(self, at: Path) -> tuple[GeneratedFrom, Path]:
        return GeneratedFrom(self._walk.located), self._walk.locate(at)

    def _put(self, nodes: list[N], index: dict[str, int], node: N) -> int:
        position = index.setdefault(node.path, len(nodes))
        if position == len(nodes):
            nodes.append(node)
            self._taken.add(node.path)
        else:
            nodes[position] = node
        return position

    def finish(self) -> tuple[Config, Origins]:
        """The config with all of them, and where its parts come from."""
        update = {"files": (*self.files,), "directories": (*self.directories,), "links": (*self.links,)}
        storage = self._config.storage.model_copy(update=update)
        return self._config.model_copy(update={"storage": storage}), Origins(self._entries)
