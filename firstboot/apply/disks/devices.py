"""Block devices: waiting for one, telling whether it is in use, telling the kernel of new partitions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from firstboot.apply.action import Refused
from firstboot.apply.disks.gpt import PartitionEntry, Table
from firstboot.apply.programs import ProgramError, Programs

WAIT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.1


def wait_for(device: str, seconds: float = WAIT_SECONDS) -> str:
    """The device's node, through links, once it is there.

    Raises:
        Refused: it does not appear in time.
    """
    end = time.monotonic() + seconds
    while not Path(device).is_block_device():
        if time.monotonic() > end:
            raise Refused(f"there is no device {device} (waited for {seconds:.0f} s)")
        time.sleep(LOOK_AGAIN_SECONDS)
    return os.path.realpath(device)


def settle(programs: Programs) -> None:
    """Let udev finish with what happened, where there is udev."""
    if programs.find("udevadm") is not None:
        programs.run_for_status(["udevadm", "settle", "--timeout=60"])


def get_partition_node(device: str, number: int) -> str:
    """The node of a disk's partition: ``/dev/vda1``, ``/dev/nvme0n1p1``."""
    return f"{device}{'p' if device[-1].isdigit() else ''}{number}"


def list_device_users(node: str, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> list[str]:
    """What keeps a device busy: mount points, ``swap``, and devices built on it."""
    name = os.path.basename(os.path.realpath(node))  # noqa: PTH119 - a device's name, not a path to walk
    number = _text(sys / "class/block" / name / "dev")
    users = [line.split()[4] for line in _text(proc / "self/mountinfo").splitlines() if line.split()[2] == number]
    users += ["swap" for line in _text(proc / "swaps").splitlines()[1:] if os.path.realpath(line.split()[0]) == node]
    holders = sys / "class/block" / name / "holders"
    users += sorted(entry.name for entry in holders.iterdir()) if holders.is_dir() else []
    return users


def require_unused(nodes: Iterable[str], what: str) -> None:
    """Refuse to touch what is in use.

    Raises:
        Refused
    """
    for node in nodes:
        if users := list_device_users(node):
            raise Refused(f"{what}: {node} is in use by {', '.join(users)}")


def tell_kernel(device: str, before: Table, after: Table, programs: Programs) -> None:
    """Make the kernel's partitions those of the new table, and check that they are.

    Not all at once with ``blockdev --rereadpt``, which refuses while any of the disk's partitions is in use.

    Raises:
        ProgramError: the kernel still sees others (partx(8)).
    """
    for entry in before.entries:
        if after.find_entry(entry.number) != entry:
            programs.run_for_status(["partx", "--delete", "--nr", str(entry.number), device])
    for entry in after.entries:
        if before.find_entry(entry.number) != entry or not Path(get_partition_node(device, entry.number)).exists():
            programs.run_for_status(["partx", "--add", "--nr", str(entry.number), device])
    settle(programs)
    for entry in after.entries:
        node = wait_for(get_partition_node(device, entry.number))
        if (seen := _as_kernel_sees(node)) != _in_512(entry, after.sector):
            raise ProgramError(
                f"the kernel sees {node} at {seen}, and not where it was put: {entry.start}+{entry.size}"
            )


def _in_512(entry: PartitionEntry, sector: int) -> tuple[int, int]:
    return entry.start * sector // 512, entry.size * sector // 512


def _as_kernel_sees(node: str) -> tuple[int, int]:
    base = Path("/sys/class/block") / Path(node).name
    return int(_text(base / "start") or 0), int(_text(base / "size") or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
