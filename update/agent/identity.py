"""What runs on the machine."""

from __future__ import annotations

from collections.abc import Mapping

from firstboot.config.named_tuple import NamedTuple
from update.agent.host import Host
from update.agent.settings import read_arch
from update.errors import UpdateError

OS_RELEASE = "/usr/lib/os-release"


class Identity(NamedTuple):
    """The image's name and version (``os-release(5)``), and the architecture that it was built for."""

    name: str
    version: str
    arch: str


def read_identity(host: Host) -> Identity:
    """What runs.

    Raises:
        UpdateError: the image does not say so.
    """
    values = _read_os_release(host)
    name, version = values.get("IMAGE_ID", ""), values.get("IMAGE_VERSION", "")
    if not name or not version:
        raise UpdateError(f"{OS_RELEASE} names no IMAGE_ID and IMAGE_VERSION: build-os has not made this image")
    return Identity(name, version, read_arch(host))


def _read_os_release(host: Host) -> Mapping[str, str]:
    # Not /etc/os-release: a machine's owner may have another one there.
    try:
        text = host.locate(OS_RELEASE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, equals, value in pairs if equals}
