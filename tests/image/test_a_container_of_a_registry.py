"""From an image in a registry to an OS that has it and asks no registry, by the commands of docs/oci.md."""

from __future__ import annotations

import json

import pytest

from builder.build import BuildRequest, build_system
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.oci.container_store import STORE
from tests.support.tutorial import NAME, TAG, Tutorial, follow_tutorial
from tests.support.users import REPOSITORY

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def shop(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    """What the commands before the first boot left."""
    out = REPOSITORY / "out/image-tests/container-of-a-registry"
    return follow_tutorial(store, out, tmp_path_factory.mktemp("home"))


def test_the_lock_has_what_the_tag_meant(shop: Tutorial) -> None:
    (row,) = json.loads((shop.directory / "os.lock").read_text())["images"]
    assert row["reference"] == f"docker.io/{NAME}:{TAG}"
    assert row["digest"] == shop.image.digest


def test_the_bill_of_materials_names_the_image_by_its_registry(shop: Tutorial) -> None:
    image = read_image(shop.directory / "out/build.json")
    bill = json.loads(next(image.directory.glob("*.cdx.json")).read_text())
    (container,) = [each for each in bill["components"] if each["type"] == "container"]
    assert container["name"] == f"docker.io/{NAME}"
    assert "repository_url=docker.io%2Flibrary%2Fnginx" in container["purl"]
    assert shop.image.digest in container["purl"]


def test_the_unit_runs_it_by_digest_and_never_pulls(shop: Tutorial, store: Store) -> None:
    out = shop.directory / "out"
    request = BuildRequest(shop.directory / "os.yaml", out, store, QuietConsole(), offline=True, with_tree=True)
    tree = build_system(request).tree
    assert tree is not None
    unit = tree.read_text("/usr/share/containers/systemd/web.container")
    assert f"Image=docker.io/{NAME}@{shop.image.digest}" in unit
    assert "Pull=never" in unit
    (image,) = json.loads(tree.read(f"{STORE}/overlay-images/images.json"))
    assert (image["names"], image["digest"]) == ([f"docker.io/{NAME}:{TAG}"], shop.image.digest)
