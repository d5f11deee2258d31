"""The network comes up when something asks for it, and says why if it does not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.network import bring_up
from firstboot.places import Places

pytestmark = pytest.mark.unit

REQUEST = "run/firstboot/need-network"
STATE = "run/systemd/netif/state"


class Guest:
    """A machine in a directory, whose networkd is the test."""

    def __init__(self, root: Path, programs: Any, outside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.programs, self.monkeypatch = root, programs, monkeypatch
        self.places = Places(root, programs, outside)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def bring_up(self) -> None:
        bring_up(self.places, Log(io.StringIO(), priorities=False))

    def networkd(self, text: str) -> None:
        """Write networkd's state when it is waited for: after the request, however slow this computer is."""
        clock = self.places.connector.clock
        sleep = clock.sleep

        def write_and_sleep(seconds: float) -> None:
            self.write(STATE, text)
            sleep(seconds)

        self.monkeypatch.setattr(clock, "sleep", write_and_sleep)


@pytest.fixture
def guest(accounts: Path, programs: Any, outside: Any, monkeypatch: pytest.MonkeyPatch) -> Guest:
    monkeypatch.setenv("FIRSTBOOT_NETWORK_REQUEST", f"/{REQUEST}")
    outside.clock.speed = 100
    return Guest(accounts, programs, outside, monkeypatch)


def test_a_network_is_asked_for_and_waited_for(guest: Guest) -> None:
    guest.networkd("OPER_STATE=routable\nDNS=192.0.2.1 2001:db8::1\n")
    guest.bring_up()
    assert (guest.root / REQUEST).exists()
    resolver = (guest.root / "run/systemd/resolve/stub-resolv.conf").read_text()
    assert resolver == "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"


def test_drivers_of_network_interfaces_are_loaded_and_no_others(guest: Guest) -> None:
    aliases = {
        "virtio0": "virtio:d00000001v00001AF4",
        "virtio1": "virtio:d00000002v00001AF4",
        "0000:00:03.0": "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00",
        "0000:00:04.0": "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
    }
    for name, alias in aliases.items():
        guest.write(f"sys/bus/any/devices/{name}/modalias", f"{alias}\n")
    guest.write(STATE, "OPER_STATE=off\n")
    guest.networkd("OPER_STATE=routable\n")
    guest.bring_up()
    loaded = [call[-1] for call in guest.programs.calls if call[0] == "modprobe"]
    assert loaded == [aliases["0000:00:03.0"], aliases["virtio0"]]


def test_the_machine_keeps_the_identity_it_showed_to_dhcp(guest: Guest) -> None:
    guest.networkd("OPER_STATE=routable\n")
    guest.bring_up()
    first = (guest.root / "etc/machine-id").read_text()
    assert len(first) == 33
    (guest.root / STATE).unlink()
    guest.networkd("OPER_STATE=routable\n")
    guest.bring_up()
    assert (guest.root / "etc/machine-id").read_text() == first


@pytest.mark.parametrize(
    ("interfaces", "state", "says"),
    [
        ([], "", "the machine has no network interface"),
        (["eth0"], "OPER_STATE=carrier\n", "eth0: carrier"),
        (["eth0", "eth1"], "", "eth0, eth1: unknown to systemd-networkd"),
    ],
)
def test_no_network_ends_after_a_minute_with_what_is_known(
    guest: Guest, interfaces: list[str], state: str, says: str
) -> None:
    for name in ["lo", *interfaces]:
        guest.write(f"sys/class/net/{name}/address", "x")
    if state:
        guest.write(STATE, state)
    with pytest.raises(FetchError, match=f"there is no network after 60 s: {says}"):
        guest.bring_up()


def test_a_network_that_is_there_is_not_asked_for(guest: Guest) -> None:
    guest.write(STATE, "OPER_STATE=routable\n")
    guest.bring_up()
    assert not (guest.root / REQUEST).exists()


def test_without_the_variable_the_network_is_somebody_elses(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRSTBOOT_NETWORK_REQUEST")
    guest.bring_up()
    assert not (guest.root / REQUEST).exists()
