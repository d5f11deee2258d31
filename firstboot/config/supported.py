"""What this version of build-os does not carry out, refused by name so that nothing is ignored silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from firstboot.config.kernel_words import find_objection, is_one_argument
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Config, KernelArguments
from firstboot.config.text import Path, Problem

if TYPE_CHECKING:
    from firstboot.config import clevis, mount_points
    from firstboot.config.devices import Luks
else:
    clevis = import_lazily("firstboot.config.clevis")
    mount_points = import_lazily("firstboot.config.mount_points")


def check_supported(config: Config, *, verified: bool) -> Iterator[Problem]:
    """One error for each thing in a merged config that would have to be done and cannot be.

    Args:
        verified: whether the root is that of an image of ours.
    """
    for index, luks in enumerate(config.storage.luks):
        yield from _luks(luks, ("storage", "luks", index))
    if verified:
        if config.storage.filesystems or config.systemd.units:
            yield from mount_points.check_mount_points(config)
        yield from _kernel_arguments(config.kernel_arguments)


def _luks(luks: Luks, at: Path) -> Iterator[Problem]:
    try:
        clevis.find_binding(luks)
    except ValueError as error:
        if luks.clevis.custom.pin:
            yield Problem((*at, "clevis", "custom", "config"), f"the config of the pin cannot be used: {error}")
        else:
            yield Problem((*at, "clevis", "threshold"), f"nothing could open the device: {error}")
    if luks.cex.enabled:
        yield Problem(
            (*at, "cex"), "cex needs an IBM Z machine (s390x), for which build-os makes no images", on_key=True
        )


def _kernel_arguments(wanted: KernelArguments) -> Iterator[Problem]:
    for name, words in (("shouldExist", wanted.should_exist), ("shouldNotExist", wanted.should_not_exist)):
        for index, word in enumerate(words):
            at: Path = ("kernelArguments", name, index)
            if not is_one_argument(word):
                message = "a kernel argument has no spaces, quotes, backslashes or other special characters"
                yield Problem(at, message, "write one argument a list element" if " " in word.strip() else None)
            elif (reason := find_objection(word)) is not None:
                yield Problem(at, f"'{word}' cannot be set or taken away: {reason}")
