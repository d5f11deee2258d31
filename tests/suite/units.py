"""What systemd itself says of the units of an image before it boots: checks of what ``systemd-analyze`` prints."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from builder.core.tools import Tools
from builder.tree.materialise import materialise
from builder.tree.node import Kind, Node, make_file
from builder.tree.tree import Tree
from tests.suite.checking import Checks

REPOSITORY = Path(__file__).parents[2]
SYSTEM = "/usr/lib/systemd/system"
SUFFIXES = (".service", ".socket", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice")
OURS = "stage:ours"

# Lines of `systemd-analyze verify` that are no fault of the image's, and why.
EXPECTED = {
    r"Unit \S+ is masked\.": "nothing of it is read",
    r".*/systemd-journald@\.service:\d+: Failed to resolve unit specifiers .*": "machine-ids are made at boot",
    r"(flanneld|kubelet)\.service: Command \S+ is not executable: .*": "an artifact brings the program",
    r"(os-update|update-[a-z-]+)\.service: Command \S+ is not executable: .*": "in images with that feature",
    r"overlay-network\.service: Command \S+ is not executable: .*": "in an overlay that the demo has not",
    r"quotaon(-root|@x)\.service: Command \S+ is not executable: .*": "the program is of a package of its own",
    r"postgresql\.service: Command \S+ is not executable: .*": "in the demo shop's image alone",
    r"rc-local\.service: Command /etc/rc\.local is not executable: .*": "for those who write such a file",
    r"\S+\.service: Command /sysroot/usr/bin/dash is not executable: .*": "the root's, as the initrd sees it",
    r"syslog\.socket: service syslog\.service not loaded, .*": "for a syslog daemon, and there is none",
}
# The highest exposure (`systemd-analyze security`, of 10) that a service of ours may have.
LIMIT = 2.0
LIMITS = {
    # Look at drives that have to be mounted, and at the network.
    "afterburn.service": 3.2,
    "afterburn-sshkeys@x.service": 3.7,
    # Loads drivers of hypervisors and speaks to them.
    "firstboot-delete-config.service": 3.0,
    # Make the machine, in the initrd: what mounts, formats, loads modules and makes users has many rights.
    "firstboot.service": 9.6,
    "firstboot-network.service": 9.6,
    "firstboot-prepare.service": 9.6,
    "state-check.service": 9.6,
    "state-open.service": 9.6,
    "make-recovery-key.service": 9.6,
    # Run what is root on a node by its nature: it mounts, makes control groups and networks for all containers.
    "kubelet.service": 9.6,
    "flanneld.service": 9.6,
    # Talk to Docker's socket and ask the manager by ssh.
    "swarm-manager.service": 3.4,
    "swarm-worker.service": 3.4,
    # Stop the machine before its root is started, and cannot be kept from anything if they are to help.
    "emergency.service": 9.6,
    "firstboot-shell.service": 9.6,
    "emergency-again.service": 9.6,
    # Mount the EFI system partition.
    "os-update.service": 2.7,
    "update-boot.service": 2.2,
}


@dataclass(frozen=True)
class Judged:
    """What systemd says: lines of ``verify``, and the exposure of each service of ours."""

    complaints: tuple[str, ...]
    exposure: dict[str, float]


check = CHECKS = Checks[Judged]()


@check
def systemd_understands_every_unit(judged: Judged) -> None:
    expected = re.compile("|".join(EXPECTED))
    assert [line for line in judged.complaints if not expected.fullmatch(line)] == []


@check
def services_of_ours_can_do_little_but_what_they_are_for(judged: Judged) -> None:
    assert {name: value for name, value in judged.exposure.items() if value > LIMITS.get(name, LIMIT)} == {}


@check
def exceptions_are_needed(judged: Judged) -> None:
    assert [name for name in LIMITS if judged.exposure.get(name, 0) <= LIMIT] == []
    assert [said for said in EXPECTED if not any(re.fullmatch(said, line) for line in judged.complaints)] == []


def with_all_units(tree: Tree) -> Tree:
    """The root with the units of all features, and those of the initrd."""
    whole = tree.copy()
    initrds = (REPOSITORY / "overlays").glob(f"initrd*{SYSTEM}/*.*")
    for path in (*(REPOSITORY / "units").glob("*/*.*"), *initrds):
        if path.is_file() and path.suffix in SUFFIXES:
            whole.put(f"{SYSTEM}/{path.name}", make_file(path.read_bytes(), origin=OURS))
    return whole


def judge(tree: Tree, tools: Tools) -> Judged:
    """Ask the systemd of the tools tree, which is the image's, about the units of a root.

    Raises:
        AssertionError: it cannot be asked.
    """
    units = {
        name: tree.require(f"{SYSTEM}/{name}", follow=False)
        for name in tree.list_children(SYSTEM)
        if name.endswith(SUFFIXES)
    }
    names = {name: name.replace("@.", "@x.") for name in units}
    with tempfile.TemporaryDirectory(prefix="build-os-units-") as scratch:
        root = Path(scratch, "root")
        lay_out(tree, root)
        verify = ask(tools, "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *names.values())
        exposure = {}
        for name, node in units.items():
            if name.endswith(".service") and node.origin == OURS:
                said = ask(tools, "security", "--offline=yes", "--no-pager", f"--root={root}", names[name])
                match = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
                assert match is not None, said
                exposure[names[name]] = float(match[1])
    return Judged(tuple(line.replace(str(root), "") for line in verify.splitlines() if line), exposure)


def lay_out(tree: Tree, root: Path) -> None:
    """Write the units of a tree, and something for each program that they start and the tree has."""
    part = materialise(tree, root, ["/usr/lib/systemd", "/etc/systemd"])
    started = set()
    for path, node in part.before.walk():
        if node.kind is Kind.FILE and path.endswith((".service", ".socket", ".mount", ".swap", ".conf")):
            text = node.content.read().decode(errors="replace")
            started |= set(re.findall(r"^Exec\w+=[-@:+!|]*([^\s;]+)", text, re.MULTILINE))
    for name in started:
        for program in (name,) if name.startswith("/") else (f"/usr/bin/{name}", f"/usr/sbin/{name}"):
            if is_program(tree.get(program, follow=True)):
                target = root / tree.resolve(program, follow_last=False)[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("#!/bin/sh\n")
                target.chmod(0o755)


def is_program(node: Node | None) -> bool:
    """Whether it can be started."""
    return node is not None and node.kind is Kind.FILE and bool(node.mode & 0o100)


def ask(tools: Tools, *words: str) -> str:
    """What ``systemd-analyze`` prints, of either stream; its status says no more."""
    done = subprocess.run(
        tools.make_argv("systemd-analyze", *words),
        env=tools.make_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr
