"""Versions are published: what machines that follow TUF find then, and what is refused."""

from __future__ import annotations

import datetime
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from tuf.api.exceptions import BadVersionNumberError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.publishing import publish, repository
from builder.publishing.channels import Offer
from builder.publishing.keys import make_update_keys
from builder.publishing.listing import describe_repository, format_listing, format_release_lines
from builder.publishing.publish import Origin, Published
from builder.publishing.repository import open_repository
from builder.publishing.rotation import replace_root
from update.documents import Channel, Rollout, parse_channel, parse_release

if TYPE_CHECKING:
    from tests.unit.publishing.conftest import Build

pytestmark = pytest.mark.unit

NOW = 1_800_000_000
DAY = 86400


class Files(FetcherInterface):
    """A web server's directory, without the server."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file://"))
        if not path.is_file():
            raise DownloadHTTPError("not found", 404)
        yield path.read_bytes()


class Machine:
    """A machine that has a root.json, and follows a repository by Debian's python3-tuf."""

    def __init__(self, home: Path, root: Path) -> None:
        self.home = home
        home.mkdir()
        (home / "root.json").write_bytes(root.read_bytes())

    def look(self, directory: Path, now: int = NOW) -> Updater:
        """Refresh."""
        updater = Updater(
            str(self.home), f"file://{directory}/metadata/", str(self.home), f"file://{directory}/targets/", Files()
        )
        updater._trusted_set.reference_time = datetime.datetime.fromtimestamp(now, datetime.UTC)
        updater.refresh()
        return updater

    def read(self, directory: Path, target: str, now: int = NOW) -> bytes:
        updater = self.look(directory, now)
        info = updater.get_targetinfo(target)
        assert info is not None, target
        return Path(updater.download_target(info, str(self.home / "file"))).read_bytes()

    def read_channel(self, directory: Path, channel: str = "stable", now: int = NOW) -> Channel:
        return parse_channel(self.read(directory, f"web/amd64/channels/{channel}.json", now))


@pytest.fixture
def machine(tmp_path: Path, keys: Path) -> Machine:
    return Machine(tmp_path / "machine", keys / "root.json")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "repository"


Publish = Callable[..., Published]
TO_ALL = Offer()


@pytest.fixture
def put(directory: Path, keys: Path, console: Console) -> Publish:
    """Publish a build."""

    def do(
        origin: Origin, channel: str = "stable", offer: Offer = TO_ALL, deltas: int = 2, now: int = NOW
    ) -> Published:
        with publish.change_repository(directory, keys, console, now) as repo:
            return publish.publish_build(repo, origin, channel, offer, deltas, console, now)

    return do


def snapshot_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_machine_finds_what_was_published(directory: Path, put: Publish, build: Build, machine: Machine) -> None:
    offer = Offer(minimum="0.9", barrier=True, rollout=Rollout(NOW, DAY), notes="new")
    put(build("1.0"), offer=offer)
    (found,) = machine.read_channel(directory).releases
    assert (found.version, found.published, found.minimum, found.barrier) == ("1.0", NOW, "0.9", True)
    assert (found.rollout, found.notes) == (Rollout(NOW, DAY), "new")
    release = parse_release(machine.read(directory, "web/amd64/1.0/release.json"))
    assert {file.name for part in release.parts.values() for file in part.files} == {
        "root.zst",
        "verity.zst",
        "uki.zst",
    }
    assert machine.read(directory, "web/amd64/1.0/root.zst") == b"r" * 40_000


def test_versions_come_one_after_the_other_and_files_repeat(
    directory: Path, put: Publish, build: Build, machine: Machine
) -> None:
    put(build("1.0"))
    before = snapshot_of(directory / "targets")
    put(build("1.0"))
    assert snapshot_of(directory / "targets") == before
    put(build("1.1", b"r" * 36_000 + b"s" * 4000))
    assert [release.version for release in machine.read_channel(directory).releases] == ["1.0", "1.1"]
    (delta, *_) = parse_release(machine.read(directory, "web/amd64/1.1/release.json")).deltas
    assert (delta.source, delta.part, delta.base_size) == ("1.0", "root", 40_000)
    assert len(machine.read(directory, f"web/amd64/1.1/{delta.name}")) == delta.size < 10_000


