"""What runs an image's containers: a quadlet, or a unit, and what tells another runtime of the image."""

from __future__ import annotations

from builder.core.errors import InputError
from builder.definition.model import Runtime
from builder.definition.resolved import EmbeddedContainer
from builder.oci.image import Image
from builder.oci.offers import offer_image
from builder.stages.pods import install_pod, make_network_unit_name
from builder.stages.quadlet import make_quadlet
from builder.stages.runtime_units import UNITS, make_containerd_unit, make_docker_unit
from builder.tree.node import make_file
from builder.tree.tree import Tree

QUADLETS = "/usr/share/containers/systemd"


def check_unit_names(tree: Tree, container: EmbeddedContainer) -> None:
    """A quadlet's service as well is read before one of that name that a package has (systemd.unit(5)).

    Raises:
        InputError: something else in the image is a unit of the name that the container's gets.
    """
    if container.runtime is Runtime.CRI:
        return
    units = [f"{UNITS}/{container.name}.service"]
    if container.runtime is Runtime.SYSTEMD:
        units.append(f"{UNITS}/{make_network_unit_name(container.name)}")
    if container.runtime is Runtime.PODMAN:
        units.append(f"{QUADLETS}/{container.name}.container")
    for path in units:
        node = tree.get(path)
        if node is not None:
            owner = node.origin.replace(":", " ")
            raise InputError(
                f"container {container.name}: {owner} has a unit of that name, {path}", hint="call it something else"
            )


def install_unit(tree: Tree, container: EmbeddedContainer, image: Image) -> None:
    """What runs the container, and what tells its runtime of the image."""
    name, publish, command = container.name, [str(port) for port in container.publish], container.command
    origin = f"container:{name}"
    if container.runtime is Runtime.PODMAN:
        text = make_quadlet(name, image.pinned, publish=publish, command=command, enable=container.enable)
        tree.put(f"{QUADLETS}/{name}.container", make_file(text, origin=origin))
        return
    offer_image(tree, image, container.runtime, name=name)
    if container.runtime is Runtime.CRI:
        return
    make_unit = make_docker_unit if container.runtime is Runtime.DOCKER else make_containerd_unit
    text = make_unit(name, image, publish=publish, command=command, enable=container.enable)
    tree.put(f"{UNITS}/{name}.service", make_file(text, origin=origin))


def install_pod_units(tree: Tree, container: EmbeddedContainer, image: Image) -> None:
    """The container's files and its units, for systemd itself."""
    publish = [str(port) for port in container.publish]
    texts = install_pod(tree, image, name=container.name, publish=publish, command=container.command)
    for unit, text in texts.items():
        tree.put(f"{UNITS}/{unit}", make_file(text, origin=f"container:{container.name}"))
