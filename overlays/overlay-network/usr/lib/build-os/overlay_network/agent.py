"""Takes a lease of a subnet, keeps it, and follows the leases of other machines.

While etcd cannot be reached, packets go where they went before. A lease that is lost (etcd was away for longer than it
lasts, somebody deleted it) is taken again, with the same subnet if that is still free.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import device as devices
import podman
from device import Device, DeviceError, Uplink
from etcd import Etcd, EtcdError
from subnets import (
    ConfigurationError,
    Lease,
    Network,
    choose_subnet,
    find_last_subnet,
    format_lease,
    format_subnet_file,
    make_key,
    parse_lease,
    parse_network,
    parse_subnet_file,
)

DAY = 24 * 3600
RETRY = 3.0


class LeaseLost(Exception):
    """It is not ours any more."""


@dataclass(frozen=True)
class Settings:
    """flanneld's own, from the environment: what it calls ``--etcd-endpoints`` is ``FLANNELD_ETCD_ENDPOINTS``.

    Attributes:
        duration: seconds a lease lasts without us. flanneld has a day, and no setting for it.
    """

    endpoints: list[str]
    prefix: str
    ca: str
    certificate: str
    key: str
    interface: str
    address: str
    subnet_file: Path
    masquerade: bool
    duration: int


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of flanneld's variables.

    Raises:
        ConfigurationError: a value is none.
    """

    def get(name: str, default: str = "") -> str:
        return environment.get(f"FLANNELD_{name}", default).strip()

    duration = environment.get("OVERLAY_NETWORK_LEASE_SECONDS", str(DAY))
    if not duration.isdecimal() or not 5 <= int(duration) <= 365 * DAY:
        raise ConfigurationError(f"OVERLAY_NETWORK_LEASE_SECONDS is {duration!r}, not a number of seconds from 5 on")
    masquerade = get("IP_MASQ", "false").lower()
    if masquerade not in ("true", "false", "1", "0"):
        raise ConfigurationError(f"FLANNELD_IP_MASQ is {masquerade!r}, not true or false")
    endpoints = [one.strip().rstrip("/") for one in get("ETCD_ENDPOINTS", "http://127.0.0.1:2379").split(",")]
    if bad := [one for one in endpoints if urlsplit(one).scheme not in ("http", "https") or not urlsplit(one).hostname]:
        raise ConfigurationError(f"FLANNELD_ETCD_ENDPOINTS has {bad[0]!r}, which is no http:// or https:// URL")
    return Settings(
        endpoints,
        get("ETCD_PREFIX", "/coreos.com/network").rstrip("/"),
        get("ETCD_CAFILE"),
        get("ETCD_CERTFILE"),
        get("ETCD_KEYFILE"),
        get("IFACE"),
        get("PUBLIC_IP"),
        Path(get("SUBNET_FILE", "/run/flannel/subnet.env")),
        masquerade in ("true", "1"),
        int(duration),
    )


