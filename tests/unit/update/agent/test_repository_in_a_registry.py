"""A repository of versions that was pushed to a registry is read from there, and proven, as from a web server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.push import Publisher as RegistryPublisher
from builder.oci.registry.rules import Rules
from builder.publishing.registry import Pushed, parse_repository_place, send_repository
from tests.support.registry import RegistryServer
from tests.unit.update.agent.conftest import FakeMachine, Publisher
from update.agent import fetcher, online
from update.agent.command import main
from update.agent.fetcher import Limits
from update.agent.registry import CREDENTIALS
from update.agent.settings import SETTINGS
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

NAME = "team/web"


class Place:
    """A registry, and the directory that is pushed to it."""

    def __init__(self, machine: FakeMachine, publisher: Publisher, registry: RegistryServer, directory: Path) -> None:
        self.machine, self.publisher, self.registry, self.directory = machine, publisher, registry, directory

    def push(self, name: str = NAME, *, prune: bool = False) -> Pushed:
        """What the publisher has now becomes the directory's content, and is pushed."""
        for path, data in self.publisher.files.items():
            file = self.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (self.directory / "metadata/1.root.json").write_bytes(self.publisher.root)
        options = RegistryOptions(tls_verify=False, environment={}, rules=Rules())
        with open_client(parse_repository_place(f"oci://{self.registry.host}/{name}"), options) as client:
            return send_repository(self.directory, RegistryPublisher(client), QuietConsole(), prune=prune)

    @property
    def blobs(self) -> dict[str, bytes]:
        return self.registry.repository(NAME).blobs

    def find_blob(self, name: str) -> str:
        """The digest of a file of version 2."""
        return "sha256:" + self.publisher.locate(name).rpartition("/")[2].partition(".")[0]


