"""Make the machine start with the kernel arguments that its config wants; it has to start again for that.

The image's command line is inside its verified kernel image. More can come from an addon beside it, which systemd-stub
appends. Under Secure Boot that has to be signed, and no machine has the key: the config is refused. What the image
itself says cannot be taken away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from firstboot.apply.action import Machine, Refused
from firstboot.apply.kernel import esp
from firstboot.apply.kernel.addon import NoAddon, make_addon, read_addon
from firstboot.apply.kernel.arguments import check_baked, format_addon, list_wanted_words, read_command_line
from firstboot.config.kernel_words import FULL_MARK
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem

if TYPE_CHECKING:
    from firstboot.config import redaction
    from firstboot.places import Places
else:
    redaction = import_lazily("firstboot.config.redaction")

AT: Path = ("kernelArguments",)
_HINT = "set kernel.command_line in the image's definition"


class SetArguments(NamedTuple):
    """Put words behind the image's command line; they count from the next start."""

    words: tuple[str, ...]
    places: Places
    at: Path = AT

    def describe(self) -> str:
        return f"set kernel arguments: {redaction.conceal(' '.join(self.words)) or 'only those of the image'}"

    def perform(self, machine: Machine) -> None:  # noqa: ARG002 - the partition is no part of the root
        text = format_addon(self.words)
        with esp.mount_esp(self.places) as directory:
            addon = directory / esp.ADDON
            if not text:
                esp.remove_file(addon)
                return
            if addon.is_file() and _text(addon.read_bytes()) == text:
                # Starting again and again would not help.
                raise Refused("they are set already, and the kernel was started without them")
            try:
                made = make_addon(esp.find_stub(self.places) or b"", text)
            except NoAddon as error:
                raise Refused(f"the image's stub for addons cannot be used: {error}") from None
            esp.write_file(addon, made)


def plan_arguments(config: Config, places: Places) -> Iterator[SetArguments | Problem]:
    """Nothing, if the machine was started as the config wants."""
    wanted = config.kernel_arguments
    started = read_command_line(places.read_command_line())
    problems = list(check_baked(wanted, started.image))
    words = list_wanted_words(wanted, started.image)
    if not problems and words != started.added:
        problems += _cannot(places)
        yield SetArguments(words, places)
    yield from problems


def _cannot(places: Places) -> Iterator[Problem]:
    """Why this machine's firmware would not take an addon."""
    if not esp.has_variables(places):
        why = "this machine was not started by UEFI firmware from a disk, where kernel arguments can be added"
        yield Problem(AT, why, _HINT, on_key=True)
    elif any(word.startswith(FULL_MARK) for word in places.read_command_line().split()):
        yield Problem(AT, "this image is signed, and its command line takes no more words", _HINT, on_key=True)
    elif esp.is_secure(places):
        why = "Secure Boot is on, where kernel arguments that are not signed like the image have no effect"
        yield Problem(AT, why, _HINT, on_key=True)
    elif esp.find_stub(places) is None:
        yield Problem(AT, "the image has no stub for addons", "add the package systemd-boot-efi to it", on_key=True)


def _text(data: bytes) -> str | None:
    try:
        return read_addon(data)
    except NoAddon:
        return None
