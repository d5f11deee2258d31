"""Images on a base: what the base says stays unless the image says something itself, as with Dockerfile's FROM."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.oci.changeset import make_parts
from builder.oci.image import ImageConfig, assemble_layers, make_config_json
from builder.oci.inherit import inherit_config
from builder.tree.node import make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

BASE = {
    "os": "linux",
    "architecture": "amd64",
    "author": "somebody",
    "created": "2024-05-01T10:00:00.5+02:00",
    "config": {
        "Env": ["PATH=/bin", "A=base", "EMPTY="],
        "Entrypoint": ["/entry"],
        "Cmd": ["base"],
        "User": "app",
        "WorkingDir": "/srv",
        "Labels": {"a": "base", "b": "base"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "OnBuild": ["RUN true"],
        "Healthcheck": {"Test": ["CMD", "true"]},
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "history": [{"created_by": "base"}, {"created_by": "ENV", "empty_layer": True}],
}


def inherit(config: ImageConfig, base: dict[str, Any] | None = None) -> dict[str, Any]:
    own = make_config_json(config, ["sha256:" + "2" * 64], ["mine"])
    return inherit_config(json.dumps(base or BASE).encode(), own, own["history"])


def test_what_is_not_said_stays() -> None:
    document = inherit(ImageConfig("amd64", "web", "1", working_dir=""))
    expected = {key: value for key, value in BASE["config"].items() if key != "OnBuild"}  # type: ignore[attr-defined]
    assert document["config"] == expected
    assert document["rootfs"]["diff_ids"] == ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
    assert [entry.get("comment", entry["created_by"]) for entry in document["history"]] == ["base", "ENV", "mine"]
    assert document["created"] == "2024-05-01T08:00:00Z"
    assert "author" not in document


def test_variables_labels_and_ports_are_merged() -> None:
    config = ImageConfig("amd64", "web", "1", environment={"A": "mine", "C": "d"}, labels={"b": "mine"}, ports=("443",))
    run = inherit(config)["config"]
    assert run["Env"] == ["PATH=/bin", "A=mine", "EMPTY=", "C=d"]
    assert run["Labels"] == {"a": "base", "b": "mine"}
    assert run["ExposedPorts"] == {"80/tcp": {}, "443/tcp": {}}


@pytest.mark.parametrize(
    ("config", "entrypoint", "command"),
    [
        (ImageConfig("amd64", "web", "1"), ["/entry"], ["base"]),
        (ImageConfig("amd64", "web", "1", command=("mine",)), ["/entry"], ["mine"]),
        (ImageConfig("amd64", "web", "1", entrypoint=("/mine",)), ["/mine"], None),
        (ImageConfig("amd64", "web", "1", entrypoint=("/mine",), command=("x",)), ["/mine"], ["x"]),
    ],
)
def test_an_entrypoint_of_its_own_drops_the_bases_command(
    config: ImageConfig, entrypoint: list[str], command: list[str] | None
) -> None:
    run = inherit(config)["config"]
    assert (run["Entrypoint"], run.get("Cmd")) == (entrypoint, command)


def test_a_base_that_says_nothing_is_fine() -> None:
    bare = {key: value for key, value in BASE.items() if key in ("os", "architecture", "rootfs")}
    document = inherit(ImageConfig("amd64", "web", "1", ("/x",)), bare | {"config": None, "history": None})
    assert document["config"] == {"Entrypoint": ["/x"], "WorkingDir": "/"}
    assert len(document["history"]) == 2


def test_layers_of_the_base_come_first_and_stay() -> None:
    lower = Tree()
    lower.put("/etc/kept", make_file("kept", origin="t"))
    lower.put("/etc/gone", make_file("gone", origin="t"))
    base = assemble_layers(
        make_parts(Tree(), lower, {"": ["/", "/etc", "/etc/kept", "/etc/gone"]}), make_config("base")
    )
    upper = lower.copy()
    upper.remove("/etc/gone")
    upper.put("/etc/new", make_file("new", origin="t"))
    image = assemble_layers(make_parts(lower, upper, {"mine": [p for p, _ in upper.walk()]}), make_config("web"), base)
    assert image.layers[0] is base.layers[0]
    assert len(image.layers) == 2
    assert image.tree.compute_digest() == upper.compute_digest()
    manifest = json.loads(image.manifest)
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == base.digest


def make_config(name: str) -> ImageConfig:
    return ImageConfig("amd64", name, "1", ("/x",))
