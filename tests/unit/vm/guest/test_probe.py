"""The probe: its guest side as functions, its host side against a peer that may say anything."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import InputError, VmError
from vm.guest import credentials, probe
from vm.guest.credentials import Credential, make_probe_credentials, write_credentials
from vm.guest.probe_client import Probe, split_words
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier

pytestmark = pytest.mark.unit


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(**request: object) -> dict[str, Any]:
    return dict(probe.handle(json.dumps({"id": 7, **request}).encode()))


# In the guest


def test_a_file_goes_there_and_back(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    data = bytes(range(256))
    assert ask(op="write", path=path, data=b64(data), mode=0o600) == {"id": 7, "ok": {}}
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert ask(op="read", path=path) == {"id": 7, "ok": {"data": b64(data)}}


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT", 10)
    (tmp_path / "file").write_bytes(b"x" * 11)
    assert "larger than 10 bytes" in ask(op="read", path=str(tmp_path / "file"))["error"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"not json", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b'{"id": 7}', "KeyError"),
        (b'{"id": 7, "op": "format"}', "KeyError: 'format'"),
        (b'{"id": 7, "op": "read"}', "TypeError"),
        (b'{"id": 7, "op": "read", "path": "/nonexistent"}', "FileNotFoundError"),
    ],
)
def test_whatever_is_wrong_with_a_request_becomes_an_answer(line: bytes, error: str) -> None:
    assert error in str(probe.handle(line)["error"])


def test_a_units_properties_become_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], timeout: float, stdin: str = "") -> dict[str, object]:
        asked.append(argv)
        return {"status": 0, "stdout": b64(b"Id=x.service\nExecStart={ a=b }\n\nActiveState=active\n"), "stderr": ""}

    monkeypatch.setattr(probe, "run", run)
    answer = ask(op="unit", name="x.service", properties=["Id", "ActiveState"])
    assert answer["ok"]["properties"] == {"Id": "x.service", "ExecStart": "{ a=b }", "ActiveState": "active"}
    ask(op="unit", name="")
    assert asked == [
        ["/usr/bin/systemctl", "show", "--no-pager", "--property=Id,ActiveState", "--", "x.service"],
        ["/usr/bin/systemctl", "show", "--no-pager"],
    ]


def test_systemctls_complaint_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"status": 1, "stdout": "", "stderr": b64(b"Failed to connect to bus\n")}
    monkeypatch.setattr(probe, "run", lambda *_: result)
    assert ask(op="unit", name="x")["error"] == "OSError: Failed to connect to bus"


def test_only_the_end_of_a_long_output_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT", 5)
    with os.fdopen(os.memfd_create("out"), "w+b") as file:
        file.write(b"0123456789")
        file.flush()
        assert probe.keep_tail(file) == b64(b"56789")


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    assert probe.find_port(probe.PORT, str(tmp_path / "absent")) is None
    for device, name in (("vport1p1", "org.buildos.firstboot.0"), ("vport1p2", probe.PORT)):
        (tmp_path / device).mkdir()
        (tmp_path / device / "name").write_text(name + "\n")
    assert probe.find_port(probe.PORT, str(tmp_path)) == "/dev/vport1p2"
    assert probe.find_port("other", str(tmp_path)) is None


def test_it_serves_requests_that_come_in_pieces_or_together(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    served = threading.Thread(target=serve_until_gone, args=(theirs,), daemon=True)
    served.start()
    with ours, ours.makefile("rb") as answers:
        assert answers.readline() == b"\n"
        assert json.loads(answers.readline())["hello"] == 1
        ours.sendall(b'{"id": 1, "op": "pi')
        ours.sendall(b'ng"}\n\n{"id": 2, "op": "ping", "echo": "x"}\n')
        assert json.loads(answers.readline()) == {"id": 1, "ok": {}}
        assert json.loads(answers.readline()) == {"id": 2, "ok": {"echo": "x"}}
        theirs.shutdown(socket.SHUT_RDWR)
    served.join(5)
    assert not served.is_alive()


def serve_until_gone(sock: socket.socket) -> None:
    """On a real port, no peer means waiting for one; here it is the end of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vm.guest.probe.time.sleep", end)
        with pytest.raises(EOFError):
            probe.serve(sock.fileno())
    sock.close()


def end(seconds: float) -> None:
    raise EOFError


