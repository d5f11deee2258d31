"""Which variants and versions of Butane there are, and what each of them means."""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple

Version = tuple[int, int]


class Edition(NamedTuple):
    """One version of one variant.

    Attributes:
        spec: the version of Ignition it compiles to. Settings and sugar that came with a later one are unknown.
        coreos: Fedora CoreOS' rules about partitions and mount points apply.
        boot_device: it has ``boot_device`` and, from 3.4 on, ``grub``.
        without: settings of the compiled config that it does not allow, as dotted paths.
        machine_config: the result is wrapped in a MachineConfig.
        sugar: it has that of ``variant: buildos``.
    """

    spec: Version
    coreos: bool = False
    boot_device: bool = False
    without: tuple[str, ...] = ()
    machine_config: bool = False
    sugar: bool = False


_EDGE = ("kernelArguments", "storage.disks", "storage.filesystems", "storage.luks", "storage.raid")
# What OpenShift's Machine Config Operator refuses, or could not change on a machine that exists.
_USER = (
    *("gecos", "groups", "homeDir", "noCreateHome", "noLogInit", "noUserGroup", "primaryGroup", "shell"),
    *("shouldExist", "system", "uid"),
)
_MACHINE_CONFIG = (
    *("kernelArguments", "passwd.groups", *(f"passwd.users.{name}" for name in _USER)),
    *("storage.directories", "storage.files.append", "storage.links"),
)


def _openshift(minor: int) -> Edition:
    spec = (3, 2) if minor < 14 else (3, 4) if minor < 19 else (3, 5)
    without = _MACHINE_CONFIG
    if minor < 13:
        without = (*without, "passwd.users.passwordHash")
    if minor < 10:
        without = (*without, "storage.files.contents.compression")
    return Edition(spec, coreos=True, boot_device=True, without=without, machine_config=True)


VARIANTS: dict[str, dict[str, Edition]] = {
    "fcos": {
        "1.0.0": Edition((3, 0), coreos=True),
        "1.1.0": Edition((3, 1), coreos=True),
        "1.2.0": Edition((3, 2), coreos=True),
        "1.3.0": Edition((3, 2), coreos=True, boot_device=True),
        "1.4.0": Edition((3, 3), coreos=True, boot_device=True),
        "1.5.0": Edition((3, 4), coreos=True, boot_device=True),
        "1.6.0": Edition((3, 5), coreos=True, boot_device=True),
        "1.7.0": Edition((3, 6), coreos=True, boot_device=True),
        "1.8.0-experimental": Edition((3, 7), coreos=True, boot_device=True),
    },
    "flatcar": {
        "1.0.0": Edition((3, 3), without=("storage.luks.clevis",)),
        "1.1.0": Edition((3, 4), without=("storage.luks.clevis",)),
        "1.2.0-experimental": Edition((3, 7), without=("storage.luks.cex",)),
    },
    "r4e": {
        "1.0.0": Edition((3, 3), without=_EDGE),
        "1.1.0": Edition((3, 4), without=_EDGE),
        "1.2.0-experimental": Edition((3, 7), without=_EDGE),
    },
    "fiot": {
        "1.0.0": Edition((3, 4), without=_EDGE),
        "1.1.0-experimental": Edition((3, 7), without=_EDGE),
    },
    "openshift": {f"4.{minor}.0": _openshift(minor) for minor in range(8, 22)},
}
