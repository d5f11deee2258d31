"""Registries that are down, busy or full: one clear error, nothing half-written, and a rerun that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import BuildError, SourceError
from builder.core.store import Store
from builder.oci.registry.copy import Copied, copy_image
from builder.oci.registry.ends import RegistryDestination, RegistryOrigin
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.pull import pull_image
from builder.oci.registry.push import Publisher
from tests.support.registry import ImageParts, RegistryServer, digest
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

Copy = Callable[[], Copied]


@pytest.fixture
def copy(registry: RegistryServer, options: RegistryOptions, image: ImageParts) -> Copy:
    """Copies an image from one repository to another; blobs are not mounted, so that each is sent."""
    registry.add("team/app", "1", image)
    registry.mounts = False

    def run() -> Copied:
        with (
            open_client(f"{registry.host}/team/app:1", options) as source,
            open_client(f"{registry.host}/mirror/app", options, mirrors=False) as target,
        ):
            destination = RegistryDestination(Publisher(target), ["1"])
            return copy_image(RegistryOrigin(source), destination, QuietConsole(), stop=source.stop)

    return run


def test_a_registry_that_is_down_is_named(options: RegistryOptions, store: Store) -> None:
    with WebServer() as web:
        host = RegistryServer(web).host
    with open_client(f"{host}/team/app:1", options) as client, pytest.raises(SourceError) as caught:
        pull_image(client, store, QuietConsole(), architecture="amd64")
    assert f"cannot fetch {host}/team/app:1" in caught.value.what
    assert any("Connection refused" in line for line in caught.value.details)
    assert caught.value.hint == "is the registry up? try again"
    assert not list(store.root.glob("blobs/*/*/*"))


def test_a_registry_that_is_busy_for_a_moment_is_asked_again(
    registry: RegistryServer, options: RegistryOptions, store: Store, image: ImageParts
) -> None:
    registry.add("team/app", "1", image)
    turns: dict[str, int] = {}

    def before(request: HttpRequest) -> Reply | None:
        turns[request.path] = turns.get(request.path, 0) + 1
        return Reply(status=(503, 429)[turns[request.path] % 2]) if turns[request.path] < 3 else None

    registry.before = before
    with open_client(f"{registry.host}/team/app:1", options) as client:
        assert pull_image(client, store, QuietConsole(), architecture="amd64").manifest.digest == image.digest
    assert set(turns.values()) == {3}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(status=503), "503 Service Unavailable"),
        (Reply(b'{"errors": [{"code": "UNKNOWN", "message": "no space left on device"}]}', 507), "no space left"),
        (Reply(b'{"errors": [{"code": "DENIED", "message": "quota"}]}', 403), r"403 Forbidden \(DENIED: quota\)"),
    ],
    ids=["down", "full", "quota"],
)
def test_a_push_that_failed_goes_on_with_what_is_not_there_yet(
    registry: RegistryServer, copy: Copy, image: ImageParts, reply: Reply, says: str
) -> None:
    large = digest(image.layers[1])
    registry.before = lambda request: reply if request.method == "PUT" and large[7:] in request.path else None
    with pytest.raises(BuildError, match=says):
        copy()
    there = registry.repository("mirror/app")
    assert not there.tags, "nobody sees half of an image"
    assert large not in there.blobs
    sent = set(there.blobs)
    registry.before = lambda request: None
    registry.web.requests.clear()
    copied = copy()
    assert (copied.digest, copied.there, copied.copied) == (image.digest, len(sent), 3 - len(sent))
    assert there.tags == {"1": image.digest}
    again = copy()
    assert (again.there, again.copied) == (3, 0)


def test_a_registry_that_goes_down_in_the_middle_leaves_what_it_gave(
    registry: RegistryServer, options: RegistryOptions, store: Store, image: ImageParts
) -> None:
    registry.add("team/app", "1", image)
    large = digest(image.layers[1])

    def after(request: HttpRequest, reply: Reply) -> Reply:
        if large not in request.path:
            return reply
        registry.before = lambda request: Reply(status=502)
        return replace(reply, cut=9000)

    registry.after = after
    with open_client(f"{registry.host}/team/app:1", options) as client, pytest.raises(SourceError, match="502"):
        pull_image(client, store, QuietConsole(), architecture="amd64")
    assert (store.root / "partial" / large[7:]).stat().st_size == 9000
    registry.before, registry.after = lambda request: None, lambda request, reply: reply
    with open_client(f"{registry.host}/team/app:1", options) as client:
        pull_image(client, store, QuietConsole(), architecture="amd64")
    assert registry.asked("GET", large)[-1].headers["range"] == "bytes=9000-"
