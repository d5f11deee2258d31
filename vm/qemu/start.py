"""Start QEMU with all its wires in our hand: every socket exists before the process that uses it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from builder.core.tools import Tools, stop
from vm.guest import firstboot_events, probe
from vm.guest.console import SerialReader, Transcript
from vm.network.segment import Nic, Segment
from vm.qemu.argv import make_argv
from vm.qemu.tpm import make_swtpm_argv
from vm.spec import Cable, ListeningFd, Port, SocketFd, VmSpec
from vm.spec.folder import MachineFolder


@dataclass(frozen=True)
class Connection:
    """A QEMU that has been started, its processors halted, and our ends of its wires."""

    process: subprocess.Popen[bytes]
    serial: socket.socket
    qmp: socket.socket
    firstboot: socket.socket
    probe: socket.socket

    def listen(self, transcript: Transcript, stack: ExitStack) -> None:
        """Read the serial line into a transcript until ``stack`` closes."""
        reader = SerialReader(self.serial, transcript)
        reader.start()

        def hang_up() -> None:
            if self.process.returncode is not None:
                reader.join(1.0)  # the last words of a QEMU that ended
            if reader.is_alive():
                self.serial.shutdown(socket.SHUT_RDWR)
                reader.join(5.0)
            self.serial.close()

        stack.callback(hang_up)


def connect(
    spec: VmSpec,
    tools: Tools,
    folder: MachineFolder,
    stack: ExitStack,
    *,
    probe_port: bool,
    keep: Callable[[], bool] | None = None,
    cables: Sequence[tuple[Segment, Nic]] = (),
) -> Connection:
    """Start QEMU; ``stack`` ends it when it closes.

    Args:
        probe_port: whether the guest gets the probe's port.
        cables: networks that it is plugged in to, and as whom.
        keep: start it so that it can go on without us, and ask this when ``stack`` closes.
    """

    def start(command: Sequence[str], fds: Sequence[int]) -> AbstractContextManager[subprocess.Popen[bytes]]:
        # It keeps the log open by itself. In a session of its own: Ctrl-C is for us, and we end it in good order.
        if keep is not None:
            return spawn_apart(tools, command, fds, log, keep)
        return tools.spawn(*command, stdout=log, stderr=log, pass_fds=fds, new_session=True)

    first, first_theirs = socket.socketpair()
    probe_ours, probe_theirs = socket.socketpair()
    theirs = [first_theirs, probe_theirs]
    plugged = [(segment.plug(nic), nic) for segment, nic in cables]
    theirs += [end for end, _ in plugged]
    if keep is not None:
        # Whoever comes after us finds both at their paths.
        listener, console = listen_at(folder.monitor), listen_at(folder.console)
        theirs += [listener, console]
        monitor: SocketFd | ListeningFd = ListeningFd(listener.fileno())
        line: SocketFd | ListeningFd = ListeningFd(console.fileno(), folder.serial_log)
        qmp, serial = connect_to(folder.monitor), connect_to(folder.console)
    else:
        qmp, qmp_theirs = socket.socketpair()
        serial, serial_theirs = socket.socketpair()
        theirs += [qmp_theirs, serial_theirs]
        monitor, line = SocketFd(qmp_theirs.fileno()), SocketFd(serial_theirs.fileno())
    ports = [Port(firstboot_events.PORT, SocketFd(first_theirs.fileno()))]
    if probe_port:
        ports.append(Port(probe.PORT, SocketFd(probe_theirs.fileno())))
    tpm: socket.socket | None = None
    if spec.tpm is not None:
        tpm, tpm_theirs = socket.socketpair()
        theirs += [tpm, tpm_theirs]
        spec = replace(spec, tpm_control=SocketFd(tpm_theirs.fileno()))
    wired = replace(
        spec,
        paused=True,
        serial=line,
        qmp=monitor,
        ports=tuple(ports),
        cables=tuple(Cable(end.fileno(), nic.mac) for end, nic in plugged),
    )
    try:
        log = stack.enter_context(folder.qemu_log.open("ab"))
        if tpm is not None and spec.tpm is not None:
            spec.tpm.mkdir(mode=0o700, exist_ok=True)
            command = make_swtpm_argv(spec.tpm, tpm.fileno())
            stack.enter_context(start(command, [tpm.fileno()]))
        fds = [end.fileno() for end in theirs if end is not tpm]
        process = stack.enter_context(start(make_argv(wired), fds))
    except BaseException:
        for end in (serial, first, probe_ours, qmp):
            end.close()
        raise
    finally:
        # QEMU has its own copies; ours would keep us from noticing that it is gone.
        for end in theirs:
            end.close()
    return Connection(process, serial, qmp, first, probe_ours)


@contextmanager
def spawn_apart(
    tools: Tools, command: Sequence[str], fds: Sequence[int], log: BinaryIO, keep: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that goes on after the block, and after us, if ``keep`` then says so."""
    process = subprocess.Popen(
        tools.make_argv(*command, outlive=True),
        env=tools.make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=fds,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if not keep():
            stop(process)


def listen_at(path: Path) -> socket.socket:
    """A listening Unix socket, also where the path is longer than the 107 bytes that an address may have."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    with _directory(path.parent) as short:
        sock.bind(f"{short}/{path.name}")
    sock.listen(5)
    return sock


def connect_to(path: Path) -> socket.socket:
    """Connect to a Unix socket at a path of any length.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _directory(path.parent) as short:
            sock.connect(f"{short}/{path.name}")
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _directory(path: Path) -> Iterator[str]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