def test_a_probe_is_heard_after_one_that_was_killed_in_the_middle_of_a_line(guest: FakeGuest) -> None:
    talk = client(guest)
    guest.sock.sendall(b'{"id": 1, "ok": {"data": "' + b"x" * 100_000)
    served = threading.Thread(target=serve_until_gone, args=(guest.sock.dup(),), daemon=True)
    served.start()
    assert talk.wait(Deadline(60)).boot_id != ""
    talk.channel.close()
    served.join(5)


# How it gets there


def test_the_probe_is_delivered_as_credentials(tmp_path: Path) -> None:
    paths = write_credentials(make_probe_credentials(), tmp_path)
    unit, dropin, program = [path.read_text() for path in paths]
    prefix = "io.systemd.credential.binary:"
    assert unit.startswith(f"{prefix}systemd.extra-unit.buildos-probe.service=")
    assert dropin.startswith(f"{prefix}systemd.unit-dropin.multi-user.target~50-buildos-probe=")
    assert program.startswith(f"{prefix}buildos.probe=")
    assert base64.b64decode(program.partition("=")[2]) == Path(str(probe.__file__)).read_bytes()
    assert "Wants=buildos-probe.service" in base64.b64decode(dropin.partition("=")[2]).decode()
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)


def test_the_unit_names_the_credential_that_it_runs() -> None:
    unit = next(each for each in credentials.make_probe_credentials() if each.name.endswith(credentials.PROBE_UNIT))
    lines = unit.value.decode().splitlines()
    assert f"ImportCredential={credentials.PROBE_PROGRAM}" in lines
    assert f"ExecStart=/usr/bin/python3 -I -S %d/{credentials.PROBE_PROGRAM}" in lines


def test_a_binary_credential_survives() -> None:
    text = Credential("name", b"\x00\xff,=").make_smbios_string()
    assert "," not in text.partition("=")[2]
    assert base64.b64decode(text.partition("=")[2]) == b"\x00\xff,="


# On the host


