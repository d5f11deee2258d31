"""Networks of containers that a machine starts at once are set up one after the other."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from firstboot.images import network

pytestmark = pytest.mark.unit


def test_plugins_of_two_containers_never_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # portmap's iptables looks whether a chain is there before it makes it, and fails if another made it meanwhile.
    running: list[str] = []
    most: list[int] = []

    def note(name: str, _more: object) -> None:
        running.append(name)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(name)

    monkeypatch.setattr(network, "KEPT", tmp_path / "networks")
    monkeypatch.setattr(network, "_add_network", note)
    monkeypatch.setattr(network, "_remove_network", note)
    changes = [threading.Thread(target=network.add_network, args=(f"web{number}", [])) for number in range(3)]
    changes += [threading.Thread(target=network.remove_network, args=(f"old{number}",)) for number in range(2)]
    for change in changes:
        change.start()
    for change in changes:
        change.join()
    assert most == [1] * 5
