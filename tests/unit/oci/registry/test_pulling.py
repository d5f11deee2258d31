"""Images come out of a registry into the store: verified, resumed, and never half."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, InputError, SourceError
from builder.core.store import Store
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.listing import list_referrers, list_tags, make_referrers_tag
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.pull import PulledImage, lay_out_image, list_blobs, pull_image
from tests.support.registry import DOCKER_MANIFEST, ImageParts, RegistryServer, digest
from vm.fakes.web import HttpRequest, Reply

pytestmark = pytest.mark.unit

Pull = Callable[..., PulledImage]


@pytest.fixture
def pull(registry: RegistryServer, options: RegistryOptions, store: Store) -> Pull:
    """Pulls from the registry into the store."""

    def run(name: str = "team/app:1", architecture: str = "amd64") -> PulledImage:
        with open_client(f"{registry.host}/{name}", options) as client:
            return pull_image(client, store, QuietConsole(), architecture=architecture)

    return run


def test_an_image_becomes_a_layout_of_the_stores_own_blobs(
    registry: RegistryServer, image: ImageParts, pull: Pull, store: Store
) -> None:
    made = registry.add("team/app", "1", image)
    pulled = pull()
    assert pulled.manifest.digest == made
    assert str(pulled.reference) == f"{registry.host}/team/app@{made}"
    assert [blob.digest for blob in pulled.blobs] == [made, *(digest(blob) for blob in image.blobs)]
    index = json.loads((pulled.layout / "index.json").read_text())
    assert index["manifests"][0]["digest"] == made
    for blob in pulled.blobs:
        file = pulled.layout / "blobs/sha256" / blob.hex
        assert digest(file.read_bytes()) == blob.digest
        assert file.samefile(store.locate_blob(blob.hex))


def test_what_is_in_the_store_is_not_fetched_again(registry: RegistryServer, image: ImageParts, pull: Pull) -> None:
    registry.add("team/app", "1", image)
    pull()
    before = len(registry.asked("GET", "/blobs/"))
    assert before == 3
    pull()
    assert len(registry.asked("GET", "/blobs/")) == before


def test_of_an_index_the_image_for_the_platform_is_pulled(registry: RegistryServer, pull: Pull, store: Store) -> None:
    amd64, arm64 = ImageParts.make(b"x" * 10), ImageParts.make(b"y" * 10, architecture="arm64")
    made = registry.add_index("team/app", "1", (amd64, "linux/amd64"), (arm64, "linux/arm64/v8"))
    pulled = pull(architecture="arm64")
    assert pulled.index is not None
    assert pulled.index.digest == made == pulled.reference.digest
    assert pulled.manifest.digest == arm64.digest
    with pytest.raises(InputError, match="has no image for linux/s390x") as caught:
        pull(architecture="s390x")
    assert "linux/amd64, linux/arm64/v8" in str(caught.value)


def test_a_layout_can_be_made_again_without_the_registry(
    registry: RegistryServer, image: ImageParts, pull: Pull, store: Store
) -> None:
    registry.add("team/app", "1", image)
    pulled = pull()
    (pulled.layout / "blobs/sha256" / pulled.blobs[1].hex).unlink()
    assert lay_out_image(store, pulled.manifest, ref_name="x") == pulled.layout
    assert list_blobs(store, pulled.manifest.digest) == pulled.blobs
    store.locate_blob(pulled.blobs[-1].hex).unlink()
    with pytest.raises(SourceError, match="1 of 4 blobs of x are not in the store"):
        lay_out_image(store, pulled.manifest, ref_name="x")
    store.locate_blob(pulled.manifest.hex).write_bytes(b"{}")
    with pytest.raises(SourceError, match="is no manifest"):
        list_blobs(store, pulled.manifest.digest)


def test_docker_s_own_manifests_are_read(registry: RegistryServer, pull: Pull) -> None:
    image = ImageParts.make(b"layer", media_type=DOCKER_MANIFEST)
    registry.add("team/app", "1", image)
    assert pull().manifest.media_type == DOCKER_MANIFEST


def test_schema_1_is_refused_with_the_reason(registry: RegistryServer, pull: Pull) -> None:
    old = b'{"schemaVersion": 1, "name": "team/app", "fsLayers": []}'
    registry.add_manifest("team/app", "1", old, "application/vnd.docker.distribution.manifest.v1+prettyjws")
    with pytest.raises(SourceError, match="Docker's schema 1, which has no digests"):
        pull()


@pytest.mark.parametrize("name", ["team/app:2", "team/other:1"])
def test_a_tag_that_is_not_there_is_the_users_error(
    registry: RegistryServer, image: ImageParts, pull: Pull, name: str
) -> None:
    registry.add("team/app", "1", image)
    with pytest.raises(MissingImageError, match=r"there is no (image|repository) .*" + name):
        pull(name)


def cut_once(registry: RegistryServer, where: str, keep: int) -> None:
    """The first answer about a blob ends after some bytes."""
    cut: list[str] = []

    def after(request: HttpRequest, reply: Reply) -> Reply:
        if where in request.path and not cut:
            cut.append(request.path)
            return replace(reply, cut=keep)
        return reply

    registry.after = after


def test_a_blob_that_was_cut_goes_on_where_it_ended(registry: RegistryServer, image: ImageParts, pull: Pull) -> None:
    registry.add("team/app", "1", image)
    big = digest(image.layers[1])
    cut_once(registry, big, 5000)
    pull()
    asked = registry.asked("GET", big)
    assert [request.headers.get("range") for request in asked] == [None, "bytes=5000-"]


def test_the_next_run_goes_on_where_the_last_one_failed(
    registry: RegistryServer, image: ImageParts, pull: Pull, store: Store
) -> None:
    registry.add("team/app", "1", image)
    big = digest(image.layers[1])
    registry.after = lambda request, reply: replace(reply, cut=100) if big in request.path else reply
    with pytest.raises(SourceError, match=r"cannot fetch .*" + big):
        pull()
    assert not store.has_blob(big.partition(":")[2])
    assert not list((store.root).glob("images/*"))
    kept = (store.root / "partial" / big.partition(":")[2]).stat().st_size
    assert kept > 0
    registry.after = lambda request, reply: reply
    pull()
    assert registry.asked("GET", big)[-1].headers["range"] == f"bytes={kept}-"
    assert not list((store.root / "partial").iterdir())


def test_a_wrong_blob_is_not_kept(registry: RegistryServer, image: ImageParts, pull: Pull, store: Store) -> None:
    registry.add("team/app", "1", image)
    big = digest(image.layers[1])
    registry.repository("team/app").blobs[big] = b"z" * len(image.layers[1])
    with pytest.raises(SourceError, match=r"sent something with the digest"):
        pull()
    assert not store.has_blob(big.partition(":")[2])
    registry.add("team/app", "1", image)
    assert pull().manifest.digest == image.digest


def test_a_full_disk_is_said_before_anything_is_fetched(
    registry: RegistryServer, image: ImageParts, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("team/app", "1", image)

    class Full:
        f_bavail, f_frsize = 1, 4096

    monkeypatch.setattr("builder.oci.registry.pull.os.statvfs", lambda path: Full)
    with pytest.raises(CapabilityError, match=r"needs 3\d\.\d kB, and the store .* has room for 4.1 kB"):
        pull()
    assert not registry.asked("GET", "/blobs/")


def test_tags_come_page_by_page(registry: RegistryServer, image: ImageParts, options: RegistryOptions) -> None:
    for number in range(7):
        registry.add("team/app", f"v{number}", image)
    registry.page = 3
    with open_client(f"{registry.host}/team/app", options) as client:
        assert list_tags(client) == [f"v{number}" for number in range(7)]
    assert len(registry.asked("GET", "/tags/list")) == 3


@pytest.mark.parametrize("api", [True, False])
def test_referrers_come_by_the_api_or_by_the_tag(
    registry: RegistryServer, image: ImageParts, options: RegistryOptions, api: bool
) -> None:
    made = registry.add("team/app", "1", image)
    subject = {"mediaType": image.media_type, "digest": made, "size": len(image.manifest)}
    signature = ImageParts.make(b"signed", subject=subject, artifactType="application/x-signature")
    notes = ImageParts.make(b"notes", subject=subject, artifactType="application/x-notes")
    for other in (signature, notes):
        registry.add("team/app", None, other)
    registry.page = 1
    registry.referrers_api = api
    if not api:
        entries = [
            {"mediaType": o.media_type, "digest": o.digest, "size": len(o.manifest), "artifactType": kind}
            for o, kind in ((signature, "application/x-signature"), (notes, "application/x-notes"))
        ]
        listed = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        registry.add_manifest("team/app", make_referrers_tag(made), listed)
    with open_client(f"{registry.host}/team/app", options) as client:
        assert {e.digest for e in list_referrers(client, made)} == {signature.digest, notes.digest}
        assert [e.digest for e in list_referrers(client, made, "application/x-notes")] == [notes.digest]
        assert list_referrers(client, digest(b"another")) == []


def test_a_tag_can_be_looked_up_without_pulling(
    registry: RegistryServer, image: ImageParts, options: RegistryOptions
) -> None:
    made = registry.add("team/app", "1", image)
    with open_client(f"{registry.host}/team/app:1", options) as client:
        found = client.find_descriptor()
        assert found is not None
        assert (found.digest, found.size, found.media_type) == (made, len(image.manifest), image.media_type)
        assert client.find_descriptor("2") is None
    assert not registry.asked("GET", "/manifests/")


def test_a_mirror_is_asked_first_and_the_registry_when_it_fails(
    registry: RegistryServer, image: ImageParts, options: RegistryOptions, store: Store, tmp_path: Path
) -> None:
    from builder.oci.registry.rules import parse_rules

    made = registry.add("team/app", "1", image)
    registry.add("cache/team/app", None, image)
    registry.repository("cache/team/app").blobs.pop(digest(image.layers[0]))
    text = f'[[registry]]\nprefix = "images.example/team"\nlocation = "{registry.host}/team"\n'
    text += f'[[registry.mirror]]\nlocation = "{registry.host}/cache/team"\n'
    there = replace(options, rules=parse_rules([("registries.conf", text)]))
    with open_client(f"images.example/team/app@{made}", there) as client:
        pulled = pull_image(client, store, QuietConsole(), architecture="amd64")
    assert str(pulled.reference) == f"images.example/team/app@{made}"
    assert [request.path for request in registry.asked("GET", digest(image.layers[0]))] == [
        f"/v2/cache/team/app/blobs/{digest(image.layers[0])}",
        f"/v2/team/app/blobs/{digest(image.layers[0])}",
    ]
    assert not registry.asked("GET", "/v2/team/app/manifests")
