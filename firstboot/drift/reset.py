"""Factory reset: at the next boot the state partition is emptied, and the first boot runs again.

Nothing is removed while the machine runs. The mark that says "provisioned" gets another name, in one step that either
has happened or has not, and the initrd goes by that (:mod:`firstboot.prepare`).
"""

from __future__ import annotations

import json

from firstboot.apply.root import Root
from firstboot.places import KEPT_RESULT, MARKER, RESET


class CannotReset(Exception):
    """There is nothing that could be reset."""


def request(root: Root) -> None:
    """Ask for it.

    Raises:
        CannotReset: this is not a machine that a first boot made.
        OSError
    """
    if is_requested(root):
        return
    if not root.has(MARKER):
        raise CannotReset("this machine was not made by a first boot of build-os, so there is nothing to reset")
    root.rename_durably(MARKER, RESET.rpartition("/")[2])


def cancel(root: Root) -> None:
    """Ask no longer.

    Raises:
        CannotReset: nobody has asked.
        OSError
    """
    if not is_requested(root):
        raise CannotReset("no factory reset was asked for")
    root.rename_durably(RESET, MARKER.rpartition("/")[2])


def is_requested(root: Root) -> bool:
    """Whether the next boot starts anew."""
    return root.has(RESET)


def has_lost_its_config(root: Root, deleting: tuple[str, ...]) -> bool:
    """Whether the config was taken away from the platform after the first boot, so that the next one finds none.

    Args:
        deleting: platforms that let a machine delete its config.
    """
    try:
        result = json.loads(root.read(KEPT_RESULT))
        return bool(result["userConfigProvided"]) and result["platform"] in deleting
    except (OSError, ValueError, KeyError, TypeError):
        return False
