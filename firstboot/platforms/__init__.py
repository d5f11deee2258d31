"""Platforms: where a machine's config comes from, and what is known about the machine there.

Each is one file, ``NAME.py``, with all of it as ``PLATFORM``; the name is Ignition's. What several have in common is in
``shared``. :mod:`firstboot.platform_index` is made from the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.errors import FetchError
from firstboot.platform_index import load_index

if TYPE_CHECKING:
    from firstboot.log import Log
    from firstboot.places import Places
    from firstboot.platforms.shared.metadata import MetadataProvider


class ConfigUnavailable(FetchError):
    """A config should be there and cannot be had. ``hint`` says what to try."""


class Fetched(NamedTuple):
    """A config as it was found, and what to call it in messages."""

    name: str
    data: bytes


CLOUD, CLOUD_SOFTWARE, HYPERVISOR = range(3)
"""A cloud is made of cloud software, and that runs on a hypervisor: the firmware may name all of them."""

FetchConfig = Callable[["Places", "Log"], Fetched | None]
"""Returns the machine's config, or ``None`` where there is none, which is no error: the machine then is what its image
says. Raises FetchError where it should be there and cannot be had."""


class Platform:
    """What a platform's file says.

    Args:
        config: where the config is, as a phrase of the documentation.
        fetch_config: gets it. It never waits without a limit.
        firmware: files of ``/sys/class/dmi/id`` and how their contents begin; any of them shows the platform.
        layer: :data:`CLOUD`, :data:`CLOUD_SOFTWARE` or :data:`HYPERVISOR`: what is made of others is recognised first.
        device: a directory of ``/sys`` that shows the platform, and the kernel module that makes it.
        chosen: how the platform is chosen, for the documentation, where that is not by one of these.
        needs_network: whether the config may have to be asked for over the network.
        modules: kernel modules that are loaded before anything is asked.
        needs: what the image or the machine must have, as a phrase of the documentation.
        addresses: of its metadata services, besides 169.254.169.254, and whose they are.
        fetch_base_configs: gets configs that the machine's own is merged over, after the image's own. Raises
            FetchError.
        delete_config: takes the config away, so that nobody in the machine can read it later. Raises FetchError or
            OSError.
        metadata: what it says about the machine.
        check_in: tells it that the machine is up. Raises FetchError.
    """

    def __init__(
        self,
        *,
        config: str,
        fetch_config: FetchConfig,
        firmware: tuple[tuple[str, str], ...] = (),
        layer: int = CLOUD,
        device: tuple[str, str] | None = None,
        chosen: str = "",
        needs_network: bool = False,
        modules: tuple[str, ...] = (),
        needs: str = "",
        addresses: Mapping[str, str] | None = None,
        fetch_base_configs: Callable[[Places], Iterable[Fetched]] | None = None,
        delete_config: Callable[[Places, Log], None] | None = None,
        metadata: MetadataProvider | None = None,
        check_in: Callable[[Places, Log], None] | None = None,
    ) -> None:
        self.config = config
        self.fetch_config = fetch_config
        self.firmware = firmware
        self.layer = layer
        self.device = device
        self.chosen = chosen
        self.needs_network = needs_network
        self.modules = modules
        self.needs = needs
        self.addresses = addresses or {}
        self.fetch_base_configs = fetch_base_configs
        self.delete_config = delete_config
        self.metadata = metadata
        self.check_in = check_in

    def load_modules(self, places: Places) -> None:
        """Load its kernel modules."""
        for module in self.modules:
            places.load_module(module)


def import_platform(name: str) -> Platform:
    """A platform by its name.

    Raises:
        ConfigUnavailable: there is none of this name.
    """
    names = load_index().names
    if name not in names:
        message = f"the platform '{name}' is not supported by this version of build-os"
        raise ConfigUnavailable(message, f"known: {', '.join(names)}")
    platform: Platform = import_module(f"firstboot.platforms.{name}").PLATFORM
    return platform
