"""JSON objects, one a line, over a socket: QMP, the probe and the first boot all speak so.

The other end may be a guest that is broken or hostile: lines are bounded, garbage is counted and dropped, and a peer
that does not read cannot hold us up.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from builder.core.errors import VmError
from vm.waiting.deadline import Deadline
from vm.waiting.wait import is_hidden

__tracebackhide__ = is_hidden
Message = dict[str, Any]

KIB = 1 << 10
MAX_GARBAGE_SHOWN = 200
# A QEMU that ends closes its sockets a moment before we can see how it ended.
EXPLANATION_SECONDS = 2.0


class LineChannel:
    """One end of a conversation.

    Args:
        sock: a connected socket; closed by :meth:`close`.
        name: for messages about it.
        receive: called on the reader's thread with each object that arrives; must not block.
        limit: bytes that a line may have; longer ones are dropped.
    """

    def __init__(
        self, sock: socket.socket, name: str, receive: Callable[[Message], None], limit: int = 256 * KIB
    ) -> None:
        self._socket = sock
        self._name = name
        self._receive = receive
        self._limit = limit
        self._sending = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self.garbage = 0
        self.last_garbage = ""
        self._closed_at: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the other end has hung up."""
        return self._closed_at is not None

    @property
    def long_ended(self) -> bool:
        """Whether it has hung up, and we have waited for a better explanation than that."""
        return self._closed_at is not None and time.monotonic() - self._closed_at > EXPLANATION_SECONDS

    def start(self) -> None:
        """Begin to listen."""
        self._reader.start()

    def send(self, message: Mapping[str, Any], deadline: Deadline) -> None:
        """Send an object.

        Raises:
            VmError: the other end is gone, or has stopped reading.
        """
        data = memoryview(json.dumps(message).encode() + b"\n")
        with self._sending:
            while data:
                try:
                    # Not a timeout on the socket: that would also govern the reader.
                    _, writable, _ = select.select([], [self._socket], [], min(1.0, deadline.remaining))
                    if writable:
                        data = data[self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    continue
                except (OSError, ValueError) as error:  # ValueError: closed on our side
                    self._note_end()
                    raise VmError(f"the {self._name} is gone: {error}") from error
                if not writable and deadline.expired:
                    raise VmError(f"the {self._name} does not read what is sent to it")

    def close(self) -> None:
        """Hang up and wait for the reader to notice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(5)
        self._socket.close()

    def _read(self) -> None:
        pending = bytearray()
        skipping = False
        try:
            while chunk := self._socket.recv(1 << 16):
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    if not skipping:
                        pending += line
                        self._take(bytes(pending))
                    pending.clear()
                    skipping = False
                if not skipping:
                    pending += rest
                if len(pending) > self._limit:
                    self._drop(bytes(pending[:MAX_GARBAGE_SHOWN]))
                    pending.clear()
                    skipping = True
        except OSError:
            pass  # closed under us
        finally:
            self._note_end()

    def _note_end(self) -> None:
        if self._closed_at is None:
            self._closed_at = time.monotonic()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            self._receive(message)
        else:
            self._drop(line)

    def _drop(self, line: bytes) -> None:
        self.garbage += 1
        self.last_garbage = line[:MAX_GARBAGE_SHOWN].decode("utf-8", errors="replace")
