"""The host's side of the conversation with :mod:`vm.guest.probe`. The guest may be broken or hostile."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from builder.core.errors import InputError, VmError
from vm.waiting.channel import LineChannel, Message
from vm.waiting.deadline import Clock, Deadline
from vm.waiting.wait import BadNews, Notifier, Wait, is_hidden

__tracebackhide__ = is_hidden
MAX_ANSWER = 16 << 20  # bytes: two outputs of 4 MiB in base64, and some
ONLY_LOOK = frozenset({"ping", "unit", "read"})  # operations that change nothing, so they may be asked for twice


class ProbeSilent(VmError):
    """Whom we asked is gone; whether it had done what we asked for is not known."""


@dataclass(frozen=True)
class Greeting:
    """The probe is there: ``seconds`` on the host since power-on, ``monotonic`` the guest's clock at that moment."""

    boot_id: str
    monotonic: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """A program's end in the guest. ``status`` as :attr:`subprocess.Popen.returncode`."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class Probe:
    """Asks one thing at a time.

    Args:
        bad_news: why the guest will not answer any more, if so.
        seconds: seconds since power-on.
        said_hello: called, on the reader's thread, when the probe starts.
        evidence: what else to show when it does not answer.
    """

    def __init__(
        self,
        sock: socket.socket,
        notifier: Notifier,
        bad_news: Callable[[], BadNews | None],
        seconds: Clock,
        said_hello: Callable[[], None] = lambda: None,
        evidence: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._notifier = notifier
        self._bad_news = bad_news
        self._seconds = seconds
        self._said_hello = said_hello
        self._look_around = evidence
        self._lock = threading.Lock()
        self._number = 0
        self._answer: Message | None = None
        self._first_boot_id: str | None = None  # since the last time we forgot
        self.hello: Greeting | None = None
        self.channel = LineChannel(sock, "probe", self._receive, limit=MAX_ANSWER)

    def remember(self, hello: Greeting | None) -> None:
        """The machine goes on from a moment that it was in before: this is whom it ran then, if anybody."""
        self.hello = hello
        self._first_boot_id = None if hello is None else hello.boot_id

    def forget(self) -> None:
        """The machine has rebooted: only a hello of the new boot counts, which may have come before we heard of it."""
        if self.hello is not None and self.hello.boot_id == self._first_boot_id:
            self.hello = None
        self._first_boot_id = self.hello.boot_id if self.hello is not None else None

    def wait(self, deadline: Deadline) -> Greeting:
        """Wait until the probe runs.

        Raises:
            VmError: bad news, or the deadline.
        """
        wait = Wait("the test probe in the guest", deadline, self._evidence)
        return self._notifier.wait_until(lambda: self.hello, wait, self._why_not)

    def ask(self, operation: str, deadline: Deadline, **fields: object) -> Message:
        """Ask for an operation of :data:`vm.guest.probe.OPERATIONS` and return what it returned.

        A probe that is killed before it answers is started again; what only looks is then asked for once more.

        Raises:
            VmError: it failed, bad news, or the deadline.
        """
        while True:
            try:
                return self._converse(operation, deadline, None, fields) or {}
            except ProbeSilent:
                if operation not in ONLY_LOOK or deadline.expired:
                    raise

    def leave(self, how: str, deadline: Deadline, gone: Callable[[], object | None]) -> None:
        """Tell the guest to reboot or power off. It may be gone before its answer is: that is an answer, too.

        Raises:
            VmError: it refuses, bad news, or the deadline.
        """
        self._converse(how, deadline, gone, {})

    def _converse(
        self, operation: str, deadline: Deadline, gone: Callable[[], object | None] | None, fields: dict[str, object]
    ) -> Message | None:
        """Ask, and return the result; None if ``gone``, or another boot's probe, says that the guest has left."""
        hello = self.wait(deadline)
        with self._lock:
            self._number += 1
            self._answer = None

            def end() -> Message | None:
                now = self.hello  # looked at before the answer, which came before it if it came
                if self._answer is not None:
                    return self._answer
                other = now is not None and now is not hello
                rebooted = now is not None and now.boot_id != hello.boot_id
                if gone is not None and (rebooted or gone() is not None):
                    return {}
                if other and self._why_not() is None:
                    what = "the guest has rebooted" if rebooted else "the probe was started again"
                    raise ProbeSilent(f"{what} before it answered (while waiting for the probe to {operation})")
                return None

            try:
                self.channel.send({"id": self._number, "op": operation, **fields}, deadline)
            except VmError:
                if not self.channel.ended:
                    raise
                # Waiting for the answer tells why there is nobody.
            wait = Wait(f"the probe to answer '{operation}'", deadline, self._evidence)
            answer = self._notifier.wait_until(end, wait, self._why_not)
        if not answer:
            return None
        if "error" in answer:
            raise VmError(f"the guest could not {operation} {_brief(fields)}: {str(answer['error'])[:2000]}")
        result = answer.get("ok")
        if not isinstance(result, dict):
            raise VmError(f"the probe's answer to '{operation}' makes no sense")
        return result

    def run(self, argv: Sequence[str], deadline: Deadline, stdin: bytes = b"") -> Result:
        """Run a program in the guest, as root.

        Raises:
            VmError: it cannot be started, or does not end before the deadline.
        """
        result = self.run_unless(None, argv, deadline, stdin)
        assert result is not None, "only a guest that is gone gives no result"
        return result

    def run_unless(
        self, gone: Callable[[], object | None] | None, argv: Sequence[str], deadline: Deadline, stdin: bytes = b""
    ) -> Result | None:
        """The same; None if the guest may reboot, and ``gone`` or its next boot's probe says that it has."""
        words = split_words(argv)
        # The guest gives up a little earlier than we do, so that the message is about the program.
        timeout = max(1.0, deadline.remaining - 2)
        request = {"argv": words, "timeout": timeout, "stdin": base64.b64encode(stdin).decode()}
        fields = self._converse("run", deadline, gone, request)
        if fields is None:
            return None
        out, err = _text(fields.get("stdout")), _text(fields.get("stderr"))
        status = fields.get("status")
        if not isinstance(status, int):
            raise VmError(
                f"{shlex.join(words)} did not end within {timeout:.0f} s in the guest",
                details=(*out.splitlines()[-10:], *err.splitlines()[-10:]),
            )
        return Result(tuple(words), status, out, err)

    def show_unit(self, name: str, deadline: Deadline, properties: Sequence[str] = ()) -> dict[str, str]:
        """The properties of a unit (``systemctl show``)."""
        answer = self.ask("unit", deadline, name=name, properties=list(properties)).get("properties")
        if not isinstance(answer, dict):
            raise VmError(f"the probe's answer about {name} makes no sense")
        return {str(key): str(value) for key, value in answer.items()}

    def show_manager(self, deadline: Deadline, properties: Sequence[str] = ()) -> dict[str, str]:
        """The properties of the service manager itself."""
        return self.show_unit("", deadline, properties)

    def read(self, path: str, deadline: Deadline) -> bytes:
        """The content of a file in the guest (up to 4 MiB)."""
        return _bytes(self.ask("read", deadline, path=path).get("data"))

    def write(self, path: str, data: bytes, deadline: Deadline, mode: int = 0o644) -> None:
        """Write a file in the guest."""
        self.ask("write", deadline, path=path, data=base64.b64encode(data).decode(), mode=mode)

    def _why_not(self) -> BadNews | None:
        if (news := self._bad_news()) is not None:
            return news
        return BadNews("QEMU closed the probe's port") if self.channel.long_ended else None

    def _evidence(self) -> tuple[str, ...]:
        if self.channel.garbage == 0:
            return self._look_around()
        nonsense = f"{self.channel.garbage} lines made no sense, the last: {self.channel.last_garbage!r}"
        return (nonsense, *self._look_around())

    def _receive(self, message: Message) -> None:
        if "hello" in message:
            monotonic = message.get("monotonic")
            known = monotonic if isinstance(monotonic, (int, float)) else 0.0
            boot_id = str(message.get("boot_id"))[:64]
            self._first_boot_id = self._first_boot_id or boot_id
            hello = Greeting(boot_id, float(known), self._seconds())
            self._said_hello()  # before: who waits for it may rely on what follows from it
            self.hello = hello
        elif message.get("id") == self._number:
            self._answer = message
        self._notifier.notify()


def split_words(argv: Sequence[str]) -> list[str]:
    """A command as words: several are taken as they are, a single one is split as a shell does.

    Raises:
        InputError: it has what only a shell understands, and there is none.
    """
    if len(argv) != 1:
        return list(argv)
    text = argv[0].strip()
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"cannot split {text!r} into words: {error}", hint=_WORDS) from None
    if not words:
        raise InputError("an empty command cannot be run")
    if operator := _OPERATOR.search(_QUOTED.sub("", text)):
        raise InputError(
            f"{text!r} has {operator[0]!r}, which only a shell understands, and there is none", hint=_WORDS
        )
    return words


_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_OPERATOR = re.compile(r"&&|\|\||>>|<<|\$\(|[|;&<>`\n]")
_WORDS = 'give the words one by one, or start a shell: run("sh", "-c", "...")'


def _brief(fields: dict[str, object]) -> str:
    return str(fields.get("path") or fields.get("name") or fields.get("argv") or "")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise VmError("the probe sent something that is not base64") from None


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8", errors="replace")
