"""A root as it will be once the config's filesystems are mounted: what can be known of it before a disk is touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from firstboot.apply.disks.mounts import list_parts, list_to_mount, measure_depth
from firstboot.apply.root import Root, Seen
from firstboot.config.models import Config
from firstboot.config.mount_points import format_mount_point
from firstboot.config.text import Problem


def check_mount_points(config: Config, root: Root) -> Iterator[Problem]:
    """What makes a mount point impossible on this root, before anything is done to it."""
    places: list[str] = []
    for filesystem, at in sorted(list_to_mount(config), key=lambda row: measure_depth(row[0])):
        place = format_mount_point(filesystem)
        view = Mounted(root, places)
        for part in list_parts(place):
            seen = view.see(part)
            if seen.target is not None:
                leads = view.resolve(place)
                message = f"nothing can be mounted at {place}: {part} is a link to {view.resolve(part)}"
                yield Problem((*at, "path"), message, f"mount it at {leads}")
            elif seen.stat is not None and not seen.is_directory:
                yield Problem((*at, "path"), f"nothing can be mounted at {place}: {part} is no directory")
            elif seen.stat is None and seen.read_only:
                message = f"the mount point {place} is not in the image, which is read-only"
                yield Problem((*at, "path"), message, "mount it at a place below /var")
            else:
                continue
            break
        places.append(place)


def list_mount_points(config: Config) -> list[str]:
    """Where the config mounts something while files are written."""
    return [format_mount_point(filesystem) for filesystem, _ in list_to_mount(config)]


class Mounted(Root):
    """A root to look at as it will be with something mounted: what is below a mount point is not known yet, and no
    hindrance.

    Args:
        root: as it is now, whatever stands for it.
        places: where something will be mounted.
    """

    def __init__(self, root: Root, places: Sequence[str]) -> None:
        # Not Root's own: there is no directory of its own to open.
        self.directory = root.directory
        self._root = root
        self._places = places

    def __exit__(self, *_: object) -> None:
        pass

    def see(self, path: str, *, follow: bool = False) -> Seen:
        """What will be at ``path``, as far as that is known.

        Raises:
            NotADirectoryError, OSError (ELOOP, EACCES)
        """
        seen = self._root.see(path, follow=follow)
        if seen.path in self._places:
            return seen._replace(stat=self._root.see("/").stat, target=None, read_only=False)
        if any(seen.path.startswith(f"{place}/") for place in self._places):
            return seen._replace(stat=None, target=None, read_only=False)
        return seen

    def read(self, path: str, *, follow: bool = True) -> bytes:
        """The content of a file that is there now.

        Raises:
            OSError: it is not there, or something will be mounted over it.
        """
        seen = self.see(path, follow=follow)
        if seen.stat is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._root.read(seen.path, follow=False)