def test_a_published_version_is_never_another(directory: Path, put: Publish, build: Build) -> None:
    put(build("1.0"))
    before = snapshot_of(directory)
    with pytest.raises(InputError, match=r"web 1\.0 is published already, and is something else"):
        put(build("1.0", b"other"))
    with pytest.raises(InputError, match=r"1\.0 is published, and 1\.00 is the same version"):
        put(build("1.00"))
    assert snapshot_of(directory) == before


def test_a_payload_of_another_build_is_refused(put: Publish, build: Build) -> None:
    origin = build("1.0")
    with pytest.raises(SourceError, match=r"is web 1\.0 for amd64, and build\.json says web 1\.1 for amd64"):
        put(Origin(origin.payload, "web", "1.1", "amd64", origin.tools))
    data = bytearray(origin.payload.read_bytes())
    data[-2000] ^= 1
    origin.payload.write_bytes(data)
    with pytest.raises(SourceError, match=r"uki\.zst in .* is not what release\.json says"):
        put(origin)


@pytest.mark.parametrize("which", range(8))
def test_a_publisher_that_is_cut_off_leaves_the_repository_as_it_was(
    directory: Path, put: Publish, build: Build, machine: Machine, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """The disk is full at the first file, the second ...; and it works afterwards."""
    put(build("1.0"))
    left, real = which, (repository.open_replacement, repository.write_file)

    def full(function: Any) -> Any:
        def do(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            left -= 1
            return function(*arguments, **more)

        return do

    monkeypatch.setattr(repository, "open_replacement", full(real[0]))
    monkeypatch.setattr(repository, "write_file", full(real[1]))
    try:
        put(build("1.1", b"s" * 40_000), deltas=0)
    except OSError:
        assert [release.version for release in machine.read_channel(directory).releases] == ["1.0"]
    else:
        assert which > 6
    monkeypatch.undo()
    put(build("1.1", b"s" * 40_000), deltas=0)
    assert [release.version for release in machine.read_channel(directory).releases] == ["1.0", "1.1"]


def test_what_expires_is_signed_anew(
    directory: Path, put: Publish, build: Build, machine: Machine, keys: Path, console: Console
) -> None:
    put(build("1.0"))
    later = NOW + 8 * DAY
    with pytest.raises(ExpiredMetadataError):
        machine.look(directory, later)
    (keys / "targets.key").rename(keys / "away")
    with publish.change_repository(directory, keys, console, later):
        pass
    assert [release.version for release in machine.read_channel(directory, now=later).releases] == ["1.0"]
    with pytest.raises(InputError, match="has 0 of the 1 keys that sign targets"):
        put(build("1.1"), now=later)
    # Long before the targets expire they are signed anew where their key is; without it there is time left.
    with publish.change_repository(directory, keys, console, NOW + 300 * DAY):
        pass
    machine.look(directory, NOW + 300 * DAY)
    with (
        pytest.raises(InputError, match="keys that sign targets"),
        publish.change_repository(directory, keys, console, NOW + 366 * DAY),
    ):
        pass
    (keys / "away").rename(keys / "targets.key")
    with publish.change_repository(directory, keys, console, NOW + 300 * DAY) as repo:
        pass
    assert repo.targets.signed.expires.timestamp() == NOW + (300 + 365) * DAY


def test_what_a_killed_publisher_left_is_removed(directory: Path, put: Publish, build: Build) -> None:
    (directory / ".new-killed").mkdir(parents=True)
    (directory / ".new-killed/half").touch()
    put(build("1.0"))
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "metadata", "targets"]


def test_a_publisher_of_a_new_root_that_was_cut_off_is_made_good(
    directory: Path, put: Publish, build: Build, machine: Machine, keys: Path, console: Console
) -> None:
    put(build("1.0"))
    replace_root(keys, ["timestamp"], NOW)
    (directory / "metadata/2.root.json").write_bytes((keys / "root.json").read_bytes())
    with pytest.raises(RepositoryError):
        machine.look(directory)
    with publish.change_repository(directory, keys, console, NOW):
        pass
    assert [release.version for release in machine.read_channel(directory).releases] == ["1.0"]


def test_an_older_repository_is_refused_by_a_machine(
    directory: Path, put: Publish, build: Build, machine: Machine
) -> None:
    put(build("1.0"))
    older = snapshot_of(directory)
    put(build("1.1"))
    machine.look(directory)
    (directory / "metadata/timestamp.json").write_bytes(older["metadata/timestamp.json"])
    with pytest.raises(BadVersionNumberError, match="New timestamp version 1 must be >= 2"):
        machine.look(directory)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_machines_follow_new_keys(
    directory: Path, put: Publish, build: Build, machine: Machine, keys: Path, role: str
) -> None:
    put(build("1.0"))
    machine.look(directory)
    replace_root(keys, [role], NOW)
    replace_root(keys, [], NOW + DAY)
    put(build("1.1"), now=NOW + DAY)
    assert [release.version for release in machine.read_channel(directory, now=NOW + DAY).releases] == ["1.0", "1.1"]
    assert sorted(path.name for path in (directory / "metadata").glob("*.root.json")) == [
        "1.root.json",
        "2.root.json",
        "3.root.json",
    ]


def test_a_root_needs_its_threshold(tmp_path: Path, console: Console, build: Build) -> None:
    keys = tmp_path / "three"
    make_update_keys(keys, root_keys=3, threshold=2, now=NOW)
    (keys / "root-1.key").unlink()
    replace_root(keys, ["targets"], NOW)
    (keys / "root-2.key").unlink()
    with pytest.raises(InputError, match="has 1 of the 2 keys that sign root"):
        replace_root(keys, [], NOW)
    for number in ("0 of 0", "3 of 2"):
        threshold, count = (int(word) for word in number.split(" of "))
        with pytest.raises(InputError, match=f"{number} keys cannot sign a root"):
            make_update_keys(tmp_path / "none", root_keys=count, threshold=threshold, now=NOW)
    with pytest.raises(InputError, match="is there already, and machines may trust it"):
        make_update_keys(keys, now=NOW)


def test_keys_of_another_repository_are_refused(
    tmp_path: Path, directory: Path, put: Publish, build: Build, console: Console
) -> None:
    put(build("1.0"))
    make_update_keys(tmp_path / "others", now=NOW + 1)
    with (
        pytest.raises(InputError, match="is not the root of"),
        publish.change_repository(directory, tmp_path / "others", console, NOW),
    ):
        pass


def test_old_versions_are_pruned_and_barriers_and_dead_ends_stay(
    directory: Path, put: Publish, build: Build, machine: Machine, keys: Path, console: Console
) -> None:
    put(build("0.9"), offer=Offer(dead_end="bought by others"))
    put(build("1.0"), offer=Offer(barrier=True))
    for version in ("1.1", "1.2", "1.3"):
        put(build(version, version.encode() * 9999), deltas=0)
    with publish.change_repository(directory, keys, console, NOW, sweep=True) as repo:
        assert publish.prune_releases(repo, "web", "amd64", 2) == ["1.1"]
    assert [release.version for release in machine.read_channel(directory).releases] == ["0.9", "1.0", "1.2", "1.3"]
    assert not list((directory / "targets/web/amd64/1.1").glob("*"))
    assert machine.read(directory, "web/amd64/1.3/root.zst") == b"1.3" * 9999


def test_a_version_is_offered_elsewhere_and_withdrawn(
    directory: Path, put: Publish, build: Build, machine: Machine, keys: Path, console: Console
) -> None:
    put(build("1.0"), "testing")
    with publish.change_repository(directory, keys, console, NOW + 5) as repo:
        release = publish.find_release(repo, "web", "amd64", "1.0")
        assert release is not None
        publish.put_release(repo, release, "stable", Offer(dead_end="bought by others"), NOW + 5)
        publish.drop_release(repo, release, "testing")
    assert machine.read_channel(directory).releases[0].dead_end == "bought by others"
    assert machine.read_channel(directory, "testing").releases == ()
    with (
        pytest.raises(InputError, match=r"1\.0 is not in the channel testing"),
        publish.change_repository(directory, keys, console, NOW) as repo,
    ):
        publish.drop_release(repo, release, "testing")


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        (Offer(minimum="1.0"), "1.0 cannot ask for 1.0: the installed version must be older"),
        (Offer(minimum="0.9", maximum="0.8"), "no machine has at least 0.9 and at most 0.8"),
        (Offer(notes="\x1b[2J"), r"releases\[0\]\.notes: is empty, or has characters that cannot be printed"),
        (Offer(dead_end=""), r"releases\[0\]\.dead_end: is empty"),
        (Offer(rollout=Rollout(NOW, 1 << 40)), r"releases\[0\]\.rollout\.duration: is no whole number"),
    ],
)
def test_an_offer_that_no_machine_could_take_is_refused(put: Publish, build: Build, offer: Offer, message: str) -> None:
    with pytest.raises(InputError, match=message):
        put(build("1.0"), offer=offer)


