"""Containers in the image: which of their units start, and what is done again when something else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.definition.model import Runtime
from builder.definition.resolved import EmbeddedContainer, OciLayout
from builder.oci.image import ImageConfig, write_layout
from builder.stages.container_images import warn_of_loaders
from builder.stages.containers import PRESET, Containers
from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.elf import elf
from tests.unit.stages.conftest import Recorder

pytestmark = pytest.mark.unit


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    tree = Tree()
    tree.put("/usr/bin/web", make_file("#!", 0o755, origin="package:web"))
    write_layout(tree, ImageConfig("amd64", "web", "1.0.0", entrypoint=("/usr/bin/web",)), tmp_path / "layout")
    return tmp_path / "layout"


def use(layout: Path, runtime: Runtime, *, enable: bool) -> EmbeddedContainer:
    name = f"{runtime}-{'on' if enable else 'off'}"
    return EmbeddedContainer(name, OciLayout(layout), (), (), enable, runtime)


def test_units_of_containers_start_by_presets_as_all_units_do(layout: Path, context: Context) -> None:
    # So that "presets: {disable: [web.service]}" of a definition comes before them, and 'systemctl preset' keeps them.
    runtimes = (Runtime.DOCKER, Runtime.CONTAINERD, Runtime.SYSTEMD, Runtime.PODMAN)
    containers = tuple(use(layout, runtime, enable=enable) for runtime in runtimes for enable in (True, False))
    tree = Containers(containers, {}, "amd64", 0).apply(Tree(), context)
    assert tree.read_text(PRESET).splitlines() == [
        "enable docker-on.service",
        "enable containerd-on.service",
        "enable systemd-on.service",
    ]
    for runtime in ("docker", "containerd", "systemd"):
        assert "WantedBy=multi-user.target" in tree.read_text(f"/usr/lib/systemd/system/{runtime}-on.service")
    assert "/etc/systemd" not in tree
    # A quadlet's unit is made on the machine: a preset for it would name what is not in the image.
    assert "WantedBy=" in tree.read_text("/usr/share/containers/systemd/podman-on.container")


def test_without_units_of_their_own_there_is_no_preset(layout: Path, context: Context) -> None:
    containers = (use(layout, Runtime.PODMAN, enable=True), use(layout, Runtime.DOCKER, enable=False))
    assert PRESET not in Containers(containers, {}, "amd64", 0).apply(Tree(), context)


@pytest.mark.parametrize("runtime", [runtime for runtime in Runtime if runtime is not Runtime.CRI])
def test_a_container_is_not_called_as_a_unit_that_a_package_has(
    layout: Path, context: Context, runtime: Runtime
) -> None:
    # etcd.service of the container would replace etcd's own, and the one that a quadlet makes come before it.
    tree = Tree()
    tree.put(f"/usr/lib/systemd/system/{runtime}-on.service", make_file("", origin="package:etcd-server"))
    containers = (use(layout, runtime, enable=True),)
    with pytest.raises(InputError, match=f"container {runtime}-on: package etcd-server has a unit of that name"):
        Containers(containers, {}, "amd64", 0).apply(tree, context)


def test_one_that_has_no_unit_may_be_called_so(layout: Path, context: Context) -> None:
    tree = Tree()
    tree.put("/usr/lib/systemd/system/cri-on.service", make_file("mine", origin="package:cri"))
    done = Containers((use(layout, Runtime.CRI, enable=True),), {}, "amd64", 0).apply(tree, context)
    assert done.read_text("/usr/lib/systemd/system/cri-on.service") == "mine"


def test_a_container_whose_programs_lack_their_loader_is_told_of(context: Context) -> None:
    tree = Tree()
    for name in ("iptables", "ip6tables"):
        tree.put(f"/usr/sbin/{name}", make_file(elf(interpreter="/lib64/ld.so.2"), 0o755, origin="t"))
    warn_of_loaders(tree, "proxy", context.console)
    assert isinstance(context.console, Recorder)
    (said,) = context.console.said
    assert said.startswith(
        "warning: container proxy: /usr/sbin/ip6tables and 1 more cannot start: there is no /lib64/ld.so.2 in it"
    )
