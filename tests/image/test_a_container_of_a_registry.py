"""From an image in a registry to an OS that has it and asks no registry, by the commands of docs/oci.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container, build_system
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.oci.container_store import STORE
from tests.support.registry import ImageParts, RegistryServer
from vm.fakes.web import WebServer

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "out/image-tests/container-of-a-registry"
NAME, TAG = "library/nginx", "1.29"
SERVER = """\
kind: container
name: nginx
version: "1.29"
packages: [busybox-static]
entrypoint: [/usr/bin/busybox, httpd, -f, -p, "80", -h, /usr/share/doc/busybox-static]
ports: ["80"]
"""


@dataclass(frozen=True)
class Shop:
    """What the commands left: a built system."""

    directory: Path


@pytest.fixture(scope="session")
def nginx(store: Store) -> ImageParts:
    """An image that serves on port 80, made here: what matters is whose registry it is in."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "nginx.yaml").write_text(SERVER, encoding="utf-8")
    with closing(QuietConsole(OUT / "build.log")) as console:
        build_container(BuildRequest(OUT / "nginx.yaml", OUT / "nginx", store, console))
    with tarfile.open(OUT / "nginx/nginx.oci.tar") as archive:
        blobs = {member.name.rpartition("/")[2]: archive.extractfile(member) for member in archive if member.isfile()}
        files = {name: file.read() for name, file in blobs.items() if file is not None}
    manifest = files[json.loads(files["index.json"])["manifests"][0]["digest"][7:]]
    document = json.loads(manifest)
    config, *layers = (files[each["digest"][7:]] for each in (document["config"], *document["layers"]))
    return ImageParts(manifest, config, tuple(layers))


@pytest.fixture(scope="session")
def shop(nginx: ImageParts, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The commands of the page, in a home whose registries.conf leads Docker Hub to loopback. The registry is gone
    before the second build."""
    home, directory = tmp_path_factory.mktemp("home"), OUT / "shop"
    shutil.rmtree(directory, ignore_errors=True)
    page = (REPOSITORY / "docs/oci.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(\$ build-os init shop .*?)```", page, re.DOTALL)
    assert block is not None, "docs/oci.md begins with these commands"
    commands = [line.removeprefix("$ ") for line in block[1].splitlines()]
    environment = {**os.environ, "HOME": str(home), "BUILD_OS_CACHE": str(store.root)}

    def run(*command: str, where: Path = directory) -> None:
        argv = [sys.executable, "-m", "builder", *command]
        done = subprocess.run(argv, cwd=where, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    with WebServer() as web:
        registry = RegistryServer(web)
        registry.add_index(NAME, TAG, (nginx, "linux/amd64"))
        rules = home / ".config/containers/registries.conf"
        rules.parent.mkdir(parents=True)
        rules.write_text(f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry.host}"\ninsecure = true\n')
        assert commands[:4] == [
            "build-os init shop --template container-from-registry",
            "cd shop",
            "build-os lock",
            "build-os build",
        ]
        run("init", "shop", "--template", "container-from-registry", where=OUT)
        run("lock")
        run("build")
    assert commands[4] == "build-os build --offline"
    run("build", "--offline")
    return Shop(directory)


def test_the_lock_has_what_the_tag_meant(shop: Shop, nginx: ImageParts) -> None:
    (row,) = json.loads((shop.directory / "os.lock").read_text())["images"]
    assert row["reference"] == f"docker.io/{NAME}:{TAG}"
    assert row["digest"] == nginx.digest


def test_the_bill_of_materials_names_the_image_by_its_registry(shop: Shop, nginx: ImageParts) -> None:
    image = read_image(shop.directory / "out/build.json")
    bill = json.loads(next(image.directory.glob("*.cdx.json")).read_text())
    (container,) = [each for each in bill["components"] if each["type"] == "container"]
    assert container["name"] == f"docker.io/{NAME}"
    assert "repository_url=docker.io%2Flibrary%2Fnginx" in container["purl"]
    assert nginx.digest in container["purl"]


def test_the_unit_runs_it_by_digest_and_never_pulls(shop: Shop, nginx: ImageParts, store: Store) -> None:
    out = shop.directory / "out"
    request = BuildRequest(shop.directory / "os.yaml", out, store, QuietConsole(), offline=True, with_tree=True)
    tree = build_system(request).tree
    assert tree is not None
    unit = tree.read_text("/usr/share/containers/systemd/web.container")
    assert f"Image=docker.io/{NAME}@{nginx.digest}" in unit
    assert "Pull=never" in unit
    (image,) = json.loads(tree.read(f"{STORE}/overlay-images/images.json"))
    assert (image["names"], image["digest"]) == ([f"docker.io/{NAME}:{TAG}"], nginx.digest)
