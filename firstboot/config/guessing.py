"""What somebody probably meant who did not say what language a config is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_BUTANE = frozenset({"boot_device", "grub", "ignition", "kernel_arguments", "passwd", "storage", "systemd"})
# Of Container Linux Configs, which had no variant (container-linux-config-transpiler).
_OLD = frozenset({"docker", "etcd", "flannel", "locksmith", "networkd", "update"})


def make_variant_hint(data: Mapping[str, Any], own: Collection[str], newest: Mapping[str, str]) -> str:
    """How a config should begin, by the settings that it has.

    Args:
        data: the config.
        own: settings that only ``variant: buildos`` has.
        newest: the newest version of each variant.
    """
    keys = {*data} - {"variant", "version"}
    if keys & _OLD or _has_filesystem_names(data):
        return (
            "a Container Linux Config? They are no longer read: 'ct' makes Ignition 2 of it, ign-converter 3.x of that"
        )
    if keys & {*own}:
        return _begin("buildos", newest)
    if keys and keys <= _BUTANE:
        there = data.get("ignition")
        if isinstance(there, dict) and "version" in there:
            return "Ignition is JSON; in YAML begin with a variant instead of ignition.version: " + _begin(
                "fcos", newest
            )
        return f"{_begin('fcos', newest)}, or 'variant: flatcar', as Butane does; or with {_quoted('buildos', newest)}"
    return _begin("buildos", newest)


def _has_filesystem_names(data: Mapping[str, Any]) -> bool:
    """``filesystem: root`` of files, which Ignition 3 has no more."""
    storage = data.get("storage")
    files = storage.get("files") if isinstance(storage, dict) else None
    return isinstance(files, list) and any(isinstance(file, dict) and "filesystem" in file for file in files)


def _begin(variant: str, newest: Mapping[str, str]) -> str:
    return f"begin with {_quoted(variant, newest)}"


def _quoted(variant: str, newest: Mapping[str, str]) -> str:
    return f"'variant: {variant}' and 'version: {newest[variant]}'"
