"""A server of the standard library on a thread of its own, for as long as a block."""

from __future__ import annotations

import threading
from socketserver import TCPServer
from types import TracebackType
from typing import Self

LOOK_SECONDS = 0.05  # how long its end may take to be noticed


class LoopbackServer:
    """Serves from the beginning of the block to its end."""

    def __init__(self, server: TCPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(LOOK_SECONDS,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """On 127.0.0.1."""
        return int(self._server.server_address[1])