@pytest.fixture
def place(
    machine: FakeMachine, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Version 2 is in the registry, and the machine is told so."""
    monkeypatch.setattr(fetcher, "READ_SECONDS", 60)
    monkeypatch.setattr(online, "Limits", lambda: Limits(pause=0))
    with WebServer() as web:
        place = Place(machine, publisher, RegistryServer(web), tmp_path / "repository")
        place.push()
        settings = {"arch": "amd64", "tries": 3, "url": f"oci+http://{place.registry.host}/{NAME}"}
        (machine.root / SETTINGS.lstrip("/")).write_text(json.dumps(settings))
        yield place


def test_a_version_is_found_downloaded_and_written(
    machine: FakeMachine, place: Place, server: WebServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 is there\n"
    assert main(["apply"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert not server.requests, "the web server was asked as well"


def test_what_is_there_is_not_sent_again_and_what_is_new_is(machine: FakeMachine, place: Place) -> None:
    again = place.push()
    assert (again.sent, again.size) == (0, 0)
    place.publisher.add("demo/amd64/3/root.zst", b"of version 3")
    place.publisher.publish()
    place.push()
    assert [request.path for request in place.registry.asked("PUT", "/manifests/")][-1].endswith("/timestamp.json")
    assert b"of version 3" in place.blobs.values()
    assert main(["apply"], machine.host) == 0


def test_a_directory_that_is_older_than_the_registry_or_another_is_not_pushed(
    machine: FakeMachine, place: Place
) -> None:
    place.publisher.publish()
    place.push()
    place.publisher.version = 1
    place.publisher.publish()
    with pytest.raises(InputError, match=r"has version 2 of timestamp\.json, and .* has 1"):
        place.push()
    place.publisher.version = 3
    place.publisher.expires["root"] += timedelta(days=1)
    place.publisher.root = place.publisher.make_root()
    place.publisher.publish()
    with pytest.raises(InputError, match="has another repository of versions"):
        place.push()


def test_old_metadata_are_taken_away_where_the_directory_has_them_no_more(machine: FakeMachine, place: Place) -> None:
    place.publisher.publish()
    for name in ("1.targets.json", "1.snapshot.json"):
        del place.publisher.files[f"metadata/{name}"]
        (place.directory / "metadata" / name).unlink()
    place.push(prune=True)
    tags = {"1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"}
    assert set(place.registry.repository(NAME).tags) == tags


def test_a_download_that_was_cut_goes_on_where_it_was(machine: FakeMachine, place: Place) -> None:
    digest, asked = place.find_blob("root.zst"), []

    def cut(request: HttpRequest, reply: Reply) -> Reply:
        if request.method == "GET" and request.path.endswith(digest):
            asked.append(request.headers.get("range"))
            return replace(reply, cut=20_000) if len(asked) == 1 else reply
        return reply

    place.registry.after = cut
    assert main(["apply"], machine.host) == 0
    assert asked == [None, "bytes=20000-"]


@pytest.mark.parametrize("login", [None, ("machine", "secret")])
def test_a_registry_may_want_a_token_and_a_new_one_when_it_has_expired(
    machine: FakeMachine, place: Place, login: tuple[str, str] | None
) -> None:
    registry, blobs = place.registry, []
    registry.token, registry.login = "first", login
    if login is not None:
        entry = {"auth": base64.b64encode(":".join(login).encode()).decode()}
        path = machine.root / CREDENTIALS.lstrip("/")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {registry.host: {"auth": "d3Jvbmc6"}, f"{registry.host}/team": entry}}))

    def expire(request: HttpRequest) -> None:
        if "/blobs/" in request.path:
            blobs.append(request.headers.get("authorization"))
            registry.token = "second" if len(blobs) > 4 else "first"

    registry.before = expire
    assert main(["apply"], machine.host) == 0
    assert registry.scopes == [[f"repository:{NAME}:pull"]] * 2
    assert {"Bearer first", "Bearer second"} <= set(blobs)


def test_what_a_registry_gave_is_shown_to_nobody_else(machine: FakeMachine, place: Place, server: WebServer) -> None:
    """It may lead to where its files are kept."""
    place.registry.token = "a token"
    seen: list[str | None] = []

    def keep(request: HttpRequest) -> Reply:
        seen.append(request.headers.get("authorization"))
        if len(seen) == 1:
            return Reply(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url("/token")}"'})
        return Reply(place.blobs[request.path.removeprefix("/kept/")])

    server.fallback = keep

    def lead(request: HttpRequest, reply: Reply) -> Reply:
        if reply.status == 200 and "/blobs/" in request.path:
            return Reply(status=307, headers={"Location": server.url(f"/kept/{request.path.rpartition('/')[2]}")})
        return reply

    place.registry.after = lead
    assert main(["check"], machine.host) == 1, "nobody logs in where it was led"
    assert main(["apply"], machine.host) == 0
    assert len(seen) > 5
    assert set(seen) == {None}


def with_another_blob(place: Place) -> None:
    place.blobs[place.find_blob("root.zst")] = b"r" * 45_000


def without_a_blob(place: Place) -> None:
    del place.blobs[place.find_blob("uki.zst")]


def older(place: Place) -> None:
    """A registry that leads back to what was there before."""
    there = place.registry.repository(NAME)
    before = dict(there.tags)
    place.publisher.publish()
    place.push()
    assert main(["check"], place.machine.host) == 0
    there.tags = before


def of_another_kind(place: Place) -> None:
    place.registry.add_manifest(NAME, "timestamp.json", b'{"schemaVersion": 2, "manifests": []}')


def with_an_endless_manifest(place: Place) -> None:
    def answer(request: HttpRequest) -> Reply | None:
        return Reply(b"x" * 4096, endless=True) if request.path.endswith("/timestamp.json") else None

    place.registry.before = answer


def with_a_wanted_password(place: Place) -> None:
    place.registry.basic = ("machine", "secret")


def with_a_wanted_login(place: Place) -> None:
    place.registry.token, place.registry.login = "token", ("machine", "secret")


HARMS: dict[Callable[[Place], None], str] = {
    with_another_blob: "was signed",
    without_a_blob: "HTTP 404",
    older: "New timestamp version 1 must be >= 2",
    of_another_kind: "the manifest has no list layers",
    with_an_endless_manifest: "a manifest has at most 4194304 bytes",
    with_a_wanted_password: "wants a login for team/web that cannot be given: it wants a name and a password",
    with_a_wanted_login: "gives no token for team/web: HTTP 401",
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_hostile_registry_writes_no_slot(
    machine: FakeMachine, place: Place, capsys: pytest.CaptureFixture[str], harm: Callable[[Place], None]
) -> None:
    harm(place)
    before = machine.disk.read_bytes()
    assert main(["apply"], machine.host) == 1
    assert HARMS[harm] in capsys.readouterr().err
    assert machine.disk.read_bytes() == before
    assert machine.list_images() == ["demo_1.efi"]


@pytest.mark.parametrize("text", ["[]", '{"auths": []}', '{"auths": {"HOST": {"auth": "?"}}}', "{"])
def test_names_and_passwords_that_make_no_sense_are_said(
    machine: FakeMachine, place: Place, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = machine.root / CREDENTIALS.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("HOST", place.registry.host))
    assert main(["check"], machine.host) == 1
    assert "/etc/containers/auth.json is not what containers-auth.json(5) describes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["web:1.0", "docker://registry.example/web@sha256:" + "0" * 64])
def test_versions_are_published_to_a_repository_and_not_to_an_image(text: str) -> None:
    with pytest.raises(InputError, match="is an image, and versions are published to a repository"):
        parse_repository_place(text)
