"""One machine and five versions: it takes them one after the other, and goes back from those that are not well.

Versions 2 and 3 are published as docs/publishing.md says and taken from a web server by the unit that the timer starts:
the second over a connection that is cut, the third as deltas of what the machine has. The others are brought on a disk.
An extension of the machine goes with each of them but those, which have none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from builder.build import BuildRequest, build_extension
from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.signing import make_key_pair, read_key_pair
from builder.publishing.extensions import read_extension
from tests.support.asker import Asker
from tests.support.boot_menu import choose_in_menu
from tests.support.machines import booted, build_text
from tests.support.payloads import make_carrier, write_payload
from vm.fakes import Fakes
from vm.fakes.web import HttpRequest, Reply, WebServer
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "out" / "updates"
DEFINITION = """\
name: updated
version: "{version}"
features: [base, updates, extensions]
overlays: [sick]
units: [sick]
apps:
  - {{name: web, directory: app, module: web, listen: {{ports: [8080]}}, ready: http, health: /health, gate: {gate}}}
outputs: [raw, update]
disk: {{size: 3G, esp: 260M, slot: 600M}}
# On a busy host devices and services take longer than 90 seconds, and a version must not fail for that.
kernel: {{command_line: [systemd.default_device_timeout_sec=600, systemd.default_timeout_start_sec=600]}}
updates:
  # Nobody is there: the machine's own file says where its server is.
  url: https://updates.example/
  root: root.json
  tries: 1
  boot_minutes: 20
  health: [healthy.service]
  migrations: [migrate.service]
"""
EXTENSION = """\
kind: extension
name: tool
of: os.yaml
description: Says of which version it is.
overlays: [tool]
units: [tool]
presets: {enable: [tool.service]}
"""
TOOL = """\
[Unit]
Description=Say of Which Version the Extension Is

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/cp /usr/lib/tool /run/tool

[Install]
WantedBy=multi-user.target
"""
# Something that answers, to see for how long nothing does. In version 5 it says nothing, and that counts there
# alone, for a busy host is slower than an app may be.
APP = """\
import socket, time

with socket.create_server(("", 8080)) as server, open("/usr/lib/os-release", encoding="utf-8") as release:
    silent = "IMAGE_VERSION=5\\n" in release
    while True:
        with server.accept()[0] as client:
            if silent:
                time.sleep(3600)
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
"""
MIGRATE = """\
[Unit]
Description=Note from Which Version to Which

[Service]
ExecStart=/usr/bin/sh -c 'echo "$UPDATE_FROM $UPDATE_TO" >> /var/lib/migrations'
"""
# What the timer starts, and how much memory it and the largest program that it starts have had at most.
MEASURED = """\
import resource, sys
from update.agent.command import main
status = main(["auto"])
for name in ("SELF", "CHILDREN"):
    print("memory", name, resource.getrusage(getattr(resource, f"RUSAGE_{name}")).ru_maxrss, flush=True)