@dataclass
class Agent:
    """One machine's part of the overlay."""

    settings: Settings
    etcd: Etcd
    lease: int = 0
    neighbours: set[Lease] = field(default_factory=set)
    said: str = ""

    def run(self) -> None:
        """Go on until the process is ended, whatever happens to etcd or the network."""
        while True:
            try:
                network = self._read_network()
                uplink = self._find_uplink()
                device = devices.make_device(network, uplink)
                devices.forget_neighbours(device)
                self.neighbours = set()
                subnet = self._take(network, device)
                self._set_up(network, device, subnet)
                self._follow(device, subnet)
            except (EtcdError, DeviceError, ConfigurationError, LeaseLost) as error:
                self._say(str(error))
                time.sleep(RETRY)

    def _read_network(self) -> Network:
        key = f"{self.settings.prefix}/config"
        text = self.etcd.read(key)
        if text is None:
            raise ConfigurationError(f'etcd has no key {key}: put the network there, like {{"Network": "10.5.0.0/16"}}')
        return parse_network(text)

    def _find_uplink(self) -> Uplink:
        peer = ""
        for endpoint in self.settings.endpoints:
            host = urlsplit(endpoint).hostname or ""
            try:
                found = str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
            except OSError:
                continue
            peer = peer or ("" if found.startswith("127.") else found)
        return devices.find_uplink(self.settings.interface, self.settings.address, peer)

    def _take(self, network: Network, device: Device) -> IPv4Network:
        """Our subnet, with a lease of it in etcd: the one that etcd or the subnet file remembers, or a new one."""
        below = f"{self.settings.prefix}/subnets/"
        address = devices.parse_address(device.uplink.address)
        while True:
            entries, _revision = self.etcd.list_below(below)
            leases = [(entry, lease) for entry in entries if (lease := parse_lease(entry.key, entry.value or ""))]
            ours = [
                (entry, lease) for entry, lease in leases if lease.address == address and network.holds(lease.subnet)
            ]
            if ours:
                entry, subnet = ours[0][0], ours[0][1].subnet
            else:
                draw = int.from_bytes(os.urandom(4), "big")
                entry, subnet = (
                    None,
                    choose_subnet(network, {lease.subnet for _, lease in leases}, self._find_last(), draw),
                )
            value = format_lease(Lease(subnet, address, device.hardware), network.vni)
            granted = self.etcd.grant(self.settings.duration)
            if (
                self.etcd.replace(entry.key, entry.revision, value, granted)
                if entry
                else self.etcd.create(below + make_key(subnet), value, granted)
            ):
                self.lease = granted
                return subnet
            # Somebody was faster; a lease that no key has must not stay for a day.
            self.etcd.revoke(granted)

    def _find_last(self) -> IPv4Network | None:
        try:
            return find_last_subnet(parse_subnet_file(self.settings.subnet_file.read_text()))
        except OSError:
            return None

    def _set_up(self, network: Network, device: Device, subnet: IPv4Network) -> None:
        last = self._find_last()
        devices.run(device.list_start(subnet))
        if podman.has_podman():
            devices.run(devices.list_bridge(podman.BRIDGE, subnet, device.mtu))
            podman.write_network(subnet, device.mtu)
        if self.settings.masquerade:
            devices.run_rules(devices.make_masquerade(network))
        text = format_subnet_file(network, subnet, device.mtu, self.settings.masquerade)
        write(self.settings.subnet_file, text)
        if last not in (None, subnet):
            print(f"the subnet was {last}: containers that have an address of it must be started anew", flush=True)
        self.said = ""
        print(
            f"{subnet} is leased to {device.uplink.address} on {device.name} ({self.settings.duration} s)", flush=True
        )
        notify("STATUS=" + f"{subnet} is leased")

    def _follow(self, device: Device, subnet: IPv4Network) -> None:
        below = f"{self.settings.prefix}/subnets/"
        own = below + make_key(subnet)
        # As often as needed to be told of a lease that was lost, and at least once a minute.
        step = min(self.settings.duration / 3, 60.0)
        renewed = time.monotonic()
        while True:
            try:
                if not self.etcd.renew(self.lease):
                    raise LeaseLost(f"the lease of {subnet} has ended")
                renewed = time.monotonic()
                entries, revision = self.etcd.list_below(below)
                if own not in {entry.key for entry in entries if entry.lease == self.lease}:
                    raise LeaseLost(f"the lease of {subnet} is not ours any more")
                found = {lease for entry in entries if (lease := parse_lease(entry.key, entry.value or ""))}
                self._connect(device, {lease for lease in found if lease.subnet != subnet})
                self.said = ""
                for _event in self.etcd.watch(below, revision + 1, max(1.0, renewed + step - time.monotonic())):
                    break  # what has changed is seen by listing anew
            except EtcdError as error:
                # Why may differ from one try to the next; that it does not answer is said once.
                if not self.said:
                    self._say(f"etcd: {error}; packets go where they went")
                time.sleep(RETRY)

    def _connect(self, device: Device, leases: set[Lease]) -> None:
        before, self.neighbours = self.neighbours, leases
        gone = before - leases
        # What is gone may be gone with the device's own entries; what is new must be there.
        devices.run(devices.list_changes(device, gone, ()), may_fail=True)
        devices.run(devices.list_changes(device, before - gone, leases))
        for sign, changed in (("-", gone), ("+", leases - before)):
            for lease in sorted(changed, key=str):
                print(f"{sign} {lease.subnet} at {lease.address}", flush=True)

    def _say(self, text: str) -> None:
        # Once: the next try is in three seconds.
        if text != self.said:
            print(text, file=sys.stderr, flush=True)
        self.said = text
        notify(f"STATUS={text}")


def write(path: Path, text: str) -> None:
    """Write a file that readers see whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o644)
    beside.replace(path)


def notify(text: str) -> None:
    """Tell systemd (sd_notify(3)); nothing without it."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto(text.encode(), f"\0{place[1:]}" if place.startswith("@") else place)


def main() -> int:
    """Run the agent of the environment's settings."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        settings = read_settings(os.environ)
        etcd = Etcd(list(settings.endpoints), settings.ca, settings.certificate, settings.key)
    except (ConfigurationError, OSError) as error:
        print(f"overlay-network: {error}; see /etc/flannel/flanneld.conf", file=sys.stderr)
        return 78  # EX_CONFIG
    Agent(settings, etcd).run()
    return 0
