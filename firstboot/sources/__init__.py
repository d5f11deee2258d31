"""Where a machine's config comes from: one file a platform, each a module with the shape of :class:`Source`.

``fetch(places, log)`` returns the config, or ``None`` where there is none, which is no error: the machine then is
what its image says. A platform that lets a config be taken away also has ``delete(places, log)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol

from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places


class SourceError(FetchError):
    """A config should be there and cannot be had. ``hint`` says what to try."""


class Fetched(NamedTuple):
    """A config as it was found, and what to call it in messages."""

    name: str
    data: bytes


class Source(Protocol):
    """A platform."""

    def fetch(self, places: Places, log: Log) -> Fetched | None:
        """The machine's config.

        Raises:
            FetchError: it should be there and cannot be had.
        """


PLATFORMS = (
    "akamai", "aliyun", "applehv", "aws", "azure", "azurestack", "brightbox", "cloudstack", "digitalocean", "exoscale",
    "file", "gcp", "hetzner", "hyperv", "ibmcloud", "kubevirt", "metal", "nutanix", "nvidiabluefield", "openstack",
    "oraclecloud", "packet", "powervs", "proxmoxve", "qemu", "scaleway", "upcloud", "virtualbox", "vmware", "vultr",
    "zvm",
)  # fmt: skip
# What may hand over a config without a network; all others bring one up when they ask.
OFFLINE = (
    "applehv", "azurestack", "file", "hyperv", "ibmcloud", "kubevirt", "metal", "nutanix", "nvidiabluefield",
    "powervs", "proxmoxve", "qemu", "virtualbox", "vmware", "zvm",
)  # fmt: skip
PLATFORM_ARGUMENT = "ignition.platform.id"


def source(platform: str) -> Source:
    """The source for a platform id.

    Raises:
        SourceError: this version does not know it.
    """
    if platform not in PLATFORMS:
        known = ", ".join(PLATFORMS)
        raise SourceError(f"the platform '{platform}' is not supported by this version of build-os", f"known: {known}")
    module: Source = import_module(f"firstboot.sources.{platform}")
    return module


def platform_of(places: Places) -> str:
    """``ignition.platform.id=`` of the kernel command line (the last one counts), else what is detected."""
    named = [
        word.partition("=")[2] for word in places.command_line().split() if word.partition("=")[0] == PLATFORM_ARGUMENT
    ]
    if named:
        return named[-1]
    from firstboot.sources.detect import detected  # noqa: PLC0415 - only where nothing is said

    return detected(places)


def fetch_config(platform: str, places: Places, log: Log) -> Fetched | None:
    """The machine's config: the one that the kernel's command line names, else its platform's.

    Raises:
        FetchError: it should be there and cannot be had.
    """
    with log.operation(f"fetch config from {platform}"):
        if "ignition.config." in places.command_line():
            from firstboot.sources import command_line  # noqa: PLC0415 - few machines pay for importing it

            named = command_line.find_named(places)
            if named is not None:
                return command_line.fetch(named, platform, places, log)
        return source(platform).fetch(places, log)


def base_configs_of(platform: str, places: Places) -> tuple[Fetched, ...]:
    """Configs that the platform adds to the image's own; the machine's is merged over all of them.

    Raises:
        SourceError: one cannot be read.
    """
    find = getattr(source(platform), "base_configs", None)
    return () if find is None else tuple(find(places))


DELETING = frozenset({"vmware", "virtualbox"})
"""Platforms from which a machine can take its config away: a later first boot finds none there."""
