"""Images go into a registry: mounted, in chunks, going on where they were cut; and out of it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError, SourceError
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.copy import Copied, copy_image
from builder.oci.registry.destinations import LayoutDestination, open_archive
from builder.oci.registry.ends import RegistryDestination, RegistryOrigin
from builder.oci.registry.listing import list_referrers, list_tags, make_referrers_tag
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.origins import FileOrigin
from builder.oci.registry.push import Publisher, read_range_end
from builder.oci.registry.reference import parse_reference
from firstboot.config.oci.manifests import Platform
from tests.support.registry import ImageParts, RegistryServer, digest, make_index
from vm.fakes.web import HttpRequest, Reply

pytestmark = pytest.mark.unit

BIG = bytes(range(256)) * 40_000  # more than is sent with one request
Copy = Callable[..., Copied]


@pytest.fixture
def copy(registry: RegistryServer, options: RegistryOptions) -> Copy:
    """Copies from one name to another in the registry."""

    def run(source: str, target: str, *tags: str, platform: str | None = None, chunk: int = 0) -> Copied:
        there = parse_reference(f"{registry.host}/{target}")
        with (
            open_client(f"{registry.host}/{source}", options) as client,
            open_client(there, options, mirrors=False) as out,
        ):
            destination = RegistryDestination(Publisher(out, chunk=chunk), tags or (there.tag or "latest",))
            wanted = Platform(*platform.split("/")) if platform else None
            return copy_image(RegistryOrigin(client), destination, QuietConsole(), platform=wanted)

    return run


@pytest.fixture
def push(options: RegistryOptions, registry: RegistryServer) -> Callable[..., bool]:
    """Pushes one blob."""

    def run(data: bytes, *, chunk: int = 0, mount: tuple[str, ...] = ()) -> bool:
        from builder.oci.registry.client import Descriptor

        blob = Descriptor("application/octet-stream", digest(data), len(data))
        with open_client(f"{registry.host}/team/app", options, mirrors=False) as client:
            return Publisher(client, chunk=chunk).upload_blob(blob, lambda start: iter([data[start:]]), mount=mount)

    return run


def test_a_small_blob_takes_two_requests(registry: RegistryServer, push: Callable[..., bool]) -> None:
    push(b"small")
    assert registry.repository("team/app").blobs == {digest(b"small"): b"small"}
    assert [request.method for request in registry.web.requests if "uploads" in request.path] == ["POST", "PUT"]


def test_a_large_blob_is_streamed_and_then_named(registry: RegistryServer, push: Callable[..., bool]) -> None:
    push(BIG)
    assert registry.repository("team/app").blobs[digest(BIG)] == BIG
    assert [request.method for request in registry.web.requests if "uploads" in request.path] == [
        "POST",
        "PATCH",
        "PUT",
    ]


def test_an_empty_blob_can_be_pushed(registry: RegistryServer, push: Callable[..., bool]) -> None:
    push(b"")
    assert registry.repository("team/app").blobs == {digest(b""): b""}


def test_chunks_are_as_large_as_the_registry_wants_them(registry: RegistryServer, push: Callable[..., bool]) -> None:
    registry.minimum_chunk = 5_000_000
    push(BIG, chunk=1000)
    ranges = [request.headers["content-range"] for request in registry.asked("PATCH", "uploads")]
    assert ranges == ["0-4999999", "5000000-9999999", f"10000000-{len(BIG) - 1}"]
    assert registry.repository("team/app").blobs[digest(BIG)] == BIG


def test_an_upload_goes_on_where_it_was_cut(registry: RegistryServer, push: Callable[..., bool]) -> None:
    broken: list[str] = []

    def before(request: HttpRequest) -> Reply | None:
        if request.method == "PATCH" and not broken:
            broken.append(request.path)
            registry.uploads[request.path.rpartition("/")[2].partition("?")[0]] += request.body[:3_000_000]
            return Reply(status=502)
        return None

    registry.before = before
    push(BIG)
    assert registry.repository("team/app").blobs[digest(BIG)] == BIG
    methods = [request.method for request in registry.web.requests if "uploads" in request.path]
    assert methods == ["POST", "PATCH", "GET", "PATCH", "PUT"]
    assert registry.asked("PATCH", "")[-1].headers["content-range"] == f"3000000-{len(BIG) - 1}"


def test_an_upload_whose_session_is_gone_begins_again(registry: RegistryServer, push: Callable[..., bool]) -> None:
    broken: list[str] = []

    def before(request: HttpRequest) -> Reply | None:
        if request.method == "PATCH" and not broken:
            broken.append(request.path)
            registry.uploads.clear()
            return Reply(status=503)
        return None

    registry.before = before
    push(BIG)
    assert registry.repository("team/app").blobs[digest(BIG)] == BIG


def test_a_blob_of_another_repository_is_mounted(registry: RegistryServer, push: Callable[..., bool]) -> None:
    registry.repository("team/base").blobs[digest(BIG)] = BIG
    assert push(BIG, mount=("team/base",))
    assert digest(BIG) in registry.repository("team/app").blobs
    assert not registry.asked("PATCH", "")
    registry.repository("team/app").blobs.clear()
    registry.mounts = False
    assert not push(BIG, mount=("team/base",))
    assert digest(BIG) in registry.repository("team/app").blobs


def test_an_image_is_copied_with_several_tags(registry: RegistryServer, image: ImageParts, copy: Copy) -> None:
    made = registry.add("team/app", "1", image)
    copied = copy("team/app:1", "other/app", "1", "latest")
    assert copied == Copied(made, image.media_type, 0, copied=0, there=0, mounted=3)
    assert registry.repository("other/app").tags == {"1": made, "latest": made}
    assert copy("team/app:1", "other/app", "1").there == 3


def test_an_index_is_copied_whole_or_in_part(registry: RegistryServer, copy: Copy) -> None:
    amd64, arm64 = ImageParts.make(b"x" * 10), ImageParts.make(b"y" * 10, architecture="arm64")
    made = registry.add_index("team/app", "1", (amd64, "linux/amd64"), (arm64, "linux/arm64/v8"))
    registry.mounts = False
    assert copy("team/app:1", "all/app:1").digest == made
    assert registry.repository("all/app").manifests.keys() == {made, amd64.digest, arm64.digest}
    assert copy("team/app:1", "one/app:1", platform="linux/arm64").digest == arm64.digest
    assert registry.repository("one/app").tags == {"1": arm64.digest}
    with pytest.raises(InputError, match=r"has no image for linux/riscv64"):
        copy("team/app:1", "one/app:1", platform="linux/riscv64")


def test_a_wrong_blob_of_the_source_never_becomes_one_of_the_target(
    registry: RegistryServer, image: ImageParts, copy: Copy
) -> None:
    registry.add("team/app", "1", image)
    registry.mounts = False
    big = digest(image.layers[1])
    registry.repository("team/app").blobs[big] = b"z" * len(image.layers[1])
    with pytest.raises(SourceError, match=f"{big} is not what its digest says"):
        copy("team/app:1", "other/app:1")
    assert big not in registry.repository("other/app").blobs
    assert not registry.repository("other/app").tags


def test_a_source_that_is_cut_goes_on_in_the_middle_of_an_upload(registry: RegistryServer, copy: Copy) -> None:
    image = ImageParts.make(BIG)
    registry.add("team/app", "1", image)
    registry.mounts = False
    cut: list[str] = []

    def after(request: HttpRequest, reply: Reply) -> Reply:
        if request.method == "GET" and digest(BIG) in request.path and not cut:
            cut.append(request.path)
            return replace(reply, cut=6_000_000)
        return reply

    registry.after = after
    # The fake holds its lock while it reads, so what is asked and what is sent are different requests.
    assert copy("team/app:1", "other/app:1").copied == 2
    assert registry.repository("other/app").blobs[digest(BIG)] == BIG


def test_layouts_and_archives_go_in_and_come_out_as_they_were(
    registry: RegistryServer, image: ImageParts, options: RegistryOptions, copy: Copy, tmp_path: Path
) -> None:
    made = registry.add("team/app", "1", image)
    layout = tmp_path / "layout"
    with open_client(f"{registry.host}/team/app:1", options) as client:
        for name in ("one", "two"):
            copied = copy_image(RegistryOrigin(client), LayoutDestination(layout, name), QuietConsole())
            assert copied.digest == made
        with open_archive(tmp_path / "a.tar", "team/app:1", docker=False) as archive:
            copy_image(RegistryOrigin(client), archive, QuietConsole())
        with open_archive(tmp_path / "d.tar", "team/app:1", docker=True) as archive:
            copy_image(RegistryOrigin(client), archive, QuietConsole())
    index = json.loads((layout / "index.json").read_text())
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "one"},
        {"org.opencontainers.image.ref.name": "two"},
    ]
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    for number, origin in enumerate((FileOrigin.open(layout, "two"), FileOrigin.open(tmp_path / "a.tar"))):
        with open_client(f"{registry.host}/back/app{number}", options, mirrors=False) as out:
            destination = RegistryDestination(Publisher(out), ("latest",))
            assert copy_image(origin, destination, QuietConsole()).digest == made
    # What docker save writes has no manifest of the registry's: the layers and the configuration are the same.
    root = FileOrigin.open(tmp_path / "d.tar").read_root()
    assert [blob.digest for blob in root.list_blobs()] == [digest(blob) for blob in image.blobs]


def test_an_archive_or_a_strange_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("mine")
    with (
        pytest.raises(InputError, match=r"a.tar is there already"),
        open_archive(tmp_path / "a.tar", "", docker=False),
    ):
        pass
    with pytest.raises(InputError, match="has something in it that is no OCI image layout"):
        LayoutDestination(tmp_path, "")


@pytest.mark.parametrize("api", [True, False])
def test_the_subject_of_a_manifest_learns_of_it(
    registry: RegistryServer, image: ImageParts, options: RegistryOptions, copy: Copy, api: bool
) -> None:
    made = registry.add("team/app", "1", image)
    subject = {"mediaType": image.media_type, "digest": made, "size": len(image.manifest)}
    for number in range(2):
        registry.add("signed/app", f"s{number}", ImageParts.make(b"%d" % number, subject=subject, artifactType="a/b"))
    registry.referrers_api = api
    for number in range(2):
        copy(f"signed/app:s{number}", "team/app", f"s{number}")
    tag = make_referrers_tag(made)
    assert (tag in registry.repository("team/app").tags) is not api
    with open_client(f"{registry.host}/team/app", options, mirrors=False) as client:
        found = list_referrers(client, made, "a/b")
        assert len(found) == 2
        Publisher(client).delete_manifest(found[0].digest)
        assert [entry.digest for entry in list_referrers(client, made)] == [found[1].digest]


def test_tags_and_manifests_are_deleted(registry: RegistryServer, image: ImageParts, options: RegistryOptions) -> None:
    made = registry.add("team/app", "1", image)
    registry.add("team/app", "2", image)
    with open_client(f"{registry.host}/team/app", options, mirrors=False) as client:
        publisher = Publisher(client)
        publisher.delete_tag("1")
        assert list_tags(client) == ["2"]
        publisher.delete_manifest(made)
        assert client.find_descriptor("2") is None
        publisher.delete_blob(digest(image.config))
        with pytest.raises(MissingImageError, match=r"cannot delete .*: it is not there"):
            publisher.delete_blob(digest(image.config))
        registry.before = lambda request: Reply(status=405) if request.method == "DELETE" else None
        with pytest.raises(InputError, match="the registry does not allow that"):
            publisher.delete_tag("2")


def test_a_manifest_that_the_registry_changes_is_an_error(
    registry: RegistryServer, image: ImageParts, copy: Copy
) -> None:
    registry.add("team/app", "1", image)

    def after(request: HttpRequest, reply: Reply) -> Reply:
        if request.method == "PUT" and "/manifests/" in request.path:
            return replace(reply, headers={**reply.headers, "Docker-Content-Digest": digest(b"other")})
        return reply

    registry.after = after
    with pytest.raises(SourceError, match="the registry has it as sha256:"):
        copy("team/app:1", "other/app:1")


def test_what_a_range_says() -> None:
    assert read_range_end("0-0") == 0
    assert read_range_end("0-99") == read_range_end("bytes=0-99") == 100
    assert read_range_end("") == read_range_end("5-9") == read_range_end("x") == 0


def test_the_index_of_a_layout_may_name_what_is_of_one_digest_twice(tmp_path: Path, image: ImageParts) -> None:
    for data in (*image.blobs, image.manifest):
        path = tmp_path / "blobs/sha256" / hashlib.sha256(data).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "index.json").write_bytes(make_index((image, "linux/amd64"), (image, "linux/amd64")))
    assert FileOrigin.open(tmp_path).read_root().digest == image.digest
    other = ImageParts.make(b"other")
    (tmp_path / "index.json").write_bytes(make_index((image, "linux/amd64"), (other, "linux/arm64")))
    with pytest.raises(InputError, match="has 2 images, and nothing says which is meant"):
        FileOrigin.open(tmp_path).read_root()
    with pytest.raises(InputError, match="has no image 'x'"):
        FileOrigin.open(tmp_path, "x").read_root()
