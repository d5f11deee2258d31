"""What a network of CNI wants of the machine, which its plugins do not see to."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

OVERLAYS = Path(__file__).parents[3] / "overlays"
WITH_NETWORKS = sorted(path.parents[2].name for path in OVERLAYS.glob("*/etc/cni/net.d"))


@pytest.mark.parametrize("overlay", WITH_NETWORKS)
def test_packets_are_forwarded_before_an_engine_starts_so_that_docker_drops_none(overlay: str) -> None:
    # It sets the policy of FORWARD to DROP if it was the one that turned forwarding on.
    files = (OVERLAYS / overlay / "usr/lib/sysctl.d").glob("*.conf")
    assert "net.ipv4.ip_forward = 1" in [line for file in files for line in file.read_text().splitlines()]


def test_there_are_networks() -> None:
    assert WITH_NETWORKS == ["cni-bridge", "overlay-network"]
