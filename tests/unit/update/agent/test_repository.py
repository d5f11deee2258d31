"""A repository that lies, stalls or cheats is refused before a slot is written, and it is said why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from tests.unit.update.agent.conftest import NOW, ROLES, FakeMachine, Publisher
from update.agent import fetcher
from update.agent.command import main
from update.agent.fetcher import Limits
from update.agent.settings import ROOT
from update.agent.state import read_state
from update.errors import UpdateError
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)


def test_a_version_is_found_downloaded_and_written(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 is there\n"
    assert main(["apply"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert capsys.readouterr().out.splitlines()[0] == "downloading version 2"
    assert not list((machine.root / "var/lib/update/downloads").iterdir())
    assert read_state(machine.host).available == "2"


def test_a_download_that_was_cut_goes_on_where_it_was(
    machine: FakeMachine, publisher: Publisher, server: WebServer
) -> None:
    path, asked = publisher.locate("root.zst"), []
    data = next(each for name, each in publisher.targets.items() if name.endswith("/root.zst"))

    def answer(request: HttpRequest) -> Reply:
        asked.append(request.headers.get("range"))
        if request.headers.get("range") is None:
            return Reply(data, cut=20_000)
        begin = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        return Reply(data[begin:], status=206)

    server.put(path, answer)
    assert main(["apply"], machine.host) == 0
    assert asked == [None, "bytes=20000-"]


def test_a_server_without_ranges_sends_all_of_it_again(
    machine: FakeMachine, publisher: Publisher, server: WebServer
) -> None:
    path, asked = publisher.locate("root.zst"), []
    data = next(each for name, each in publisher.targets.items() if name.endswith("/root.zst"))

    def answer(request: HttpRequest) -> Reply:
        asked.append(request.headers.get("range"))
        return Reply(data, cut=20_000 if len(asked) == 1 else None)

    server.put(path, answer)
    assert main(["apply"], machine.host) == 0
    assert len(asked) == 2


def older(publisher: Publisher) -> None:
    """Rollback: what was published before comes back."""
    publisher.version = 1
    publisher.publish()


def expired(publisher: Publisher) -> None:
    """Freeze: nobody signs it anew."""
    publisher.expires["timestamp"] = NOW - DAY
    publisher.publish()


def mixed(publisher: Publisher) -> None:
    """Mix and match: targets of one time with a snapshot of another."""
    publisher.publish()
    targets = Targets(version=2, expires=publisher.expires["targets"])
    publisher.serve(f"metadata/{publisher.version - 1}.targets.json", publisher._sign(targets, "targets"))


def unsigned(publisher: Publisher) -> None:
    timestamp = Metadata(Timestamp(version=9, expires=NOW + DAY))
    publisher.serve("metadata/timestamp.json", timestamp.to_bytes())


def by_a_wrong_key(publisher: Publisher) -> None:
    publisher.keys["timestamp"] = CryptoSigner.generate_ed25519()
    publisher.publish()


def with_a_wrong_hash(publisher: Publisher) -> None:
    path = publisher.locate("root.zst")
    publisher.server.put(path, Reply(b"r" * 45_000))


def endless(publisher: Publisher) -> None:
    publisher.server.put(publisher.locate("root.zst"), Reply(b"x" * 4096, endless=True))


def endless_metadata(publisher: Publisher) -> None:
    publisher.server.put("/metadata/timestamp.json", Reply(b"x" * 4096, endless=True))


def dead(publisher: Publisher) -> None:
    publisher.server.put("/metadata/timestamp.json", Reply(slow=5))


def lost(publisher: Publisher) -> None:
    publisher.server.put(publisher.locate("uki.zst"), Reply(status=404))


def described_otherwise(publisher: Publisher) -> None:
    """``release.json`` and the metadata of TUF disagree."""
    publisher.add("demo/amd64/2/root.zst", b"something else that is signed as well")
    publisher.publish()


HARMS: dict[Callable[[Publisher], None], str] = {
    older: "what it says is not proven: New timestamp version 1 must be >= 2",
    expired: "timestamp.json is expired; nobody has signed it anew, or this machine's clock",
    mixed: "what it says is not proven: Expected targets v3, got v2",
    unsigned: "what it says is not proven: timestamp was signed by 0/1 keys",
    by_a_wrong_key: "what it says is not proven: timestamp was signed by 0/1 keys",
    with_a_wrong_hash: "was signed",
    endless: "more than the 45000 bytes that it should have",
    endless_metadata: "exceeding the maximum allowed length",
    dead: "no answer in time",
    lost: "HTTP 404",
    described_otherwise: "and the repository's metadata say different things of root.zst",
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda each: each.__name__)
def test_a_hostile_repository_writes_no_slot(
    machine: FakeMachine,
    publisher: Publisher,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Publisher], None],
) -> None:
    publisher.publish()
    assert main(["check"], machine.host) == 0
    harm(publisher)
    before = machine.disk.read_bytes()
    assert main(["apply"], machine.host) == 1
    assert HARMS[harm] in capsys.readouterr().err
    assert machine.disk.read_bytes() == before
    assert machine.list_images() == ["demo_1.efi"]


def test_a_server_that_holds_us_up_is_left(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(10_000))
    limits = Limits(slow_seconds=0.9, slowest=40_000, pause=0, clock=lambda: float(next(times)))
    getter = fetcher.Fetcher(limits)
    with pytest.raises(UpdateError, match="slower than 40000 bytes a second"):
        getter.download(publisher.server.url(publisher.locate("root.zst")), machine.root / "file", 45_000)


@pytest.mark.parametrize("path", ["metadata", "root.zst"])
def test_a_server_that_sends_a_byte_now_and_then_is_left(
    machine: FakeMachine,
    publisher: Publisher,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits = Limits(slow_seconds=0.2, slowest=40_000, metadata_seconds=0.2, pause=0)
    monkeypatch.setattr("update.agent.online.Limits", lambda: limits)
    place = "/metadata/timestamp.json" if path == "metadata" else publisher.locate(path)
    publisher.server.put(place, Reply(b"x" * 1000 if path == "metadata" else b"x" * 45_000, drip=0.05))
    started = time.monotonic()
    assert main(["apply"], machine.host) == 1
    assert time.monotonic() - started < 20
    assert ("longer than 0 s" if path == "metadata" else "slower than 40000 bytes") in capsys.readouterr().err
    assert machine.list_images() == ["demo_1.efi"]


def test_an_image_with_keys_that_the_old_ones_know_nothing_of_trusts_those(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"], machine.host) == 0
    publisher.keys = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    root = Root(version=1, expires=NOW + 10 * DAY, consistent_snapshot=True)
    for role in ROLES:
        root.add_key(publisher.keys[role].public_key, role)
    metadata = Metadata(root)
    metadata.sign(publisher.keys["root"])
    publisher.publish()
    assert main(["check"], machine.host) == 1
    (machine.root / ROOT.lstrip("/")).write_bytes(metadata.to_bytes())  # the image that comes with the next update
    capsys.readouterr()
    assert main(["check"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 is there\n"


def test_a_root_that_nobody_has_signed_is_named(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine.root / ROOT.lstrip("/")).write_bytes(Metadata(Root(version=1, expires=NOW + DAY)).to_bytes())
    assert main(["check"], machine.host) == 1
    assert "what it says is not proven: root was signed by 0/" in capsys.readouterr().err


def test_a_kernel_image_that_cannot_be_written_leaves_nothing_to_reboot_for(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    real = machine.run

    def run(argv: Sequence[str], timeout: float = 0) -> str:
        if argv[0] == "systemd-sysupdate" and any("kernel" in word for word in argv):
            raise UpdateError("the EFI system partition is read-only")
        return real(argv, timeout)

    machine.run = run  # type: ignore[method-assign]
    assert main(["auto"], machine.host) == 1
    assert "read-only" in capsys.readouterr().err
    assert read_state(machine.host).pending is None
    assert not any(call[:2] == ["systemctl", "reboot"] for call in machine.calls)
    assert not (machine.root / "var/lib/update/staged").exists() or not list(
        (machine.root / "var/lib/update/staged").iterdir()
    )


def test_a_proven_version_is_not_taken_again_by_the_one_before(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply"], machine.host) == 0
    machine.count_boot()
    machine.boot("2", "b" * 32, counted=True)
    assert main(["boot"], machine.host) == main(["bless"], machine.host) == 0
    machine.boot("1", "c" * 32)  # chosen in the boot menu, or by 'rollback --once'
    assert main(["boot"], machine.host) == 0
    capsys.readouterr()
    assert main(["auto"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 is there, and has proven itself; it is started at the next boot\n"
    assert machine.list_images() == ["demo_1.efi", "demo_2.efi"]


def test_a_version_that_has_failed_is_taken_from_a_repository_when_it_is_asked_for(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply"], machine.host) == main(["rollback"], machine.host) == 0
    capsys.readouterr()
    assert main(["apply"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 is there, and not for this machine now: it has failed here\n"
    assert main(["apply", "--again"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]


def test_keys_are_replaced_by_a_new_root_that_the_old_one_signs(machine: FakeMachine, publisher: Publisher) -> None:
    assert main(["check"], machine.host) == 0
    old, new = publisher.keys["root"], {role: CryptoSigner.generate_ed25519() for role in ROLES}
    root = Root(version=2, expires=NOW + 10 * DAY, consistent_snapshot=True)
    for role in ROLES:
        root.add_key(new[role].public_key, role)
    metadata = Metadata(root)
    metadata.sign(old)
    metadata.sign(new["root"], append=True)
    publisher.serve("metadata/2.root.json", metadata.to_bytes())
    publisher.keys = new
    publisher.publish()
    assert main(["apply"], machine.host) == 0


@pytest.mark.parametrize("what", ["a user", "a lock", "the window", ""])
def test_a_machine_reboots_by_itself_when_nobody_minds(
    machine: FakeMachine, publisher: Publisher, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    lock = '["shutdown:sleep","backup","it runs","block",0,1]'
    machine.answers = {
        "loginctl": '[{"class": "user", "user": "ann"}]' if what == "a user" else '[{"class": "manager"}]',
        "busctl": '{"data": [[%s]]}' % (lock if what == "a lock" else ""),
    }
    if what == "the window":
        window = {"days": ["mon"], "begin": "02:00", "end": "04:00", "timezone": "UTC"}
        (machine.root / "etc").mkdir()
        (machine.root / "etc/os-update.json").write_text(json.dumps({"window": window}))
        machine.time = datetime(2026, 6, 2, tzinfo=UTC).timestamp()
    assert main(["auto"], machine.host) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    reboots = ["systemctl", "reboot", "--no-block"] in machine.calls
    assert reboots is (what == "")
    expected = {
        "a user": "the machine reboots later: ann is logged in",
        "a lock": "the machine reboots later: backup holds an inhibitor lock (it runs)",
        "the window": "the machine reboots later: it is not the time: the window for reboots is "
        "mon from 02:00 to 04:00, UTC",
        "": "the machine reboots into the new version",
    }
    assert said == expected[what]


def test_without_a_repository_it_says_where_versions_could_come_from(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"], machine.host) == 1
    assert "nothing says where versions are published" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "/etc/os-update.json cannot be read"),
        ('{"root": "x"}', "'root' is none of its keys, which are url, channel, rate, window, fleet_lock, pin, enabled"),
        (
            '{"url": "ftp://x"}',
            "url: 'ftp://x': this is no URL that starts with http:// or https://, and no oci://HOST/NAME",
        ),
        ('{"channel": "A B"}', "'A B' cannot be the name of a channel"),
        ('{"rate": "fast"}', "rate: 'fast' is not what is expected there"),
    ],
)
def test_a_machine_s_own_file_is_checked(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (machine.root / "etc").mkdir()
    (machine.root / "etc/os-update.json").write_text(text)
    assert main(["check"], machine.host) == 1
    assert message in capsys.readouterr().err
