"""The tutorial of docs/oci.md: its commands, with an image that is made here, in a registry on loopback."""

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

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from tests.support.registry import ImageParts, RegistryServer
from tests.support.users import REPOSITORY
from vm.fakes.web import WebServer

NAME, TAG = "library/nginx", "1.29"
PAGE = "an answer\n"
SERVER = """\
kind: container
name: nginx
version: "1.29"
packages: [busybox-static]
overlays: [page]
entrypoint: [/usr/bin/busybox, httpd, -f, -p, "80", -h, /usr/share/page]
ports: ["80"]
"""


@dataclass(frozen=True)
class Tutorial:
    """What the commands before the first boot left: a built system.

    Attributes:
        left: the commands that have not been typed yet.
    """

    directory: Path
    image: ImageParts
    environment: dict[str, str]
    left: tuple[str, ...]

    def run(self, command: str, *, where: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command."""
        argv = [sys.executable, "-m", "builder", *command.removeprefix("build-os ").split(" ")]
        return subprocess.run(
            argv,
            cwd=where or self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )


def make_nginx(store: Store, out: Path) -> ImageParts:
    """An image that serves on port 80, made here: what matters is whose registry it is in."""
    page = out / "overlays/page/usr/share/page/index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE, encoding="utf-8")
    (out / "nginx.yaml").write_text(SERVER, encoding="utf-8")
    with closing(QuietConsole(out / "build.log")) as console:
        build_container(BuildRequest(out / "nginx.yaml", out / "nginx", store, console))
    with tarfile.open(out / "nginx/nginx.oci.tar") as archive:
        blobs = {member.name.rpartition("/")[2]: archive.extractfile(member) for member in archive if member.isfile()}
        files = {name: file.read() for name, file in blobs.items() if file is not None}
    manifest = files[json.loads(files["index.json"])["manifests"][0]["digest"][7:]]
    document = json.loads(manifest)
    config, *layers = (files[blob["digest"][7:]] for blob in (document["config"], *document["layers"]))
    return ImageParts(manifest, config, tuple(layers))


def follow_tutorial(store: Store, out: Path, home: Path) -> Tutorial:
    """The commands of the page up to the build without a network, in a home whose registries.conf leads Docker Hub to
    loopback. The registry is gone before the second build."""
    image = make_nginx(store, out)
    shutil.rmtree(out / "shop", ignore_errors=True)
    page = (REPOSITORY / "docs/oci.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(\$ build-os init shop .*?)```", page, re.DOTALL)
    assert block is not None, "docs/oci.md begins with these commands"
    commands = [line.removeprefix("$ ") for line in block[1].splitlines()]
    environment = {**os.environ, "HOME": str(home), "BUILD_OS_CACHE": str(store.root), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home / "run")}
    tutorial = Tutorial(out / "shop", image, environment, tuple(commands[5:]))

    def run(command: str, where: Path) -> None:
        done = tutorial.run(command, where=where)
        assert done.returncode == 0, done.stderr

    with WebServer() as web:
        registry = RegistryServer(web)
        registry.add_index(NAME, TAG, (image, "linux/amd64"))
        rules = home / ".config/containers/registries.conf"
        rules.parent.mkdir(parents=True)
        rules.write_text(f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry.host}"\ninsecure = true\n')
        assert commands[:4] == [
            "build-os init shop --template container-from-registry",
            "cd shop",
            "build-os lock",
            "build-os build",
        ]
        run(commands[0], out)
        for command in commands[2:4]:
            run(command, tutorial.directory)
    assert commands[4] == "build-os build --offline"
    run(commands[4], tutorial.directory)
    return tutorial
