"""``configs/shop.yaml`` on a machine, booted once: for those who buy there, and those who look after the machine."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.cli.configs import read_config
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.provisioning.values import read_values
from tests.support.machines import booted, build
from vm.machine import Machine

REPOSITORY = Path(__file__).parents[3]
OUT = REPOSITORY / "out/boot-tests"
SECRET = "it's a canary 7c1e"
# The demo has no pip, which day two of a machine is about as well; in CI one image has to do.
FEATURES = ("features: [base, containers, ssh, admin]", "features: [base, containers, ssh, admin, pip]")
# Databases, containers and their devices start beside each other, and other tests beside all of them.
PATIENCE = "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600"
USER = "sudo: true, shell: /bin/bash"


@dataclass(frozen=True)
class Shop:
    """A machine that is up, and how programs on this host get in.

    Attributes:
        ssh: a program that is an ssh client.
        key: the private key of the user ``core``.
    """

    machine: Machine
    ssh: Path
    key: Path
    port: int

    @property
    def url(self) -> str:
        """Where a browser finds the shop."""
        return f"http://127.0.0.1:{self.machine.forward(8080)}"

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as ``core``, as somebody types it behind ``ssh``."""
        argv = [str(self.ssh), *SSH_OPTIONS, "-i", str(self.key), "-p", str(self.port), "core@127.0.0.1", *command]
        return subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)


SSH_OPTIONS = (
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=120", "-o", "IdentitiesOnly=yes"),
)


@pytest.fixture(scope="session")
def image(store: Store) -> Path:
    """The demo's definition and what it names, with the feature ``pip``."""
    place = OUT / "shop-definition"
    for name in ("shop", "containers"):
        shutil.copytree(REPOSITORY / "configs" / name, place / name, dirs_exist_ok=True)
    text = (REPOSITORY / "configs/shop.yaml").read_text()
    assert FEATURES[0] in text
    (place / "shop.yaml").write_text(text.replace(*FEATURES))
    return build(place / "shop.yaml", OUT / "shop-image", store)


@pytest.fixture(scope="package")
def shop(image: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The machine of ``configs/machines/shop.yaml``, with a key for its user."""
    directory = tmp_path_factory.mktemp("shop")
    key, secret, config = directory / "key", directory / "secret", directory / "machine.yaml"
    tools = Tools(read_image(image).tools, QuietConsole())
    tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    text = (REPOSITORY / "configs/machines/shop.yaml").read_text()
    assert USER in text
    config.write_text(text.replace(USER, f"{USER}, ssh_authorized_keys: [{public}]"))
    secret.write_text(SECRET)
    compiled = directory / "compiled.ign"
    compiled.write_text(read_config(config, read_values([], [], [], [], [f"shop.database={secret}"])).text)
    ssh = directory / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shlex.join(tools.make_argv("ssh"))} "$@"\n')
    ssh.chmod(0o755)
    options = {"config": compiled, "memory": 2048, "boot": "kernel", "arguments": PATIENCE}
    with booted(image, OUT / "shop", store, **options) as machine:
        machine.wait_ssh()
        yield Shop(machine, ssh, key, machine.forward(22))
