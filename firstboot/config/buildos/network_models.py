"""The settings of ``network`` (systemd.network(5), systemd.netdev(5), systemd.link(5)).

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from firstboot.config.buildos.model import OwnModel
from firstboot.config.models import Int


class Match(OwnModel):
    """Which interface of the machine is meant.

    Attributes:
        name: what the kernel or udev calls it; may have ``*`` and ``?``.
        mac: its hardware address. It gets the interface's name.
    """

    name: str | None = None
    mac: str | None = None


class Route(OwnModel):
    """A route.

    Attributes:
        to: a network: ``192.0.2.0/24``; ``default`` is everything.
        via: the gateway.
        metric: the lower, the sooner it is used.
    """

    to: str = ""
    via: str | None = None
    metric: Int | None = None


class Vlan(OwnModel):
    """A VLAN on another interface (IEEE 802.1Q).

    Attributes:
        id: its number, 1 to 4094.
        parent: the name of the interface below it.
    """

    id: Int = 0
    parent: str = ""


class Bond(OwnModel):
    """Several interfaces as one.

    Attributes:
        mode: ``active-backup``, ``802.3ad``, ``balance-rr``, ...
        members: the names of the interfaces in it.
    """

    mode: str = "active-backup"
    members: tuple[str, ...] = ()


class Bridge(OwnModel):
    """Interfaces that see each other's traffic.

    Attributes:
        members: the names of the interfaces in it.
        stp: use the spanning tree protocol.
    """

    members: tuple[str, ...] = ()
    stp: bool | None = None


class Interface(OwnModel):
    """An interface. With ``vlan``, ``bond`` or ``bridge`` it is made.

    Attributes:
        name: its name.
        match: how to find it; if not given, by its name.
        dhcp: ask for addresses, of IPv4 and of IPv6.
        dhcp4: ask for an address of IPv4, whatever ``dhcp`` says.
        dhcp6: ask for an address of IPv6, whatever ``dhcp`` says.
        addresses: with the length of the prefix: ``192.0.2.10/24``.
        gateways: the way out, one for IPv4, one for IPv6.
        dns: addresses of name servers.
        domains: where names without a dot are looked for.
        ntp: time servers of this network.
        routes: further routes.
        mtu: the largest packet, in bytes.
        optional: the network counts as up without it.
        vlan: it is a VLAN.
        bond: it is a bond.
        bridge: it is a bridge.
    """

    name: str = ""
    match: Match = Match()
    dhcp: bool | None = None
    dhcp4: bool | None = None
    dhcp6: bool | None = None
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    mtu: Int | None = None
    optional: bool | None = None
    vlan: Vlan | None = None
    bond: Bond | None = None
    bridge: Bridge | None = None


class Network(OwnModel):
    """The machine's interfaces.

    Attributes:
        interfaces: those that are set up here; others are as the image says.
    """

    interfaces: tuple[Interface, ...] = ()
