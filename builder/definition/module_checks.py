"""Whether a definition leaves out kernel modules that it uses itself.

What a module is for is only known by its name here: no kernel is there to be asked before a build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from builder.core.platform_devices import MODULES, find_families, list_missing_families
from builder.definition.shipped import NamedDirectory
from firstboot.config.located import Problem
from firstboot.config.urls import decode_data_url

if TYPE_CHECKING:
    from firstboot.config.models import Config

LISTS = ("usr/lib/modules-load.d", "etc/modules-load.d")
SETTINGS = ("usr/lib/sysctl.d", "etc/sysctl.d")
# Settings that are only there while a module is.
SYSCTL = {"net.bridge.": "br_netfilter", "net.netfilter.nf_conntrack": "nf_conntrack", "net.ipv4.vs.": "ip_vs"}
# Formats of file systems that are no module of their own name, or none at all.
FORMATS = {"swap": "", "none": "", "": ""}


def list_used_modules(overlays: Iterable[NamedDirectory], firstboot: Config | None) -> dict[str, str]:
    """The modules that a definition counts on, and what does.

    Args:
        firstboot: its base first-boot config.
    """
    used: dict[str, str] = {}
    for overlay in overlays:
        for place in (*LISTS, *SETTINGS):
            for path in sorted((overlay.path / place).glob("*.conf")):
                names = read_uses(place, path.read_text(encoding="utf-8", errors="replace"))
                used.update(dict.fromkeys(names, f"{place}/{path.name} of the overlay '{overlay.name}'"))
    if firstboot is not None:
        for file in firstboot.storage.files:
            place, _, _ = file.path.strip("/").rpartition("/")
            source = file.contents.source or ""
            # What is compressed or elsewhere is not looked at: this warns, and no build depends on it.
            if place in (*LISTS, *SETTINGS) and source.startswith("data:") and not file.contents.compression:
                names = read_uses(place, decode_data_url(source).decode("utf-8", "replace"))
                used.update(dict.fromkeys(names, f"{file.path} of the first-boot config"))
        for filesystem in firstboot.storage.filesystems:
            name = FORMATS.get(filesystem.format or "", filesystem.format or "")
            if name:
                used[name] = f"a file system {filesystem.format} of the first-boot config"
    return used


def read_uses(place: str, text: str) -> list[str]:
    """The modules that a file in one of :data:`LISTS` or :data:`SETTINGS` counts on."""
    return list_modules(text) if place in LISTS else find_sysctl_modules(text)


def list_modules(text: str) -> list[str]:
    """The names in a file of ``modules-load.d(5)``."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "#;"]


def find_sysctl_modules(text: str) -> list[str]:
    """The modules without which settings of a file of ``sysctl.d(5)`` are not there."""
    keys = (line.strip().lstrip("-").replace("/", ".") for line in text.splitlines())
    return [module for key in keys for prefix, module in SYSCTL.items() if key.startswith(prefix)]


def check_modules(
    used: Mapping[str, str], wanted: Iterable[str], platforms: Iterable[str], remove: Sequence[str]
) -> Iterator[Problem]:
    """Warn of what is left out and used.

    Args:
        used: what :func:`list_used_modules` says.
        wanted: what ``kernel.modules`` names, which stays in any case.
        remove: the definition's own globs.
    """
    missing = set(list_missing_families(platforms))
    stays = {name.replace("-", "_") for name in wanted}
    for name, user in used.items():
        if name.replace("-", "_") in stays:
            continue
        families = find_families(name)
        if families and missing.issuperset(families):
            yield Problem(
                ("kernel", "platforms"),
                f"{user} uses the module {name}, which drives devices that none of these platforms has",
                f"name it under kernel.modules, and it stays; or name a platform that has them ({', '.join(families)})",
                severity="warning",
            )
        for index, glob in enumerate(remove):
            if glob.startswith(f"{MODULES}/") and name.replace("-", "_") in split_glob(glob):
                yield Problem(
                    ("remove", index),
                    f"{user} uses the module {name}, which this leaves out",
                    "name it under kernel.modules, and it stays",
                    severity="warning",
                )


def split_glob(glob: str) -> set[str]:
    """The words of a glob that may be modules' names: ``btrfs`` of ``*/fs/btrfs/*`` and of ``*/btrfs.ko*``."""
    return {part.partition(".ko")[0].replace("-", "_") for part in re.split(r"[/*]", glob) if part}