sys.exit(status)
"""
MEASURE = """\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I /run/measured.py
"""
MOST_MEMORY = 64 << 10  # KiB
# All versions have it, so that they differ in nothing but their number.
HEALTHY = """\
[Unit]
Description=Well, Unless This Is Version 3

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sh /usr/lib/healthy
"""
SICK = """\
. /usr/lib/os-release
test "$IMAGE_VERSION" != 3 && exit
echo "the third version is sick"
exit 1
"""


def build_os(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "builder", *arguments], check=True, cwd=REPOSITORY)


def build_version(version: str, store: Store) -> Path:
    out = OUT / version
    files = {
        "units/sick/healthy.service": HEALTHY,
        "units/sick/migrate.service": MIGRATE,
        "overlays/sick/usr/lib/healthy": SICK,
        "app/web.py": APP,
        "overlays/sick/usr/lib/verity.d/tests.crt": (OUT / "trusted/secure-boot.crt").read_text(),
        "overlays/sick/etc/both.conf": f"of version {version}\n",
        "overlays/tool/usr/lib/tool": f"of version {version}\n",
        "units/tool/tool.service": TOOL,
        "tool.yaml": EXTENSION,
    }
    for path, text in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    (out / "root.json").write_bytes((OUT / "keys/root.json").read_bytes())
    return build_text(DEFINITION.format(version=version, gate="true" if version == "5" else "false"), out, store)


def build_versions(versions: str, store: Store) -> dict[str, Path]:
    """``build.json`` of each; the keys of all are made once."""
    if not (OUT / "keys/root.json").exists():
        build_os("key", OUT / "keys", "--for", "updates", "--dev")
    if not (OUT / "trusted").exists():
        make_key_pair(OUT / "trusted", "tests", development=True)
    return {version: build_version(version, store) for version in versions}


def build_tool(version: str, store: Store) -> None:
    """The extension for a version that is built, if it is not there: what is signed is always made anew."""
    out = OUT / version / "tool"
    with suppress(InputError):
        read_extension(out, read_image(OUT / version))
        return
    out.mkdir(exist_ok=True)
    pair = read_key_pair(OUT / "trusted/secure-boot.key", OUT / "trusted/secure-boot.crt")
    with closing(QuietConsole(out / "build.log")) as console:
        build_extension(BuildRequest(OUT / version / "tool.yaml", out, store, console, key_pair=pair))


class Repository:
    """What ``build-os publish`` made, on a web server that breaks off once in the middle of a large file."""

    def __init__(self, directory: Path, web: WebServer) -> None:
        self.directory = directory
        self.web = web
        self.deltas = True
        self.cut_off = ""
        self.sent: dict[str, int] = {}
        self.locks: list[str] = []
        web.fallback = self.answer

    def publish(self, version: str) -> None:
        words = ("--keys", OUT / "keys", "--out", OUT / version, "--extension", OUT / version / "tool")
        build_os("publish", self.directory, *words)

    def answer(self, request: HttpRequest) -> Reply:
        if request.method == "POST":
            assert json.loads(request.body)["client_params"]["group"] == "one"
            self.locks.append(request.path)
            return Reply()
        path = self.directory / request.path.lstrip("/")
        if not path.is_file() or (".delta" in path.name and not self.deltas):
            return Reply(status=404)
        body, status, headers = path.read_bytes(), 200, {}
        if begin := int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")):
            headers = {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
            body, status = body[begin:], 206
        cut = None
        if len(body) > 32 << 20 and not self.cut_off:
            self.cut_off, cut = request.path, len(body) // 2
        self.sent[path.name] = self.sent.get(path.name, 0) + (len(body) if cut is None else cut)
        return Reply(body, status, headers, cut=cut)


def unchanged(parts: dict[str, bytes]) -> dict[str, bytes]:
    return parts


def damage(parts: dict[str, bytes]) -> dict[str, bytes]:
    """One byte in each block of the root that dm-verity looks at, but for the first: it mounts, and then panics."""
    root = bytearray(parts["root"])
    for offset in range(4096, len(root), 4096):
        root[offset] ^= 1
    return {**parts, "root": bytes(root)}


VERSIONS = {"3": unchanged, "4": damage, "5": unchanged}


@pytest.fixture(scope="module")
def manifests(store: Store) -> dict[str, Path]:
    made = build_versions("12345", store)
    for version in "123":
        build_tool(version, store)
    return made


@pytest.fixture(scope="module")
def carrier(manifests: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with versions 3, 4 and 5."""
    room = tmp_path_factory.mktemp("carrier")
    for name, change in VERSIONS.items():
        write_payload(manifests[name[0]], room / "versions" / name, change)
    tools = Tools(read_image(manifests["1"]).tools, QuietConsole())
    return make_carrier(tools, room / "versions", room / "carrier.erofs")


