"""Versions are pushed to Debian's docker-registry, and the agent of a machine, as a process, has them from there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from tests.image.test_publishing import ROOTS, build
from tests.support.archive import Source
from tests.support.command import run_command
from tests.support.docker_registry import run_docker_registry
from vm.fakes.authority import Authority

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
# bcrypt of "secret", cost 4, as docker-registry wants it
HTPASSWD = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"
CHECK = """\
import sys
from pathlib import Path
from update.agent.command import main
from update.agent.host import Host
sys.exit(main(["check"], Host(Path(sys.argv[1]))))
"""
DOWNLOAD = """\
import json, sys
from pathlib import Path
from update.agent.fetcher import Limits
from update.agent.host import Host
from update.agent.identity import read_identity
from update.agent.registry import make_fetcher
from update.agent.repository import Repository
from update.agent.settings import read_settings
host = Host(Path(sys.argv[1]))
url = read_settings(host).url
repository = Repository(host, url, read_identity(host), make_fetcher(host, url, Limits()))
release, directory = repository.open_release(sys.argv[2])
repository.download(release, directory, {}, print)
print(json.dumps(sorted(path.name for path in directory.iterdir())))
"""


class Registry(NamedTuple):
    """One with TLS and a password.

    Attributes:
        certificates: the directory with its authority.
        passwords: names and passwords in the form of containers-auth.json(5).
    """

    host: str
    certificates: Path
    passwords: Path


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Iterator[Registry]:
    tools = Source.open(store, QuietConsole()).tools(["base-files", "docker-registry", "openssl"])
    authority = Authority(tools, tmp_path / "authority")
    certificate = authority.issue("127.0.0.1")
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/ca.crt").write_text(authority.pem)
    http = {"addr": "", "tls": {"certificate": str(certificate.path), "key": str(certificate.key)}}
    auth = {"htpasswd": {"realm": "a registry", "path": str(tmp_path / "htpasswd")}}
    with run_docker_registry(tools, tmp_path / "there", auth=auth, http=http) as running:
        passwords = tmp_path / "auth.json"
        entry = {"auth": base64.b64encode(b"me:secret").decode()}
        passwords.write_text(json.dumps({"auths": {running.host: entry}}))
        yield Registry(running.host, tmp_path / "certs", passwords)


def make_machine(root: Path, registry: Registry) -> None:
    """What the agent reads of a machine that runs version 1.0.0."""
    files = {
        "usr/lib/os-release": "IMAGE_ID=web\nIMAGE_VERSION=1.0.0\n",
        "usr/lib/build-os/updates.json": json.dumps({"arch": "amd64", "url": f"oci://{registry.host}/team/web"}),
        "usr/share/build-os/updates/root.json": Path("update-keys/root.json").read_text(),
        "etc/machine-id": f"{7:032x}\n",
        "etc/containers/auth.json": registry.passwords.read_text(),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def run_agent(registry: Registry, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(registry.certificates / "ca.crt")}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, cwd=REPOSITORY, env=environment, text=True, check=False)


def test_versions_go_to_a_registry_and_machines_have_them_from_there(
    registry: Registry,
    tools: Tools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(capsys, "key", "update-keys", "--for", "updates").status == 0
    push = ("--push", f"oci://{registry.host}/team/web", "--cert-dir", str(registry.certificates))
    push += ("--authfile", str(registry.passwords))
    said = []
    for version in ROOTS:
        build(version, tools)
        outcome = run_command(capsys, "publish", "repository", *push)
        assert outcome.status == 0, outcome
        said.append(outcome.err.splitlines()[-1])
    root = tmp_path / "machine"
    make_machine(root, registry)
    checked = run_agent(registry, CHECK, root)
    assert (checked.returncode, checked.stdout) == (0, "version 1.1.0 is there\n"), checked.stderr
    downloaded = run_agent(registry, DOWNLOAD, root, "1.1.0")
    assert downloaded.returncode == 0, downloaded.stderr
    assert json.loads(downloaded.stdout) == ["release.json", "root.zst", "uki.zst", "verity.zst"]
    # What version 1.0.0 brought is not sent again.
    again = run_command(capsys, "publish", "repository", "--refresh", *push)
    assert f"{registry.host}/team/web: 4 sent" in again.err, again.err
    # A machine without a password is told what is missing; one that trusts others, that nothing is proven.
    (root / "etc/containers/auth.json").unlink()
    assert "it wants a name and a password; /etc/containers/auth.json has" in run_agent(registry, CHECK, root).stderr
    stranger = tmp_path / "stranger"
    assert run_command(capsys, "key", "other-keys", "--for", "updates").status == 0
    make_machine(stranger, registry)
    (stranger / "usr/share/build-os/updates/root.json").write_bytes(Path("other-keys/root.json").read_bytes())
    assert "what it says is not proven" in run_agent(registry, CHECK, stranger).stderr
