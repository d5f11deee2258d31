"""What each runtime of containers costs: bytes, the way to the first answer, what it takes when nothing happens.

One container, the same image, on an image of ``base`` and one runtime. Preloaded: it is in the root. Pulled: it comes
from a registry on loopback at the first boot, which is the way of Fedora CoreOS and Flatcar, on the same OS.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from builder.core.store import Store
from tests.bench.measuring import measure_load
from tests.bench.preloaded import build, make_image, measure_root
from tests.support.registry import RegistryServer
from vm.fakes import Fakes
from vm.fakes.web import WebServer
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

HOST = "127.0.0.1:5000"  # the registry, as the guest calls it: on loopback every runtime speaks HTTP to it
SYSTEM = "name: {name}\nversion: 1.0.0\nfeatures: [{features}]\n"
PRELOADED = 'containers:\n  - {{name: web, image: "{image}", runtime: {runtime}, publish: ["8080:8080"]}}\n'
FORWARDED = """\
variant: buildos
version: 1.0.0
systemd:
  units:
    - name: registry.socket
      enabled: true
      contents: |
        [Socket]
        ListenStream={host}
        [Install]
        WantedBy=sockets.target
    - name: registry.service
      contents: |
        [Service]
        ExecStart=/usr/lib/systemd/systemd-socket-proxyd {registry}
    - name: pulled.service
      enabled: true
      contents: |
        [Unit]
        Wants=network-online.target {needs}
        After=network-online.target {needs}
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        TimeoutStartSec=15min
        {commands}
        [Install]
        WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Runtime:
    """How a runtime pulls and runs, in the words of its own command.

    Attributes:
        feature: of the definition.
        needs: the unit of its daemon.
        pull: command lines that pull an image and run it with a published port; none if it cannot.
        again: starts one more container of the preloaded image and ends when that has.
        store: where what it writes is.
    """

    feature: str
    needs: str
    pull: tuple[str, ...]
    again: str
    store: str


IMAGE = f"{HOST}/web:1"
RUNTIMES = {
    "podman": Runtime(
        "podman",
        "",
        (
            f"/usr/bin/podman pull --tls-verify=false {IMAGE}",
            f"/usr/bin/podman run --detach --publish 8080:8080 {IMAGE}",
        ),
        "podman run --rm --pull=never --entrypoint /usr/bin/busybox {} true",
        "/var/lib/containers",
    ),
    "docker": Runtime(
        "docker",
        "docker.socket",
        (f"/usr/bin/docker run --detach --publish 8080:8080 {IMAGE}",),
        "docker run --rm --pull=never --entrypoint /usr/bin/busybox {} true",
        "/var/lib/docker",
    ),
    "containerd": Runtime(
        "containerd",
        "containerd.service",
        (
            f"/usr/bin/ctr images pull --plain-http {IMAGE}",
            "/usr/bin/python3 -I -m firstboot.images network add pulled 8080:8080/tcp",
            "/usr/bin/ctr run --detach --runc-binary /usr/bin/crun --seccomp "
            f"--with-ns network:/run/netns/pulled {IMAGE} pulled",
        ),
        "ctr --namespace build-os run --rm --runc-binary /usr/bin/crun {} again /usr/bin/busybox true",
        "/var/lib/containerd",
    ),
    # Which pulls nothing: its images are the OS's own.
    "systemd": Runtime("pods", "", (), "systemctl restart web.service", "/var/lib/web"),
}


@dataclass(frozen=True)
class Idle:
    """A machine that has its container and is left alone: bytes, processes, and what a second container took."""

    memory: int
    processes: int
    stored: int
    again: float
    again_cpu: float


@dataclass(frozen=True)
class Answer:
    """From power-on to the container's first answer: seconds, CPU seconds, those of them after the login prompt."""

    wall: float
    cpu: float
    after_login: float


