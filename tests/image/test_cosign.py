"""The real cosign and build-os: each believes what the other signed by a key, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.core.architecture import Arch
from builder.core.console import QuietConsole
from builder.core.errors import SourceError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.definition.load import load
from builder.images.locking import lock_images
from tests.support.debian_programs import open_programs
from tests.support.layouts import Layout, tar_of
from tests.support.registry import RegistryServer
from tests.support.users import REPOSITORY
from vm.fakes.web import WebServer

pytestmark = pytest.mark.image

DEFINITION = """\
name: demo
version: 1.0.0
features: [base, containers]
containers:
  - name: web
    image: {image}
    keys: [{key}.pub]
"""
# No transparency log: there is none without a network, and a key needs none.
SIGN = ("sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key")
VERIFY = ("verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key")
PASSWORD = "a password"


@pytest.fixture(scope="module")
def programs(store: Store) -> Tools:
    """Debian's cosign, and openssl for keys of another kind."""
    return open_programs(store, "base-files", "cosign", "openssl")


@pytest.fixture
def run(programs: Tools, tmp_path: Path) -> Callable[..., str]:
    """Runs a program in the test's directory; returns what it says on its output."""

    def run(*command: str | Path) -> str:
        name, *words = map(str, command)
        environment = {"HOME": str(tmp_path), "COSIGN_PASSWORD": PASSWORD, "COSIGN_EXPERIMENTAL": "1"}
        if name == "build-os":
            argv = [sys.executable, "-m", "builder", *words]
            environment = {**os.environ, **environment, "BUILD_OS_CACHE": str(tmp_path / "store")}
            where = REPOSITORY
        else:
            argv, environment, where = (
                programs.make_argv(name, *words),
                programs.make_environment(environment),
                tmp_path,
            )
        done = subprocess.run(argv, cwd=where, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SourceError(f"{name} {words[0]} failed", details=[done.stderr])
        return done.stdout

    return run


@pytest.fixture
def image(run: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """An image in a registry, by digest; signed by nobody. The keys lie in the test's directory: ``team`` is
    cosign's own, ``plain`` and ``shared`` are openssl's."""
    for name, kind in (("plain", ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")), ("shared", ("ED25519",))):
        key = tmp_path / f"{name}.key"
        run("openssl", "genpkey", "-algorithm", *kind, "-out", key)
        run("openssl", "pkey", "-in", key, "-pubout", "-out", tmp_path / f"{name}.pub")
    run("cosign", "generate-key-pair", "--output-key-prefix", tmp_path / "team")
    layout = Layout(tmp_path / "layout")
    layout.image([tar_of(etc__a="1")])
    layout.finish()
    with WebServer() as web:
        name = f"{RegistryServer(web).host}/team/web"
        run("build-os", "push", "--from", f"oci:{tmp_path}/layout", f"{name}:1")
        yield run("build-os", "pull", "--platform", "linux/amd64", f"{name}:1").strip()


def lock(image: str, key: str, directory: Path) -> None:
    """Lock a definition that wants the image to be signed by a key.

    Raises:
        SourceError: it is not.
    """
    (directory / "os.yaml").write_text(DEFINITION.format(image=image, key=key))
    resolved = load(directory / "os.yaml", arch=Arch.AMD64, shipped=REPOSITORY).resolved
    (row,) = lock_images(resolved, Store.open(directory / "store"), QuietConsole(), None, ())
    assert row.digest == image.rpartition("@")[2]


@pytest.mark.parametrize("how", [(), ("--registry-referrers-mode", "oci-1-1")], ids=["tag", "referrer"])
def test_what_cosign_signed_is_believed(
    run: Callable[..., str], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="is not signed"):
        lock(image, "team", tmp_path)
    run("cosign", *SIGN, tmp_path / "team.key", *how, image)
    lock(image, "team", tmp_path)
    with pytest.raises(SourceError, match="signed"):
        lock(image, "shared", tmp_path)


def test_cosign_believes_what_push_signed(run: Callable[..., str], image: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cosign verify failed"):
        run("cosign", *VERIFY, tmp_path / "plain.pub", image)
    tag = f"{image.partition('@')[0]}:1"
    run("build-os", "push", "--from", f"oci:{tmp_path}/layout", "--sign-key", tmp_path / "plain.key", tag)
    assert image.rpartition("@")[2] in run("cosign", *VERIFY, tmp_path / "plain.pub", image)
    with pytest.raises(SourceError, match="cosign verify failed"):
        run("cosign", *VERIFY, tmp_path / "shared.pub", image)
    # Cosign's signature stands beside ours, and each key is believed for itself.
    run("cosign", *SIGN, tmp_path / "team.key", image)
    for name in ("plain", "team"):
        run("cosign", *VERIFY, tmp_path / f"{name}.pub", image)


def test_a_key_that_push_signs_by_can_be_cosigns_as_well(
    run: Callable[..., str], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    push = ("build-os", "push", "--from", f"oci:{tmp_path}/layout", f"{image.partition('@')[0]}:1", "--sign-key")
    with pytest.raises(SourceError) as raised:
        run(*push, tmp_path / "team.key")
    assert "cosign import-key-pair" in str(raised.value), "cosign's own form of a key is not read, but told apart"
    run("cosign", "import-key-pair", "--key", tmp_path / "shared.key", "--output-key-prefix", tmp_path / "imported")
    run("cosign", *SIGN, tmp_path / "imported.key", image)
    lock(image, "shared", tmp_path)
    run(*push, tmp_path / "shared.key")
    run("cosign", *VERIFY, tmp_path / "imported.pub", image)
