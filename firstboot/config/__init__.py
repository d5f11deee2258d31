"""What a first-boot config may say, how it is read and checked. Shared by host and guest.

Imports only the standard library, yaml and itself::

    from firstboot import config
    loaded = config.load(text, "machine.yaml")     # raises LocatedError, whose text shows every problem
    for complaint in config.check([("machine.yaml", text)]):
        print(complaint)

Names are imported when they are first used: a machine with nothing to read imports no models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstboot.config.loaded import LoadedConfig, merge_all
    from firstboot.config.loading import check, finish, load
    from firstboot.config.models import Config
    from firstboot.config.origins import Complaint, ConfigError, Origins
    from firstboot.config.rendering import render_document
    from firstboot.config.text import Located, LocatedError, Problem

__all__ = [
    "Complaint",
    "Config",
    "ConfigError",
    "LoadedConfig",
    "Located",
    "LocatedError",
    "Origins",
    "Problem",
    "check",
    "finish",
    "load",
    "merge_all",
    "render_document",
]

_HOMES = {
    "loaded": ("LoadedConfig", "merge_all"),
    "loading": ("check", "finish", "load"),
    "models": ("Config",),
    "origins": ("Complaint", "ConfigError", "Origins"),
    "rendering": ("render_document",),
    "text": ("Located", "LocatedError", "Problem"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - part of being lazy

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"firstboot.config.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