def measure(work: Path, runs: int) -> None:
    """Build an image for each runtime with and without the container, boot them, print a table."""
    store = Store.open()
    work.mkdir(parents=True)
    image = make_image(work, store)
    with WebServer() as web:
        registry = RegistryServer(web)
        registry.add("web", "1", image)
        base = build(work / "base", SYSTEM.format(name="base", features="base"), store)
        with _booted(base, None) as machine:
            machine.wait_unit("multi-user.target")
            nothing = _look(machine)
        print(f"containers by runtime: layers of {sum(map(len, image.layers)) / 1e6:.1f} MB, {runs} runs, medians")
        print(
            f"  {'':<11} {'adds':>8} {'preloaded: first answer':^35} {'pulled at the first boot':^22} "
            f"{'idle, over base':^18} {'one more':^16} {'written':>10}",
            flush=True,
        )
        for name, runtime in RUNTIMES.items():
            text = SYSTEM.format(name=name, features=f"base, {runtime.feature}")
            plain = build(work / f"{name}-plain", text, store)
            reference = f"{registry.host}/web:1"
            text += PRELOADED.format(image=reference, runtime=name)
            preloaded = build(work / name, text, store)
            rows = [_measure_preloaded(preloaded, runtime, reference) for _ in range(runs)]
            pulled = []
            if runtime.pull:
                config = work / f"{name}.yaml"
                config.write_text(_make_config(runtime, web.port))
                for _ in range(runs):
                    with _booted(plain, config) as machine:
                        pulled.append(_time_answer(machine))
            answers = [answer for answer, _ in rows]
            _show(name, measure_root(plain) - measure_root(base), answers, pulled, rows[-1][1], nothing)


def _make_config(runtime: Runtime, port: int) -> str:
    commands = "\n        ".join(f"ExecStart={line}" for line in runtime.pull)
    return FORWARDED.format(host=HOST, registry=f"{Fakes.HOST}:{port}", needs=runtime.needs, commands=commands)


def _show(name: str, added: int, answers: list[Answer], pulled: list[Answer], idle: Idle, nothing: Idle) -> None:
    late = statistics.median(answer.after_login for answer in answers)
    first = f"{_format(answers)}, {late:5.2f} after login"
    more = f"{(idle.memory - nothing.memory) / 1e6:6.1f} MB, {idle.processes - nothing.processes:2d} proc"
    print(
        f"  {name:<11} {added / 1e6:5.1f} MB {first:>35} {_format(pulled):>22} "
        f"{more:>18} {idle.again:5.2f} s {idle.again_cpu:5.2f} CPU {idle.stored:10,d}",
        flush=True,
    )


def _format(answers: list[Answer]) -> str:
    if not answers:
        return "-"
    wall, cpu = (statistics.median(values) for values in zip(*((each.wall, each.cpu) for each in answers), strict=True))
    return f"{wall:6.1f} s {cpu:6.1f} CPU s"


@contextmanager
def _booted(manifest: Path, config: Path | None) -> Iterator[Machine]:
    host = open_host(manifest, QuietConsole())
    with tempfile.TemporaryDirectory() as directory:
        folder = MachineFolder(Path(directory) / "vm")
        request = MachineRequest(config=config, memory=2048, restrict=config is None)
        spec = plan_machine(host.image, folder, host.verdict.accel, request)
        with Machine(spec, host.tools, host.make_deadline(300), folder=folder.root, store=host.store) as machine:
            yield machine


def _time_answer(machine: Machine) -> Answer:
    started = time.monotonic()
    machine.wait_console("login:")
    login = machine.cpu_seconds()
    machine.wait_http(8080)
    answered = machine.cpu_seconds()
    return Answer(time.monotonic() - started, answered, answered - login)


def _measure_preloaded(manifest: Path, runtime: Runtime, image: str) -> tuple[Answer, Idle]:
    with _booted(manifest, None) as machine:
        answer = _time_answer(machine)
        machine.wait_unit("multi-user.target")
        return answer, _look(machine, runtime, image)


def _look(machine: Machine, runtime: Runtime | None = None, image: str = "") -> Idle:
    load = measure_load(machine)
    if runtime is None:
        return Idle(load.used, load.programs, 0, 0, 0)
    stored = machine.run("du", "--summarize", "--bytes", "--one-file-system", runtime.store).stdout.split() or ["0"]
    started, cpu = time.monotonic(), machine.cpu_seconds()
    machine.succeed(runtime.again.format(image))
    return Idle(load.used, load.programs, int(stored[0]), time.monotonic() - started, machine.cpu_seconds() - cpu)
