"""Conversations over a socket, with peers that behave and peers that do not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import VmError
from vm.guest.firstboot_events import FirstbootEvents
from vm.qemu.qmp import Qmp
from vm.waiting.channel import LineChannel
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier

pytestmark = pytest.mark.unit


class Peer:
    """The other end of a channel."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.received: list[dict[str, Any]] = []
        self.news = threading.Event()

    def take(self, message: dict[str, Any]) -> None:
        self.received.append(message)
        if message.get("last"):
            self.news.set()

    def sends(self, *lines: bytes) -> None:
        self.theirs.sendall(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.ours.close()
    peer.theirs.close()


def listen(peer: Peer, limit: int = 1000) -> LineChannel:
    channel = LineChannel(peer.ours, "peer", peer.take, limit)
    channel.start()
    return channel


def test_objects_arrive_and_garbage_is_counted(peer: Peer) -> None:
    channel = listen(peer)
    peer.sends(b'{"a": 1}', b"", b"nonsense \xff", b"[1]", b"3", b"[" * 900, b'{"last": 1}')
    assert peer.news.wait(5)
    assert peer.received == [{"a": 1}, {"last": 1}]
    assert channel.garbage == 4
    channel.close()


def test_a_line_that_is_too_long_is_dropped_and_the_next_is_heard(peer: Peer) -> None:
    channel = listen(peer)
    peer.theirs.sendall(b"x" * 5000)
    peer.theirs.sendall(b"x" * 300_000 + b'"}\n{"last": 1}\n')
    assert peer.news.wait(5)
    assert peer.received == [{"last": 1}]
    assert channel.garbage == 1
    assert channel.last_garbage == "x" * 200
    channel.close()


def test_a_peer_that_does_not_read_does_not_hold_us_up(peer: Peer) -> None:
    channel = listen(peer)
    with pytest.raises(VmError, match="the peer does not read what is sent to it"):
        channel.send({"data": "x" * (8 << 20)}, Deadline(0.1))
    channel.close()


def test_a_peer_that_is_gone_is_an_error(peer: Peer) -> None:
    channel = listen(peer)
    peer.theirs.close()
    with pytest.raises(VmError, match="the peer is gone"):
        channel.send({"data": "x"}, Deadline(1))
    channel.close()
    with pytest.raises(VmError, match="the peer is gone"):
        channel.send({}, Deadline(1))


# QMP


class FakeMonitor(threading.Thread):
    """Answers what it is told to."""

    def __init__(self, sock: socket.socket, answers: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.answer = answers
        self.requests: list[dict[str, Any]] = []

    def run(self) -> None:
        self.say({"QMP": {"version": {}}})
        with suppress(OSError), self.sock.makefile("rb") as file:
            for line in file:
                request = json.loads(line)
                self.requests.append(request)
                for answer in self.answer.get(request["execute"], [{"return": {}}]):
                    self.say(answer if "event" in answer else {**answer, "id": request["id"]})

    def say(self, message: dict[str, Any]) -> None:
        self.sock.sendall(json.dumps(message).encode() + b"\r\n")


def monitor(peer: Peer, command: str = "", *answers: dict[str, Any]) -> tuple[Qmp, FakeMonitor]:
    fake = FakeMonitor(peer.theirs, {command: list(answers)})
    fake.start()
    qmp = Qmp(peer.ours, Notifier())
    qmp.connect(Deadline(60))
    return qmp, fake


def test_qmp_negotiates_and_commands(peer: Peer) -> None:
    qmp, fake = monitor(peer, "query-status", {"return": {"status": "prelaunch"}})
    assert qmp.read_status(Deadline(60)) == "prelaunch"
    qmp.resume(Deadline(60))
    qmp.save_screen(Path("/tmp/x.png"), Deadline(60))
    assert [request["execute"] for request in fake.requests] == [
        "qmp_capabilities",
        "query-status",
        "cont",
        "screendump",
    ]
    assert fake.requests[-1]["arguments"] == {"filename": "/tmp/x.png", "format": "png"}
    qmp.close()


def test_qmp_says_what_qemu_refused(peer: Peer) -> None:
    qmp, _ = monitor(peer, "screendump", {"error": {"class": "GenericError", "desc": "There is no console"}})
    with pytest.raises(VmError, match="QEMU refused 'screendump': There is no console"):
        qmp.save_screen(Path("x"), Deadline(60))
    qmp.close()


def test_qmp_keeps_events_that_come_between(peer: Peer) -> None:
    qmp, _ = monitor(peer, "system_reset", {"event": "RESET", "data": {"guest": False}}, {"return": {}})
    before = qmp.event_count
    qmp.reset(Deadline(60))
    assert qmp.wait_event("RESET", Deadline(60), before)["data"] == {"guest": False}
    assert qmp.find_event("RESET", qmp.event_count) is None
    qmp.close()


def test_qmp_learns_which_ports_qemu_really_has(peer: Peer) -> None:
    table = (
        "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]  11       127.0.0.1 35377       10.0.2.15    22     0     0\r\n"
        "  TCP[ESTABLISHED]   12       127.0.0.1 40000       10.0.2.15    22     0     0\r\n"
        "  TCP[HOST_FORWARD]  10       127.0.0.1 35995       10.0.2.15    80     0     0\r\n"
    )
    qmp, _ = monitor(peer, "human-monitor-command", {"return": table})
    assert qmp.list_forwards(Deadline(60)) == {22: 35377, 80: 35995}
    qmp.close()


def test_qmp_says_why_a_port_cannot_be_forwarded(peer: Peer) -> None:
    said = "Could not set up host forwarding rule 'tcp:127.0.0.1:80-:80'\r\n"
    qmp, fake = monitor(peer, "human-monitor-command", {"return": said})
    with pytest.raises(VmError, match="cannot forward to the guest's port 80: Could not set up"):
        qmp.add_forward(80, Deadline(60), host=80)
    assert fake.requests[-1]["arguments"] == {"command-line": "hostfwd_add net0 tcp:127.0.0.1:80-:80"}
    qmp.close()


def test_qmp_does_not_wait_for_a_qemu_that_is_gone(peer: Peer) -> None:
    qmp = Qmp(peer.ours, Notifier(), lambda: BadNews("QEMU ended with status 1", ("no such cpu",)))
    with pytest.raises(VmError, match="QEMU ended with status 1") as caught:
        qmp.connect(Deadline(60))
    assert caught.value.details == ("no such cpu",)
    qmp.close()


def test_qmp_has_a_deadline(peer: Peer) -> None:
    qmp = Qmp(peer.ours, Notifier())
    with pytest.raises(VmError, match=r"QEMU's greeting did not come within 0\.1 s"):
        qmp.connect(Deadline(0.1))
    qmp.close()


# The first boot's port


@pytest.fixture
def events(peer: Peer, tmp_path: Path) -> Iterator[FirstbootEvents]:
    listener = FirstbootEvents(peer.ours, Notifier(), lambda: 7.5, tmp_path / "firstboot-result.json")
    listener.channel.start()
    yield listener
    listener.channel.close()


def wait_until_finished(events: FirstbootEvents) -> None:
    deadline = Deadline(60)
    while events.find_finished() is None:
        assert not deadline.expired
        threading.Event().wait(0.01)


def test_a_good_first_boot_is_no_bad_news(peer: Peer, events: FirstbootEvents, tmp_path: Path) -> None:
    peer.sends(b'{"event": "started", "image": "demo"}', b'{"event": "finished", "result": "ok", "seconds": 1.5}')
    wait_until_finished(events)
    assert events.find_bad_news() is None
    assert [(event.kind, event.seconds) for event in events.events] == [("started", 7.5), ("finished", 7.5)]
    assert json.loads((tmp_path / "firstboot-result.json").read_text())["seconds"] == 1.5


def test_a_failed_first_boot_is_told_in_the_guests_words(peer: Peer, events: FirstbootEvents) -> None:
    message = {"event": "finished", "result": "failed", "message": "no user \x1b[31mbob", "screen": "line 1\nline 2"}
    peer.sends(json.dumps(message).encode())
    wait_until_finished(events)
    news = events.find_bad_news()
    assert news is not None
    assert news.what == "first boot failed: no user bob"
    assert news.details == ("line 1", "line 2")


def test_a_result_that_is_neither_is_a_failure(peer: Peer, events: FirstbootEvents) -> None:
    peer.sends(b'{"event": "finished", "screen": ["no", "text"]}')
    wait_until_finished(events)
    news = events.find_bad_news()
    assert news is not None
    assert news.what == "first boot failed: no reason given"


def test_a_flood_of_events_is_bounded(peer: Peer, events: FirstbootEvents) -> None:
    peer.sends(*[b'{"event": "started"}'] * 500, b"garbage")
    deadline = Deadline(60)
    while not events.channel.garbage:
        assert not deadline.expired
        threading.Event().wait(0.01)
    assert len(events.events) == 100
    events.forget()
    assert events.events == ()
