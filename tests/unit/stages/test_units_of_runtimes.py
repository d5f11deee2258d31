"""Containers that Docker and containerd run: their units, and what their runtimes are told of the image."""

from __future__ import annotations

import json

import pytest

from builder.oci.container_store import STORE, install_image
from builder.oci.image import ImageConfig, assemble
from builder.oci.offers import OFFERS, offer_image
from builder.stages.runtime_units import make_containerd_unit, make_docker_unit
from builder.tree.node import make_file
from builder.tree.tree import Tree
from firstboot.config.unit_text import parse_options

pytestmark = pytest.mark.unit


def make_tree() -> Tree:
    tree = Tree()
    tree.put("/usr/bin/web", make_file("#!", 0o755, origin="package:web"))
    return tree


IMAGE = assemble(make_tree(), ImageConfig("amd64", "web", "1.0.0"))


def test_one_image_may_be_for_several_runtimes_and_its_layer_is_there_once() -> None:
    system = Tree()
    for runtime in ("docker", "cri"):
        install_image(system, IMAGE, name="web")
        offer_image(system, IMAGE, runtime, name="web")
    record = json.loads(system.read(f"{OFFERS}/{IMAGE.id}.json"))
    assert record["runtimes"] == ["cri", "docker"]
    assert record["names"] == ["localhost/web:1.0.0"]
    [layer] = record["layers"]
    assert layer["path"].startswith(f"{STORE}/overlay/")
    assert system.read(f"{layer['path']}/usr/bin/web") == b"#!"


def test_docker_runs_the_image_by_its_id() -> None:
    text = make_docker_unit("web", IMAGE, publish=["8080:80/tcp"], command=["50% $x"], enable=True)
    line = next(value for _, name, value in parse_options(text) if name == "ExecStart")
    assert line.split()[:3] == ["/usr/bin/docker", "run", "--detach"]
    assert f"--publish=8080:80/tcp sha256:{IMAGE.id}" in line
    assert line.endswith('"50%% $$x"')
    assert ("Install", "WantedBy", "multi-user.target") in parse_options(text)


def test_containerd_runs_it_by_crun_in_a_network_of_its_own() -> None:
    text = make_containerd_unit("web", IMAGE, publish=["8080:80/tcp"], command=["serve"], enable=False)
    options = parse_options(text)
    line = next(value for _, name, value in options if name == "ExecStart")
    assert {"--runc-binary=/usr/bin/crun", "--seccomp", "--with-ns=network:/run/netns/web"} <= {*line.split()}
    assert line.endswith("localhost/web:1.0.0 web serve")
    assert any(value.endswith("network add web 8080:80/tcp") for _, name, value in options if name == "ExecStartPre")
    assert "[Install]" not in text


def test_containerd_runs_it_when_its_network_is_there_however_late() -> None:
    text = make_containerd_unit("web", IMAGE, publish=[], command=[], enable=True)
    assert ("Unit", "StartLimitIntervalSec", "0") in parse_options(text)
    assert ("Service", "Restart", "on-failure") in parse_options(text)
