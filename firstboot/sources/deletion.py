"""Take a config away from the platform once the machine is made: everybody in the machine could read it there.

That comes after the mark of a first boot that is complete, because a machine that has to begin again needs its config.
So it is noted before that mark, and done at a later boot if this one does not come to it (CVE-2022-1706 is what remains
readable otherwise).
"""

from __future__ import annotations

from firstboot.apply.root import Root
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import TO_DELETE, Places
from firstboot.platform_index import load_index
from firstboot.platforms import import_platform


def write_deletion_note(root: Root, platform: str) -> None:
    """Note that a platform has a config that is to be deleted."""
    root.write_durably(TO_DELETE, platform.encode() + b"\n", mode=0o600)


def delete_kept_config(root: Root, places: Places, log: Log) -> bool:
    """Delete what is noted, if anything is. That it cannot be done does not stop the machine: the note stays.

    Returns:
        Whether nothing is left to delete.

    Raises:
        OSError: the note cannot be read or removed.
    """
    try:
        platform = root.read(TO_DELETE).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return True
    if platform not in load_index().with_deletion:
        log.complain(
            f"{TO_DELETE} names no platform: the config may still be there for everybody in this machine to read"
        )
        return False
    try:
        with log.follow_operation(f"delete the config from {platform}"):
            _delete_config(platform, places, log)
    except (FetchError, OSError) as error:
        log.warn(f"{error}\nUntil it is deleted, everybody in this machine can read its config from {platform}.")
        return False
    root.remove_durably(TO_DELETE)
    return True


def _delete_config(name: str, places: Places, log: Log) -> None:
    platform = import_platform(name)
    assert platform.delete_config is not None
    platform.load_modules(places)
    platform.delete_config(places, log)