class FakeGuest:
    """Answers each request with what a function makes of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], bytes] = lambda request: json.dumps(
            {"id": request["id"], "ok": {}}
        ).encode()

    def greet(self, hello: object = 1) -> None:
        self.sock.sendall(json.dumps({"hello": hello, "boot_id": "b", "monotonic": 2.0}).encode() + b"\n")

    def serve(self) -> None:
        with suppress(OSError), self.sock.makefile("rb") as file:
            for line in file:
                request = json.loads(line)
                self.requests.append(request)
                self.sock.sendall(self.answer(request) + b"\n")


@pytest.fixture
def guest() -> Iterator[FakeGuest]:
    ours, theirs = socket.socketpair()
    guest = FakeGuest(theirs)
    guest.ours = ours  # type: ignore[attr-defined]
    threading.Thread(target=guest.serve, daemon=True).start()
    yield guest
    ours.close()
    theirs.close()


def client(guest: FakeGuest, bad_news: Callable[[], BadNews | None] = lambda: None) -> Probe:
    made = Probe(guest.ours, Notifier(), bad_news, lambda: 9.0)  # type: ignore[attr-defined]
    made.channel.start()
    return made


def test_a_greeting_carries_both_clocks(guest: FakeGuest) -> None:
    talk = client(guest)
    guest.greet()
    hello = talk.wait(Deadline(60))
    assert (hello.boot_id, hello.monotonic, hello.seconds) == ("b", 2.0, 9.0)
    talk.channel.close()


def test_a_program_is_run_and_its_words_are_kept(guest: FakeGuest) -> None:
    guest.answer = lambda request: json.dumps(
        {"id": request["id"], "ok": {"status": 3, "stdout": b64(b"out\n"), "stderr": b64(b"\xff")}}
    ).encode()
    talk = client(guest)
    guest.greet()
    result = talk.run(["id -un 'a b'"], Deadline(60), b"in")
    assert result.argv == ("id", "-un", "a b")
    assert (result.status, result.stdout, result.stderr) == (3, "out\n", "\ufffd")
    assert guest.requests[0]["argv"] == ["id", "-un", "a b"]
    assert guest.requests[0]["stdin"] == b64(b"in")
    assert guest.requests[0]["timeout"] < 60
    talk.channel.close()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ('{"id": 1, "error": "FileNotFoundError: /x"}', "could not read /x: FileNotFoundError"),
        ('{"id": 1, "ok": 3}', "makes no sense"),
        ('{"id": 1, "ok": {"data": 3}}', "not base64"),
        ('{"id": 1, "ok": {"data": "*"}}', "not base64"),
        ('{"id": 1}', "makes no sense"),
        ('garbage\n{"id": 99, "ok": {}}\n{"id": 1, "error": "after garbage"}', "after garbage"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(guest: FakeGuest, answer: str, complaint: str) -> None:
    guest.answer = lambda _: answer.encode()
    talk = client(guest)
    guest.greet()
    with pytest.raises(VmError, match=complaint):
        talk.read("/x", Deadline(60))
    talk.channel.close()


def test_a_program_that_does_not_end_says_so(guest: FakeGuest) -> None:
    answer = {"status": None, "stdout": b64(b"half\n"), "stderr": ""}
    guest.answer = lambda request: json.dumps({"id": request["id"], "ok": answer}).encode()
    talk = client(guest)
    guest.greet()
    with pytest.raises(VmError, match="sleep 100 did not end within 1 s in the guest") as caught:
        talk.run(["sleep", "100"], Deadline(2))
    assert caught.value.details == ("half",)
    talk.channel.close()


def test_garbage_without_an_answer_is_shown(guest: FakeGuest) -> None:
    guest.answer = lambda _: b"\x00\x01 kernel noise"
    talk = client(guest)
    guest.greet()
    with pytest.raises(VmError, match="did not come within") as caught:
        talk.ask("ping", Deadline(0.2))
    assert "1 lines made no sense" in caught.value.details[0]
    talk.channel.close()


def test_bad_news_end_the_wait_for_an_answer(guest: FakeGuest) -> None:
    guest.answer = lambda _: b""
    news: list[BadNews] = []
    talk = client(guest, lambda: news[0] if news else None)
    guest.greet()
    talk.wait(Deadline(60))
    news.append(BadNews("the console shows a kernel panic"))
    with pytest.raises(VmError, match=r"a kernel panic \(while waiting for the probe to answer 'ping'\)"):
        talk.ask("ping", Deadline(60))
    talk.channel.close()


def test_a_guest_that_leaves_before_it_answers_has_done_what_it_was_told(guest: FakeGuest) -> None:
    guest.answer = lambda _: b""
    talk = client(guest)
    guest.greet()
    talk.leave("reboot", Deadline(60), lambda: 0 if guest.requests else None)
    assert [request["op"] for request in guest.requests] == ["reboot"]
    with pytest.raises(VmError, match="'poweroff' did not come within"):
        talk.leave("poweroff", Deadline(0.2), lambda: None)
    talk.channel.close()


def test_a_guest_that_refuses_to_leave_says_why(guest: FakeGuest) -> None:
    guest.answer = lambda request: json.dumps({"id": request["id"], "error": "OSError: no"}).encode()
    talk = client(guest)
    guest.greet()
    with pytest.raises(VmError, match="could not reboot : OSError: no"):
        talk.leave("reboot", Deadline(60), lambda: None)
    talk.channel.close()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("id -un core",), ["id", "-un", "core"]),
        (("touch '/var/a b'",), ["touch", "/var/a b"]),
        ((r"find /etc -exec ls {} \;",), ["find", "/etc", "-exec", "ls", "{}", ";"]),
        (("sh -c 'journalctl -b | wc -l > /x'",), ["sh", "-c", "journalctl -b | wc -l > /x"]),
        (("sh", "-c", "a | b"), ["sh", "-c", "a | b"]),
        (("systemctl list-units 'a*'\n",), ["systemctl", "list-units", "a*"]),
    ],
)
def test_a_command_is_words(argv: tuple[str, ...], words: list[str]) -> None:
    assert split_words(argv) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("journalctl -b | wc -l", "'|'"),
        ("true && false", "'&&'"),
        ("echo x > /etc/x", "'>'"),
        ("echo $(id)", "'$('"),
        ("cd /etc; ls", "';'"),
        ("ls\nls", "only a shell understands"),
        ("echo 'half", "cannot split"),
        (" ", "an empty command"),
    ],
)
def test_what_only_a_shell_understands_is_refused_with_the_way_to_say_it(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        split_words((text,))
    assert caught.value.hint is None or 'run("sh", "-c", "...")' in caught.value.hint
