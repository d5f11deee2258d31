"""Which of containerd's configurations an image gets, by the runtimes that it has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from builder.definition.load import load

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[3]
FILE = "etc/containerd/config.toml"


@pytest.mark.parametrize(
    ("features", "cri"),
    [
        ("docker", False),
        ("swarm", False),
        ("containerd", False),
        ("containerd, docker", False),
        ("cri", True),
        ("docker, cri", True),
        ("cri, docker", True),
        ("swarm, kubernetes", True),
        ("kubernetes, swarm", True),
    ],
)
def test_containerd_serves_the_cri_if_the_image_has_that_feature_alone(
    tmp_path: Path, features: str, cri: bool
) -> None:
    # With Debian's configuration it is on, and serves 'kubectl exec' on a TCP port.
    (tmp_path / "os.yaml").write_text(f"name: some\nversion: 1.0.0\nfeatures: [base, {features}]\n")
    overlays = load(tmp_path / "os.yaml", shipped=REPOSITORY).resolved.overlays
    files = [overlay.path / FILE for overlay in overlays if (overlay.path / FILE).exists()]
    settings = tomllib.loads(files[-1].read_text())
    assert ("io.containerd.grpc.v1.cri" not in settings.get("disabled_plugins", [])) == cri