@pytest.fixture(scope="module")
def repository(manifests: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    assert manifests
    with WebServer() as web:
        yield Repository(tmp_path_factory.mktemp("repository") / "repository", web)


@pytest.fixture(scope="module")
def machine(
    manifests: dict[str, Path],
    carrier: Path,
    repository: Repository,
    store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine") / "machine"
    with booted(manifests["1"], folder, store, media=[carrier], restrict=False, memory=768, seconds=1800) as machine:
        url = repository.web.url("/", Fakes.HOST)
        server = {"url": url, "fleet_lock": {"url": url, "group": "one"}}
        machine.write("/etc/os-update.json", json.dumps(server))
        yield machine


def status(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.succeed("os-update", "status", "--json"))
    return found


def list_tools(machine: Machine) -> list[str]:
    return machine.succeed("ls", "/var/lib/extensions").split()


def read_tool(machine: Machine) -> str:
    """What the extension's service has said in this boot."""
    machine.wait_unit("tool.service")
    return machine.read("/run/tool")


def mount(machine: Machine) -> None:
    machine.succeed("/bin/sh", "-c", "mkdir -p /run/versions && mount -t erofs -o ro /dev/vdb /run/versions")


def expect_the_worst(machine: Machine) -> None:
    """Units that fail, and panics, are what the next version was made for."""
    machine.start_over([re.compile(".")])


def note(what: str, since: float) -> None:
    print(f"{what}: {time.monotonic() - since:.1f} s")


def wait_for_return(machine: Machine, version: str, starts: int = 1) -> str:
    """What is said of a version after it was started so often, and the one before runs again."""
    expect_the_worst(machine)
    begun = time.monotonic()
    machine.run_until_reboot("systemctl", "reboot")
    for _ in range(starts):
        machine.wait_reset()
    started = time.monotonic()
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    note(f"version {version}: from its last start to the version before", started)
    note(f"version {version}: from the reboot to the version before", begun)
    said = status(machine)
    assert said["pending"] is None
    reason = str(said["failed"][version]["reason"])
    print(f"version {version}: {reason}")
    return reason


def take_by_itself(machine: Machine) -> None:
    """What the timer starts, until the machine has rebooted by itself."""
    machine.write("/run/measured.py", MEASURED)
    machine.succeed("mkdir", "-p", "/run/systemd/system/os-update.service.d")
    machine.write("/run/systemd/system/os-update.service.d/measured.conf", MEASURE)
    machine.succeed("systemctl", "daemon-reload")
    started = time.monotonic()
    machine.run_until_reboot("systemctl", "start", "os-update.service")
    machine.wait_reset()
    note("from asking the repository to the reboot", started)


def check_memory(machine: Machine) -> None:
    """Of the update that came before this boot."""
    said = machine.succeed("/bin/sh", "-c", "journalctl --no-pager -u os-update.service -o cat | grep '^memory '")
    own, largest = [int(line.split()[2]) for line in said.splitlines()[-2:]]
    # What is started counts as large as the agent until it has become another program.
    print(f"memory of the agent and of the largest program: {own}, {largest} KiB")
    assert max(own, largest) <= MOST_MEMORY


def test_a_machine_takes_what_is_published_and_keeps_what_is_its_own(machine: Machine, repository: Repository) -> None:
    repository.publish("1")
    assert status(machine)["running"] == "1"
    assert "1" in machine.succeed("os-update", "check")
    machine.succeed("os-update", "extensions", "add", "tool")
    assert read_tool(machine) == "of version 1\n"
    repository.publish("2")
    repository.deltas = False
    machine.write("/etc/mine.conf", "mine\n")
    machine.write("/var/lib/mine", "mine\n")
    machine.write("/etc/both.conf", "mine\n")
    with Asker(machine, 8080) as asker:
        asker.wait(3)
        take_by_itself(machine)
        started = time.monotonic()
        machine.wait_probe()
        machine.wait_unit("systemd-bless-boot.service")
        note("from the reboot until the new version is good", started)
        asker.wait(3)
    print(f"a service did not answer for {asker.gap:.1f} s because of the update")
    found = status(machine)
    assert (found["running"], found["on_trial"], found["other"], found["pending"]) == ("2", False, "1", None)
    assert (machine.read("/etc/mine.conf"), machine.read("/var/lib/mine")) == ("mine\n", "mine\n")
    assert [row["what"] for row in json.loads(machine.succeed("os-update", "history", "--json"))] == [
        "written",
        "good",
    ]
    assert machine.read("/var/lib/migrations") == "1 2\n"
    assert machine.succeed("os-update", "drift") == "/etc/both.conf"
    difference = machine.succeed("os-update", "drift", "--show", "/etc/both.conf")
    assert difference.splitlines()[-2:] == ["-of version 2", "+mine"]
    machine.succeed("os-update", "drift", "--take", "/etc/both.conf")
    assert (machine.read("/etc/both.conf"), machine.succeed("os-update", "drift")) == ("of version 2\n", "")
    # The extension for this version came along, and the other one's stays for the way back.
    assert read_tool(machine) == "of version 2\n"
    assert list_tools(machine) == ["tool_1.raw", "tool_2.raw"]
    # The lock was asked for before the reboot, and is given back now.
    machine.succeed("/bin/sh", "-c", "until test ! -e /var/lib/update/fleet-lock.json; do sleep 1; done")
    assert repository.locks == ["/v1/pre-reboot", "/v1/steady-state"]
    # No delta was to be had, and the root came in two pieces: no byte of it twice.
    name = repository.cut_off.rpartition("/")[2]
    size = next(repository.directory.glob(f"**/{name}")).stat().st_size
    assert size <= repository.sent[name] < size + (1 << 20)
    assert "range" in repository.web.asked(repository.cut_off)[-1].headers
    print(f"full: {sum(repository.sent.values())} bytes sent")
    print(machine.succeed("/bin/sh", "-c", "journalctl -b -1 -u os-update.service -o cat | tail -n 30"))
    check_memory(machine)


def test_the_other_version_can_be_started_once_from_the_boot_menu(machine: Machine) -> None:
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reset()
    choose_in_menu(machine, 1)  # behind this version
    machine.wait_probe()
    machine.wait_unit("multi-user.target")
    said = status(machine)
    assert (said["running"], said["on_trial"], said["failed"]) == ("1", False, {})
    assert read_tool(machine) == "of version 1\n"
    machine.reboot()
    machine.wait_unit("multi-user.target")
    assert status(machine)["running"] == "2"
    assert machine.read("/var/lib/migrations") == "1 2\n2 1\n1 2\n"


def test_a_version_that_is_not_well_goes_back_and_says_why(machine: Machine, repository: Repository) -> None:
    repository.publish("3")
    repository.deltas = True
    repository.sent.clear()
    expect_the_worst(machine)
    take_by_itself(machine)
    started = time.monotonic()
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    note("from the unhealthy version's start to the old one", started)
    found = status(machine)
    assert (found["running"], found["on_trial"], found["pending"]) == ("2", False, None)
    assert "healthy.service failed (the third version is sick)" in found["failed"]["3"]["reason"]
    # The extension went back as well: what version 3 had is there, and passed over.
    assert read_tool(machine) == "of version 2\n"
    assert list_tools(machine) == ["tool_2.raw", "tool_3.raw"]
    # The older version is told that the state is newer.
    assert machine.read("/var/lib/migrations").endswith("\n2 3\n3 2\n")
    print(f"deltas: {sum(repository.sent.values())} bytes sent: {repository.sent}")
    assert sum(repository.sent.values()) < 4 << 20
    check_memory(machine)
    # It is not taken again, neither by itself nor when it is brought.
    machine.succeed("systemctl", "start", "os-update.service")
    assert status(machine)["pending"] is None
    mount(machine)
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/3")
    assert "version 3 has failed on this machine and is skipped" in refused.stderr


def test_a_version_whose_root_is_damaged_goes_back(machine: Machine) -> None:
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/4")
    assert "version 4 has no extension 'tool', which this machine has" in refused.stderr
    machine.succeed("os-update", "extensions", "remove", "tool")
    machine.fail("test", "-e", "/usr/lib/tool")
    machine.succeed("os-update", "apply", "--from", "/run/versions/4")
    assert "1 start" in wait_for_return(machine, "4")
    assert status(machine)["running"] == "2"


def test_a_version_whose_app_never_answers_goes_back(machine: Machine) -> None:
    mount(machine)
    machine.succeed("os-update", "apply", "--from", "/run/versions/5")
    assert "health-web.service failed" in wait_for_return(machine, "5")
    assert status(machine)["running"] == "2"
    machine.wait_http(8080)
