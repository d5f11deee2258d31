"""``variant: openshift``: a config for OpenShift's Machine Config Operator, wrapped in a MachineConfig.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from firstboot.config.devices import Luks
from firstboot.config.model import NO_NAMES, Model
from firstboot.config.models import Config, File, Resource
from firstboot.config.text import Path, Problem
from firstboot.config.urls import BadUrl, parse_scheme

ROLE = "machineconfiguration.openshift.io/role"
KERNELS = (None, "", "default", "realtime")
CEX_KEY = "rd.luks.key=/etc/luks/cex.key"
USER_CFG = "/boot/grub2/user.cfg"
# FIPS 140-2 does not allow the default cipher mode of LUKS.
FIPS_CIPHER = ("--cipher", "aes-cbc-essiv:sha256")


class Metadata(Model):
    """What the MachineConfig is called, and which machines it is for."""

    name: str = ""
    labels: Mapping[str, str] = NO_NAMES


class OpenShift(Model):
    """Settings of the MachineConfig beside the Ignition config in it."""

    extensions: tuple[str, ...] = ()
    fips: bool | None = None
    kernel_arguments: tuple[str, ...] = ()
    kernel_type: str | None = None


def check(metadata: Metadata, settings: OpenShift, config: Config) -> Iterator[Problem]:
    """What the wrapping lacks, at paths of the extras."""
    if not metadata.name:
        yield Problem(("metadata", "name"), "'name' is required")
    if not metadata.labels.get(ROLE):
        yield Problem(("metadata", "labels"), f"the label {ROLE} is required", "for most machines it is worker")
    if settings.kernel_type not in KERNELS:
        message = f"the kernel type '{settings.kernel_type}' is not known"
        yield Problem(("openshift", "kernelType"), message, "it is default or realtime")
    if any(luks.cex.enabled for luks in config.storage.luks) and CEX_KEY not in settings.kernel_arguments:
        yield Problem(("openshift", "kernelArguments"), f"cex needs the kernel argument {CEX_KEY}")


def adapt(config: Config, settings: OpenShift) -> Config:
    """The config as the operator wants it: with FIPS' cipher, and without appending."""
    storage = config.storage
    update = {
        "luks": tuple(_with_fips(luks) if settings.fips else luks for luks in storage.luks),
        "files": tuple(_without_append(file) for file in storage.files),
    }
    return config.model_copy(update={"storage": storage.model_copy(update=update)})


def _with_fips(luks: Luks) -> Luks:
    if any(option in ("--cipher", "-c") or option.startswith("--cipher=") for option in luks.options):
        return luks
    return luks.model_copy(update={"options": (*luks.options, *FIPS_CIPHER)})


def _without_append(file: File) -> File:
    if file.path != USER_CFG or len(file.append) != 1 or file.contents != Resource():
        return file
    return file.model_copy(update={"contents": file.append[0], "append": ()})


def check_supported(config: Config) -> Iterator[Problem]:
    """What the operator or its machines refuse, besides the settings that the edition is without."""
    for index, filesystem in enumerate(config.storage.filesystems):
        if filesystem.format in ("btrfs", "none"):
            where: Path = ("storage", "filesystems", index, "format")
            yield Problem(where, f"the format {filesystem.format} is not supported by OpenShift")
    for index, file in enumerate(config.storage.files):
        yield from _check_file(file, ("storage", "files", index))
    for index, user in enumerate(config.passwd.users):
        if user.name != "core":
            yield Problem(("passwd", "users", index, "name"), "OpenShift supports no user but core")


def _check_file(file: File, path: Path) -> Iterator[Problem]:
    if file.mode is not None and file.mode & ~0o777:
        yield Problem((*path, "mode"), "OpenShift does not support the setuid, setgid and sticky bits")
    try:
        if file.contents.source is not None and parse_scheme(file.contents.source) != "data":
            yield Problem((*path, "contents", "source"), "OpenShift supports only contents that are in the config")
    except BadUrl:
        pass  # that is said elsewhere


def wrap(metadata: Metadata, settings: OpenShift, config: dict[str, Any]) -> dict[str, Any]:
    """The MachineConfig."""
    spec = {
        "config": config,
        "extensions": [*settings.extensions],
        "fips": settings.fips,
        "kernelArguments": [*settings.kernel_arguments],
        "kernelType": settings.kernel_type,
    }
    return {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {"labels": metadata.labels, "name": metadata.name},
        "spec": {name: value for name, value in spec.items() if value not in (None, [])},
    }
