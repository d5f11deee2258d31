"""What is known of all platforms at once, so that a machine imports the file of its own platform and no other.

Where an image is made, this file gets the index of that image's platforms; anywhere else it is made from their files.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from firstboot.config.named_tuple import NamedTuple

OTHER_ADDRESSES = {"169.254.169.254": "nearly all", "169.254.0.23": "Tencent Cloud"}
"""Of metadata services that are no platform's own."""


class PlatformIndex(NamedTuple):
    """All platforms.

    Attributes:
        names: Ignition's names of them, sorted.
        firmware: a file of ``/sys/class/dmi/id``, how its content begins, and the platform; the first match counts.
        devices: a directory of ``/sys``, the kernel module that makes it, and the platform that it shows.
        with_network: those that may ask for a config over the network.
        with_deletion: those from which a machine can take its config away: a later first boot finds none there.
        with_metadata: those that say something about the machine besides its config.
        with_check_in: those that want to hear that the machine is up.
        addresses: of metadata services, and whose they are. Redirects may lead to none of them, and containers may ask
            none of them.
    """

    names: tuple[str, ...]
    firmware: tuple[tuple[str, str, str], ...]
    devices: tuple[tuple[str, str, str], ...]
    with_network: tuple[str, ...]
    with_deletion: tuple[str, ...]
    with_metadata: tuple[str, ...]
    with_check_in: tuple[str, ...]
    addresses: dict[str, str]


FROM_THE_BUILD: PlatformIndex | None = None


def load_index() -> PlatformIndex:
    """The index: the one from the build of the image, or one that is made from the files."""
    return make_index() if FROM_THE_BUILD is None else FROM_THE_BUILD


@cache
def make_index() -> PlatformIndex:
    """The index of the platforms whose files are here. It imports all of them."""
    platforms = import_all()
    by_firmware = sorted(platforms, key=lambda name: platforms[name].layer)
    addresses = {address: whose for platform in platforms.values() for address, whose in platform.addresses.items()}
    return PlatformIndex(
        names=tuple(platforms),
        firmware=tuple((*words, name) for name in by_firmware for words in platforms[name].firmware),
        devices=tuple((*platform.device, name) for name, platform in platforms.items() if platform.device),
        with_network=tuple(name for name, platform in platforms.items() if platform.needs_network),
        with_deletion=tuple(name for name, platform in platforms.items() if platform.delete_config),
        with_metadata=tuple(name for name, platform in platforms.items() if platform.metadata),
        with_check_in=tuple(name for name, platform in platforms.items() if platform.check_in),
        addresses=dict(sorted({**OTHER_ADDRESSES, **addresses}.items())),
    )


def import_all() -> dict[str, Any]:
    """Every :class:`firstboot.platforms.Platform` whose file is here, by its name, in the order of the names."""
    files = sorted(Path(__file__).with_name("platforms").glob("[!_]*.py"))
    return {path.stem: import_module(f"firstboot.platforms.{path.stem}").PLATFORM for path in files}


def fill_in(source: str, index: PlatformIndex) -> str:
    """The source of this module with an index in it, for an image."""
    before, line, after = source.partition("\nFROM_THE_BUILD: PlatformIndex | None = None\n")
    assert line
    return f"{before}\nFROM_THE_BUILD: PlatformIndex | None = {index!r}\n{after}"
