"""Sense checks: what the shapes of models cannot say, each complaint with its exact path.

The rules are Ignition's (``Validate`` of its types), by spec version where they differ. They see one document
as its version means it, before it is translated or merged; and then what merging made of several, because
merging valid configs can give an invalid one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from firstboot.config.checks.duplicates import check_duplicates
from firstboot.config.checks.nodes import check_nodes
from firstboot.config.checks.resources import check_ignition
from firstboot.config.checks.units import check_systemd, check_units_against_files
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Config
from firstboot.config.text import Problem

if TYPE_CHECKING:
    from firstboot.config import archive
    from firstboot.config.checks import devices, volumes
else:
    archive = import_lazily("firstboot.config.archive")
    devices = import_lazily("firstboot.config.checks.devices")
    volumes = import_lazily("firstboot.config.checks.volumes")

Version = tuple[int, int]


def check(config: Config, version: Version) -> Iterator[Problem]:
    """Everything that is wrong with a config of this spec version, and everything worth a warning."""
    storage = config.storage
    yield from check_ignition(config.ignition, version)
    yield from check_nodes(storage, version)
    if config.has_devices:
        yield from devices.check_devices(storage, version)
        if storage.lvm or any(filesystem.subvolumes for filesystem in storage.filesystems):
            yield from volumes.check_volumes(storage)
    if storage.archives:
        yield from archive.check_archives(storage, version)
    yield from check_systemd(config.systemd)
    yield from check_units_against_files(config)
    yield from check_duplicates(config, ())
