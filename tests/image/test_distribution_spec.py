"""Our client against Debian's docker-registry: pull, push, content discovery and content management."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import SourceError
from builder.core.http import Patience
from builder.core.store import Store
from builder.core.tools import Tools
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.rules import Rules
from tests.support.archive import Source
from tests.support.distribution import BIG, LIST, Check, Ground, image_of, make_ground
from tests.support.docker_registry import DockerRegistry, run_docker_registry
from tests.support.registry import digest
from vm.fakes.authority import Authority

pytestmark = pytest.mark.image

PATIENCE = Patience(pause=0.05, rounds=2)
# bcrypt of "secret", cost 4, as docker-registry wants it
HTPASSWD = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"


@pytest.fixture(scope="module")
def registry_tools(store: Store) -> Tools:
    """docker-registry, and openssl for its certificate."""
    return Source.open(store, QuietConsole()).tools(["base-files", "docker-registry", "openssl"])


@pytest.fixture(scope="module")
def registry(registry_tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with run_docker_registry(registry_tools, tmp_path_factory.mktemp("registry")) as running:
        yield running


def make_options(tmp_path: Path) -> RegistryOptions:
    return RegistryOptions(patience=PATIENCE, environment={"HOME": str(tmp_path)}, rules=Rules())


@pytest.mark.parametrize("check", LIST)
def test_the_client_and_docker_registry_understand_each_other(
    registry: DockerRegistry, tmp_path: Path, check: Check
) -> None:
    check(make_ground(registry.host, make_options(tmp_path), check, tmp_path, deletes_tags=False))


def test_a_registry_with_tls_and_a_password(registry_tools: Tools, tmp_path: Path) -> None:
    authority = Authority(registry_tools, tmp_path / "authority")
    certificate = authority.issue("127.0.0.1")
    passwords = tmp_path / "htpasswd"
    passwords.write_text(HTPASSWD)
    http = {"addr": "", "tls": {"certificate": str(certificate.path), "key": str(certificate.key)}}
    auth = {"htpasswd": {"realm": "a registry", "path": str(passwords)}}
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/ca.crt").write_text(authority.pem)
    with run_docker_registry(registry_tools, tmp_path / "there", auth=auth, http=http) as running:
        good = write_auth(tmp_path / "good.json", running.host, "me:secret")
        bad = write_auth(tmp_path / "bad.json", running.host, "me:wrong")
        own = replace(make_options(tmp_path), cert_dir=tmp_path / "certs")
        ground = Ground(running.host, "team/app", replace(own, authfile=good), tmp_path)
        made = ground.push(image_of(), "v1")
        assert ground.pull(":v1").manifest.digest == made.digest
        for options in (own, replace(own, authfile=bad)):
            with open_client(f"{running.host}/team/app:v1", options) as client, pytest.raises(SourceError, match="401"):
                client.read_manifest()
        for options, says in (
            (replace(make_options(tmp_path), authfile=good), "certificate verify failed"),
            (replace(make_options(tmp_path), authfile=good, tls_verify=True), "certificate verify failed"),
        ):
            with open_client(f"{running.host}/team/app:v1", options) as client, pytest.raises(SourceError, match=says):
                client.read_manifest()
        careless = replace(make_options(tmp_path), authfile=good, tls_verify=False)
        with open_client(f"{running.host}/team/app:v1", careless) as client:
            assert client.read_manifest() == made


def test_a_full_disk_leaves_nothing_half_written(registry: DockerRegistry, tmp_path: Path) -> None:
    ground = Ground(registry.host, "full/app", make_options(tmp_path), tmp_path)
    made = ground.push(image_of(BIG, BIG[1:]), "v1")
    small = tmp_path / "small"
    small.mkdir()
    program = """
import resource, sys
from pathlib import Path
from builder.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
main(sys.argv[1:])
"""
    environment = {**os.environ, "BUILD_OS_CACHE": str(small), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, "pull", f"{registry.host}/full/app:v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "cannot use the store" in done.stderr
    assert not list(small.glob("images/*"))
    blobs = list(small.glob("blobs/sha256/*/*"))
    assert all(digest(path.read_bytes()) == f"sha256:{path.name}" for path in blobs)
    command = [sys.executable, "-m", "builder", "pull", f"{registry.host}/full/app:v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == f"{registry.host}/full/app@{made.digest}\n"


def write_auth(path: Path, host: str, login: str) -> Path:
    path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(login.encode()).decode()}}}))
    return path
