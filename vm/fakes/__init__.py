"""Servers that a test's machines talk to, on loopback: made for the test, told to be slow, wrong or dead.

A guest with a ``user`` network that is not restricted reaches them at :data:`HOST`::

    def test_fetches(vm_factory, fakes):
        web = fakes.web()
        web.put("/page", b"hello")
        vm = vm_factory(config=..., restrict=False)
        ...
        assert web.asked("/page")
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.core.tools import Tools
from vm.fakes.authority import Authority
from vm.fakes.datagrams import DnsServer, NtpServer, TftpServer
from vm.fakes.proxy import Proxy
from vm.fakes.registry import Registry
from vm.fakes.tang import Tang
from vm.fakes.web import WebServer

HOST = "10.0.2.2"  # this host, in QEMU's user network


class Fakes:
    """Makes servers; all of them end with the block.

    Args:
        tools: where openssl is.
        directory: for certificates.
    """

    HOST = HOST

    def __init__(self, tools: Tools, directory: Path) -> None:
        self._tools = tools
        self._directory = directory
        self._stack = ExitStack()
        self._authority: Authority | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def authority(self) -> Authority:
        """A certificate authority of this test's own; made when it is first asked for.

        Raises:
            ToolError, CapabilityError: the tools tree has no openssl, or it failed.
        """
        if self._authority is None:
            self._authority = Authority(self._tools, self._directory)
        return self._authority

    def web(self, *, tls: bool = False) -> WebServer:
        """HTTP, or HTTPS with a certificate of the authority for this host by all its names."""
        certificate = self.authority.issue(HOST, "127.0.0.1", "localhost") if tls else None
        return self._stack.enter_context(WebServer(certificate))

    def registry(self, *, tls: bool = False) -> Registry:
        """A registry of container images (OCI Distribution 1.1, pull only)."""
        return Registry(self.web(tls=tls))

    def tang(self) -> Tang:
        """A Tang server, over HTTP."""
        return Tang(self.web())

    def proxy(self) -> Proxy:
        """An HTTP proxy that leads to servers on loopback, whatever they are called."""
        return self._stack.enter_context(Proxy())

    def dns(self, names: dict[str, str]) -> DnsServer:
        """A name server that knows these names and their IPv4 addresses."""
        return self._stack.enter_context(DnsServer(names))

    def ntp(self, *, offset: float = 0.0) -> NtpServer:
        """A time server whose clock is ``offset`` seconds fast."""
        return self._stack.enter_context(NtpServer(offset))

    def tftp(self, files: dict[str, bytes]) -> TftpServer:
        """A TFTP server with these files."""
        return self._stack.enter_context(TftpServer(files))