def test_a_new_repository_needs_a_root_and_a_directory_of_its_own(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(InputError, match="there is no repository in"):
        open_repository(tmp_path / "none", None)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/diary").touch()
    with pytest.raises(InputError, match="is no repository and not empty: it has diary"):
        open_repository(tmp_path / "home", keys / "root.json")


@pytest.mark.parametrize("file", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.root.json"])
def test_damaged_metadata_are_refused(directory: Path, put: Publish, build: Build, keys: Path, file: str) -> None:
    put(build("1.0"))
    path = directory / "metadata" / file
    good = path.read_bytes()
    for bad in (b"", b"{}", b"[]", good[: len(good) // 2], good.replace(b'"sig":"', b'"sig":"00', 1)):
        path.write_bytes(bad)
        with pytest.raises((SourceError, InputError)):
            open_repository(directory, keys / "root.json")
    path.unlink()
    if file != "timestamp.json":
        with pytest.raises((SourceError, InputError)):
            open_repository(directory, keys / "root.json")


def test_what_a_repository_has_can_be_read(directory: Path, put: Publish, build: Build) -> None:
    put(build("1.0"), offer=Offer(barrier=True))
    put(build("1.1", b"r" * 39_000 + b"s" * 1000), offer=Offer(rollout=Rollout(NOW, DAY), dead_end="why"))
    repo = open_repository(directory, None)
    found = describe_repository(repo, NOW + DAY // 2)
    assert format_listing(found).splitlines()[:4] == [
        "web for amd64: 1.0, 1.1",
        "  stable",
        "    1.1, to 50 % of the machines now, dead end: why",
        "    1.0, barrier",
    ]
    assert "timestamp 2 EXPIRED" in format_listing(describe_repository(repo, NOW + 30 * DAY))
    release = publish.find_release(repo, "web", "amd64", "1.1")
    assert release is not None
    assert "    from 1.0: " in format_release_lines(release)


def test_development_keys_say_so(tmp_path: Path, build: Build, console: Console, capsys: Any) -> None:
    keys = tmp_path / "dev"
    make_update_keys(keys, development=True, now=NOW)
    console = mock.Mock(wraps=console)
    with publish.change_repository(tmp_path / "r", keys, console, NOW) as repo:
        publish.publish_build(repo, build("1.0"), "stable", Offer(), 0, console, NOW)
    assert "signed by development keys" in console.warn.call_args[0][0]
    assert describe_repository(open_repository(tmp_path / "r", None), NOW)["development"] is True
    with (
        pytest.raises(InputError, match="signed by development keys, and this is to be a release"),
        publish.change_repository(tmp_path / "r", keys, console, NOW, release=True),
    ):
        pass


def test_an_expired_root_is_not_published_with(directory: Path, keys: Path, console: Console) -> None:
    with (
        pytest.raises(InputError, match="has expired"),
        publish.change_repository(directory, keys, console, NOW + 800 * DAY),
    ):
        pass


def test_a_machine_refuses_a_repository_of_others(
    tmp_path: Path, build: Build, machine: Machine, console: Console
) -> None:
    make_update_keys(tmp_path / "others", now=NOW)
    with publish.change_repository(tmp_path / "r", tmp_path / "others", console, NOW) as repo:
        publish.publish_build(repo, build("9.0"), "stable", Offer(), 0, console, NOW)
    with pytest.raises(RepositoryError):
        machine.look(tmp_path / "r")
