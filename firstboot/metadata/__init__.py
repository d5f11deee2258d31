"""What a platform says about a machine: one file a platform, each a module with the shape of :class:`Provider`.

Names of attributes are afterburn's, so that units written for Fedora CoreOS or Flatcar find them. A platform that
wants to hear that the machine is up also has ``check_in(places, log)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol

from firstboot.log import Log
from firstboot.places import Places


class Metadata(NamedTuple):
    """What is known about a machine.

    Attributes:
        attributes: without the prefix ``AFTERBURN_``; empty values are left out when they are written.
        hostname: the name the platform gives it.
        ssh_keys: keys of whoever made the machine, one line each as in ``authorized_keys``.
    """

    attributes: dict[str, str]
    hostname: str = ""
    ssh_keys: tuple[str, ...] = ()


class Provider(Protocol):
    """A platform with metadata."""

    def read(self, places: Places, log: Log) -> Metadata:
        """All that it says.

        Raises:
            FetchError: it does not answer, or not as it should.
        """


PROVIDERS = (
    "akamai", "aliyun", "aws", "azure", "cloudstack", "digitalocean", "exoscale", "gcp", "hetzner", "ibmcloud",
    "kubevirt", "openstack", "oraclecloud", "packet", "powervs", "proxmoxve", "scaleway", "upcloud", "vultr",
)  # fmt: skip


def provider(platform: str) -> Provider | None:
    """The provider of a platform, if it has metadata."""
    if platform not in PROVIDERS:
        return None
    module: Provider = import_module(f"firstboot.metadata.{platform}")
    return module
