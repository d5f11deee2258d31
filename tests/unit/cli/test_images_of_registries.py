"""``build-os pull``, ``push``, ``copy`` and ``registry`` as somebody who knows podman and skopeo tries them."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from builder.core.files import hash_file
from builder.oci.image import ImageConfig, write_archive, write_layout
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.command import Outcome, run_command
from tests.support.registry import ImageParts, RegistryServer, digest
from vm.fakes.web import WebServer

pytestmark = pytest.mark.unit

BuildOs = Callable[..., Outcome]
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with WebServer() as web:
        yield RegistryServer(web)


@pytest.fixture
def image(registry: RegistryServer) -> ImageParts:
    """In the registry as team/app:1."""
    made = ImageParts.make(b"first" * 100, b"second" * 100)
    registry.add("team/app", "1", made)
    return made


@pytest.fixture
def build_os(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BuildOs:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "registries.conf").touch()
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    return partial(run_command, capsys)


def test_pull_prints_the_name_by_digest(build_os: BuildOs, registry: RegistryServer, image: ImageParts) -> None:
    done = build_os("pull", f"{registry.host}/team/app:1", "--platform", "linux/amd64")
    assert done.status == 0
    assert done.out == f"{registry.host}/team/app@{image.digest}\n"
    assert "2 layers, " in done.err
    told = json.loads(build_os("pull", "--json", f"docker://{registry.host}/team/app:1").out)
    assert told["manifest"] == image.digest
    assert (Path(told["layout"]) / "blobs/sha256" / image.digest.partition(":")[2]).is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("pull", "HOST/team/app:2"), 2, "there is no image HOST/team/app:2"),
        (("pull", "HOST/team/App"), 2, "'team/App' has capitals"),
        (("pull", "--platform", "arm64", "HOST/team/app:1"), 2, "'arm64' is no platform"),
        (("pull", "--cert-dir", "nowhere", "HOST/team/app:1"), 2, "there is no directory nowhere"),
        (("pull", "--authfile", "nowhere", "HOST/team/private:1"), 2, "there is no file nowhere with credentials"),
        (("pull", "HOST/team/private:1"), 6, "the registry wants a login"),
        (("pull", "--tls-verify=true", "HOST/team/app:1"), 6, "cannot fetch HOST/team/app:1"),
        (("copy", "HOST/team/app:1", "containers-storage:app"), 2, "build-os has no transport 'containers-storage'"),
        (("copy", "HOST/team/app:1", "https://HOST/x"), 2, "there is no transport 'https'"),
        (("copy", "HOST/team/app:1", "./x"), 2, "= oci:./x, oci-archive:./x or docker-archive:./x"),
        (("copy", "HOST/team/app:1", "oci:"), 2, "names no file or directory"),
        (("copy", "oci:nowhere", "HOST/x"), 2, "there is no image at nowhere"),
        (("copy", "--all", "--platform", "linux/amd64", "a", "b"), 2, "leave one of them out"),
        (("copy", "--tag", "a b", "HOST/team/app:1", "HOST/x"), 2, "'a b' is no tag"),
        (("copy", "--tag", "a", "HOST/team/app:1", "oci:x"), 2, "--tag is for registries"),
        (("push", "HOST/x"), 2, "there is no out"),
        (("registry", "tags", "HOST/team/app:1"), 2, "is an image; tags are a repository's"),
        (("registry", "tags", "HOST/team/nothing"), 2, "there is no repository"),
        (("registry", "delete", "HOST/team/app"), 2, "only images are deleted"),
        (("registry", "inspect", "HOST/team/app:9"), 2, "there is no image"),
        (("registry", "referrers", "HOST/team/app:9"), 2, "there is no image"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    build_os: BuildOs, registry: RegistryServer, image: ImageParts, arguments: tuple[str, ...], status: int, says: str
) -> None:
    if "private" in str(arguments):
        registry.token, registry.login = "t0ken", ("me", "secret")
    done = build_os(*(word.replace("HOST", registry.host) for word in arguments))
    assert says.replace("HOST", registry.host) in done.err
    assert (done.status, done.out) == (status, "")


def test_copy_takes_an_image_there_and_back(build_os: BuildOs, registry: RegistryServer, image: ImageParts) -> None:
    host = registry.host
    assert build_os("copy", f"{host}/team/app:1", "oci-archive:app.tar:app").out == f"{image.digest}\n"
    assert build_os("copy", "oci-archive:app.tar", "oci:app:v1").out == f"{image.digest}\n"
    done = build_os("copy", "oci:app:v1", f"{host}/back/app:1", "--tag", "latest", "-t", "2", "--json")
    assert json.loads(done.out) == {
        "destination": f"docker://{host}/back/app:1",
        "tags": ["latest", "2"],
        "digest": image.digest,
        "mediaType": image.media_type,
        "copied": 3,
        "there": 0,
        "mounted": 0,
        "bytes": sum(len(blob) for blob in image.blobs),
    }
    assert build_os("registry", "tags", f"{host}/back/app").out == "1\n2\nlatest\n"
    assert build_os("copy", f"{host}/team/app:1", "docker-archive:d.tar:team/app:1").status == 0
    assert build_os("copy", f"{host}/team/app:1", "docker-archive:d.tar").status == 2
    other = f"{host}/back/app@{digest(b'another')}"
    assert f"is {image.digest}, not" in build_os("copy", "oci:app:v1", other).err


def test_push_takes_what_was_built(build_os: BuildOs, registry: RegistryServer, tmp_path: Path) -> None:
    out = tmp_path / "here/out"
    out.mkdir()
    tree = Tree()
    tree.put("/hello", make_file(b"hello\n", 0o644, origin="test"))
    made = write_layout(tree, ImageConfig("amd64", "web", "1.0~rc1"), tmp_path / "layout")
    archive = out / "web.oci.tar"
    with archive.open("wb") as file:
        write_archive(tmp_path / "layout", file)
    shutil.rmtree(tmp_path / "layout")
    entry = {"path": "web.oci.tar", "size": archive.stat().st_size, "sha256": hash_file(archive), "format": "oci"}
    build = {
        "schema": 1,
        "name": "web",
        "version": "1.0~rc1",
        "arch": "amd64",
        "tools": "/",
        "artifacts": {"oci": entry},
    }
    (out / "build.json").write_text(json.dumps(build))
    host = registry.host
    assert build_os("push", f"{host}/team/web").out == f"{made.digest}\n"
    assert registry.repository("team/web").tags == {"1.0_rc1": made.digest}
    assert build_os("push", f"{host}/team/web:a", "--tag", "b", "-t", "c").status == 0
    assert build_os("push", f"{host}/team/web", "--tag", "d").status == 0
    assert set(registry.repository("team/web").tags) == {"1.0_rc1", "a", "b", "c", "d"}
    assert build_os("push", f"{host}/team/other", "--from", f"oci-archive:{archive}", "--chunk-size", "1K").status == 0
    assert registry.repository("team/other").tags == {"latest": made.digest}
    (out / "build.json").write_text(json.dumps({**build, "artifacts": {"raw": entry}}))
    done = build_os("push", f"{host}/team/web")
    assert done.status == 2
    assert "add 'oci' to the definition's outputs" in done.err


def test_what_is_in_a_registry_is_shown_and_deleted(
    build_os: BuildOs, registry: RegistryServer, image: ImageParts
) -> None:
    name = f"{registry.host}/team/app"
    subject = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    signature = ImageParts.make(b"signed", subject=subject, artifactType="application/x-signature")
    registry.add("team/app", None, signature)
    shown = build_os("registry", "inspect", f"{name}:1").out
    assert shown.startswith(f"{image.digest}  {image.media_type}\n  {digest(image.config)}")
    assert json.loads(build_os("registry", "inspect", f"{name}:1", "--json").out)["digest"] == image.digest
    assert build_os("registry", "referrers", f"{name}:1").out == f"{signature.digest}  application/x-signature\n"
    assert json.loads(build_os("registry", "referrers", "--json", "--artifact-type", "a/b", f"{name}:1").out) == []
    registry.add("team/app", "2", image)
    assert build_os("registry", "delete", f"{name}:1").status == 0
    assert registry.repository("team/app").tags == {"2": image.digest}
    assert build_os("registry", "delete", f"{name}@{image.digest}").status == 0
    assert image.digest not in registry.repository("team/app").manifests


def test_the_commands_of_the_documentation_do_what_they_say(
    build_os: BuildOs, registry: RegistryServer, image: ImageParts
) -> None:
    registry.add("team/app", "1.0", image)
    page = (REPOSITORY / "docs/oci.md").read_text(encoding="utf-8").partition("## distribution-spec")[2]
    lines = page.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(lines) > 5
    for line in lines:
        program, *words = shlex.split(line.replace("registry.example", registry.host))
        done = build_os(*words)
        assert (program, done.status) == ("build-os", 0), done.err
    assert registry.repository("team/app").tags == {"1": image.digest, "1.0": image.digest, "2.0": image.digest}
    assert registry.repository("mirror/app").tags == {"latest": image.digest}
