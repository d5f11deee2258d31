"""Scripts that run in a guest: what their headers mean, and how they are run over reboots."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import VmError
from builder.core.tools import Tools
from vm.machine import Machine
from vm.spec import Accel, Kernel, VmSpec
from vm.testing.guest_run import MARK, UNIT, make_bundle, run_script
from vm.testing.guest_scripts import Header, is_guest_script, read_header
from vm.waiting.deadline import Deadline

if TYPE_CHECKING:
    from conftest import FakeQemu

pytestmark = pytest.mark.unit


def script(directory: Path, text: str, mode: int = 0o755) -> Path:
    path = directory / "guest" / "works"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_script_without_a_header_wants_nothing_special(tmp_path: Path) -> None:
    assert read_header(script(tmp_path, "#!/bin/sh\ntrue\n")) == Header()


def test_a_header_says_what_the_machine_is(tmp_path: Path) -> None:
    header = read_header(
        script(
            tmp_path,
            """#!/bin/bash
# Anything.
## build-os:
##   description: it works
##   tags: [boot, web]
##   config: ../web.yaml
##   memory: 2048
##   disks: ["1G:4k,serial=data"]
##   isolation: shared
##   minutes: 2
# not a part of it
## memory: 1
""",
        )
    )
    assert header == Header(
        description="it works",
        tags=("boot", "web"),
        config=Path("../web.yaml"),
        memory=2048,
        disks=("1G:4k,serial=data",),
        isolation="shared",
        minutes=2,
    )
    options = header.make_options(tmp_path / "guest" / "works")
    assert options["config"] == tmp_path / "web.yaml"
    assert [(disk.size, disk.serial, disk.block_size) for disk in options["extra_disks"]] == [(1 << 30, "data", 4096)]
    assert options["seconds"] == 120


def test_a_header_of_kola_is_understood(tmp_path: Path) -> None:
    text = """#!/bin/bash
## kola:
##   exclusive: false
##   platforms: qemu
##   tags: "platform-independent fast"
##   minMemory: 1536
##   timeoutMin: 15
##   architectures: x86_64 amd64
##   description: from elsewhere
"""
    header = read_header(script(tmp_path, text))
    assert (header.isolation, header.memory, header.minutes) == ("shared", 1536, 15)
    assert (header.tags, header.architectures) == (("platform-independent", "fast"), ("x86_64", "amd64"))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("##   memry: 1", "memry: Extra inputs"),
        ("##   memory: little", "memory: Input should be a valid integer"),
        ("##   isolation: none", "isolation: Input should be"),
        ("##   [", "not YAML"),
        ("## one\n## two", "not a mapping"),
    ],
)
def test_a_header_that_makes_no_sense_is_told(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_header(script(tmp_path, f"#!/bin/sh\n## build-os:\n{header}\n"))


def test_only_programs_in_a_directory_of_that_name_are_scripts(tmp_path: Path) -> None:
    assert is_guest_script(script(tmp_path, "#!/bin/sh\n"))
    assert not is_guest_script(script(tmp_path, "#!/bin/sh\n", mode=0o644))
    (tmp_path / "works").write_text("#!/bin/sh\n")
    (tmp_path / "works").chmod(0o755)
    assert not is_guest_script(tmp_path / "works")


def test_what_goes_to_the_guest_is_the_script_and_its_data_owned_by_root(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/bin/sh\n")
    (path.parent / "data").mkdir()
    (path.parent / "data" / "page").write_text("hello")
    with tarfile.open(fileobj=io.BytesIO(make_bundle(path))) as tar:
        members = {member.name: (member.uid, member.gid, member.mode & 0o111 != 0) for member in tar}
    assert members == {"works": (0, 0, True), "data": (0, 0, True), "data/page": (0, 0, False)}


class Guest:
    """Answers what the runner asks; ``script`` is what happens each time the script is started."""

    def __init__(self, qemu: FakeQemu, scripts: list[Callable[[Guest, str], dict[str, Any] | None]]) -> None:
        self.qemu = qemu
        self.files: dict[str, str] = {}
        self.scripts = scripts
        self.marks: list[str] = []
        qemu.answer |= {"run": self.run, "write": lambda _: {}, "reboot": self.reboot, "unit": self.unit}

    def unit(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"properties": {"ActiveState": "active", "LoadState": "loaded"}}

    def run(self, request: dict[str, Any]) -> dict[str, Any] | None:
        argv = request["argv"]
        if argv[0] == "systemd-run":
            prefix = "--setenv=AUTOPKGTEST_REBOOT_MARK="
            self.marks.append("".join(word.removeprefix(prefix) for word in argv if word.startswith(prefix)))
            return self.scripts.pop(0)(self, self.marks[-1])
        if argv == ["cat", MARK]:
            return ended(0, self.files[MARK]) if MARK in self.files else ended(1)
        if argv == ["rm", MARK]:
            del self.files[MARK]
        return ended(0)

    def reboot(self, request: dict[str, Any]) -> dict[str, Any]:
        self.boots_again()
        return {}

    def boots_again(self) -> None:
        self.qemu.happens("RESET")
        self.qemu.greets()


def ended(status: int, output: str = "") -> dict[str, Any]:
    return {"status": status, "stdout": base64.b64encode(output.encode()).decode(), "stderr": ""}


def wants_reboot(guest: Guest, mark: str) -> dict[str, Any]:
    guest.files[MARK] = "reboot one"
    return ended(137, "first\n")


def reboots_by_itself(guest: Guest, mark: str) -> dict[str, Any]:
    guest.files[MARK] = "prepare two"
    guest.boots_again()
    return ended(255)


def reboots_unannounced(guest: Guest, mark: str) -> None:
    guest.boots_again()


@pytest.fixture
def machine(qemu: FakeQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("vm.machine.base.connect", qemu.connect)
    spec = VmSpec("m", "amd64", Accel.KVM, (), kernel=Kernel(Path("k")))
    return Machine(spec, Tools(tmp_path, QuietConsole()), Deadline(20), folder=tmp_path / "m")


def run(machine: Machine, qemu: FakeQemu, path: Path) -> Any:
    with machine:
        qemu.greets()
        return run_script(machine, path)


def test_a_script_that_ends_tells_its_status_and_output(machine: Machine, qemu: FakeQemu, tmp_path: Path) -> None:
    Guest(qemu, [lambda *_: ended(77, "no such device\n\n")])
    ending = run(machine, qemu, script(tmp_path, "#!/bin/sh\n"))
    assert (ending.status, ending.last_line) == (77, "no such device")
    [started] = [each["argv"] for each in qemu.requests if each["op"] == "run" and each["argv"][0] == "systemd-run"]
    assert f"--unit={UNIT}" in started
    assert started[-1].endswith("/works")


def test_a_script_goes_on_after_the_reboots_that_it_asks_for(machine: Machine, qemu: FakeQemu, tmp_path: Path) -> None:
    guest = Guest(qemu, [wants_reboot, reboots_by_itself, lambda *_: ended(0, "done\n")])
    ending = run(machine, qemu, script(tmp_path, "#!/bin/sh\n"))
    assert ending.status == 0
    assert ending.output == "first\n--- rebooted, mark one\n--- rebooted, mark two\ndone\n"
    assert guest.marks == ["", "one", "two"]


def test_a_reboot_that_was_not_announced_is_a_failure(machine: Machine, qemu: FakeQemu, tmp_path: Path) -> None:
    Guest(qemu, [reboots_unannounced])
    with pytest.raises(VmError) as caught:
        run(machine, qemu, script(tmp_path, "#!/bin/sh\n"))
    assert "rebooted while works ran" in str(caught.value)
