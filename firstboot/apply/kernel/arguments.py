"""What a config's kernel arguments mean for a machine that was started with others. Decides; touches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstboot.config.kernel_words import ADDON_MARK
from firstboot.config.models import KernelArguments
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem


class Arguments(NamedTuple):
    """How a machine was started.

    Attributes:
        image: the words inside the verified kernel image.
        added: the words of our addon, as far as the kernel got them.
    """

    image: tuple[str, ...]
    added: tuple[str, ...]


def read_command_line(text: str) -> Arguments:
    """The kernel's command line, with the words of our addon apart."""
    words = text.split()
    at = next((at for at, word in enumerate(words) if word.startswith(ADDON_MARK)), None)
    if at is None:
        return Arguments(tuple(words), ())
    count = words[at].removeprefix(ADDON_MARK)
    end = at + 1 + (int(count) if count.isascii() and count.isdigit() else 0)
    return Arguments((*words[:at], *words[end:]), tuple(words[at + 1 : end]))


def format_addon(words: Sequence[str]) -> str:
    """What the addon says; empty if none is wanted."""
    return " ".join((f"{ADDON_MARK}{len(words)}", *words)) if words else ""


def list_wanted_words(wanted: KernelArguments, image: Sequence[str]) -> tuple[str, ...]:
    """The words that an addon has to bring: those that the image has not got, each once, in the config's order."""
    return tuple(dict.fromkeys(word for word in wanted.should_exist if word not in image))


def check_baked(wanted: KernelArguments, image: Sequence[str]) -> Iterator[Problem]:
    """Arguments to take away that are inside the image, where nothing can take them away."""
    for index, word in enumerate(wanted.should_not_exist):
        if word in image:
            at: Path = ("kernelArguments", "shouldNotExist", index)
            hint = "take it out of kernel.command_line in the image's definition, or let a later argument override it"
            yield Problem(at, f"'{word}' is inside the verified kernel image and cannot be taken away", hint)
