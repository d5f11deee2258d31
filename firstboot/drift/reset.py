"""Factory reset: at the next boot the state partition is emptied, and the first boot runs again.

Nothing is removed while the machine runs. The mark that says "provisioned" is put aside, in one step that either has
happened or has not; the initrd then does what it does for a first boot that was cut short.
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
    if not root.exists(MARKER):
        raise CannotReset("this machine was not made by a first boot of build-os, so there is nothing to reset")
    root.write_durably(RESET, root.read(MARKER), mode=0o600)
    root.remove_durably(MARKER)


def cancel(root: Root) -> None:
    """Ask no longer.

    Raises:
        CannotReset: nobody has asked.
        OSError
    """
    if not is_requested(root):
        raise CannotReset("no factory reset was asked for")
    root.write_durably(MARKER, root.read(RESET), mode=0o600)
    root.remove_durably(RESET)


def is_requested(root: Root) -> bool:
    """Whether the next boot starts anew."""
    return root.exists(RESET) and not root.exists(MARKER)


def has_lost_its_config(root: Root, deleting: frozenset[str]) -> bool:
    """Whether the config was taken away from the platform after the first boot, so that the next one finds none.

    Args:
        deleting: platforms that let a machine delete its config.
    """
    try:
        result = json.loads(root.read(KEPT_RESULT))
        return bool(result["userConfigProvided"]) and result["platform"] in deleting
    except (OSError, ValueError, KeyError, TypeError):
        return False
