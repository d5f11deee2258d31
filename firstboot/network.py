"""The network of a first boot: brought up only when something has to be fetched, gone before the root is started.

systemd-networkd of the image does it, with the image's own ``.network`` files. It is started in the initrd by a path
unit as soon as there is the file that ``$FIRSTBOOT_NETWORK_REQUEST`` names: who runs in another root cannot start
units. Where the variable is not set, the network is somebody else's matter.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from firstboot.apply import identity
from firstboot.apply.action import Machine
from firstboot.apply.root import Root
from firstboot.config.text import Problem
from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places

REQUEST_VARIABLE = "FIRSTBOOT_NETWORK_REQUEST"
STATE = "/run/systemd/netif/state"  # systemd-networkd's, also for other programs: sd-network
RESOLVERS = ("/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf")
SECONDS = 60
_POLL_SECONDS = 0.1
_NETWORK_CLASS = "bc02"  # PCI's class of network controllers, in a modalias
_VIRTIO_NETWORK = "virtio:d00000001"
_HYPERV_NETWORK = "vmbus:635161f83edfc546913ff2d2f965ed0e"


def bring_up(places: Places, log: Log) -> None:
    """Have a network that reaches other machines, and names that resolve.

    Raises:
        FetchError: there is none after :data:`SECONDS`, with what is known about why.
    """
    request = os.environ.get(REQUEST_VARIABLE)
    if request is None or _state(places).get("OPER_STATE") == "routable":
        return
    with log.follow_operation("bring up the network"):
        for alias in sorted(set(_driver_aliases(places))):
            places.load_module(alias)
        _require_identity(places)
        path = places.locate(request)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch()
        _wait(places, log)
        _name_resolvers(places)


def _require_identity(places: Places) -> None:
    """Give the machine the id that it keeps: DHCP clients call themselves by it, and so keep their address."""
    with Root(places.root) as root:
        for action in identity.plan(root):
            if isinstance(action, Problem):
                raise FetchError(action.message)
            action.perform(Machine(root, places.programs))


def _driver_aliases(places: Places) -> Iterator[str]:
    """Modaliases of network devices: the initrd has only the drivers on the way to its disk."""
    for path in places.sys.glob("bus/*/devices/*/modalias"):
        with contextlib.suppress(OSError):
            alias = path.read_text(encoding="ascii", errors="replace").strip()
            if _NETWORK_CLASS in alias or alias.startswith((_VIRTIO_NETWORK, _HYPERV_NETWORK)):
                yield alias


def _wait(places: Places, log: Log) -> None:
    """Until an interface has an address by which others can be reached."""
    clock = places.connector.clock
    deadline = Deadline(clock, SECONDS)
    while _state(places).get("OPER_STATE") != "routable":
        if deadline.left <= 0:
            raise FetchError(f"there is no network after {SECONDS} s: {_why(places)}", "is there a DHCP server?")
        log.show_wait(f"no network yet, {_why(places)}")
        clock.sleep(_POLL_SECONDS)


def _why(places: Places) -> str:
    interfaces = sorted(entry.name for entry in (places.sys / "class" / "net").glob("*") if entry.name != "lo")
    if not interfaces:
        return "the machine has no network interface"
    return f"{', '.join(interfaces)}: {_state(places).get('OPER_STATE', 'unknown to systemd-networkd')}"


def _name_resolvers(places: Places) -> None:
    """Write what systemd-resolved would: the name servers that DHCP told. It replaces this when it starts."""
    servers = _state(places).get("DNS", "").split()
    text = "".join(f"nameserver {server}\n" for server in servers)
    for name in RESOLVERS:
        path = places.locate(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")


def _state(places: Places) -> dict[str, str]:
    try:
        text = places.locate(STATE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
