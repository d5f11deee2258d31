"""systemd-sysupdate's files for one update (sysupdate.d(5)), and its calls.

What systemd-sysupdate 257 does for us: it chooses the partitions that do not hold the running version, empties their
labels first, writes them, has them on the disk, and gives label, UUID and flags; the kernel image is written under
another name and renamed. What it cannot do: verify local files, unpack zstd, hold the kernel image back until what was
written has been read again. So it is called twice, and knows of a version only what lies in :data:`STAGED`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from update.agent.disk import TYPES, Slot
from update.agent.esp import IMAGES
from update.agent.host import Host
from update.agent.identity import Identity
from update.agent.payload import STAGED
from update.documents import Release

DEFINITIONS = "/run/update/sysupdate"
SLOT, KERNEL = "slot", "kernel"
# root, hash tree, signature: in this order.
_NUMBERS = {"root": 10, "verity": 20, "signature": 30}


def make_slot_transfers(host: Host, release: Release, identity: Identity, slot: Slot) -> Mapping[str, str]:
    """The files for the partitions, by name. Pure: the same arguments give the same text."""
    made = {}
    for part, number in _NUMBERS.items():
        if part not in release.parts:
            continue
        uuid = release.parts[part].uuid
        target = {
            "Type": "partition",
            "Path": host.locate(slot.disk),
            "MatchPattern": f"{release.name}_@v",
            "MatchPartitionType": TYPES[part],
            **({} if uuid is None else {"PartitionUUID": uuid}),
            "ReadOnly": "yes",
            "InstancesMax": 2,
        }
        made[f"{number}-{part}.transfer"] = _format(host, release, identity, part, target)
    return made


def make_kernel_transfer(host: Host, release: Release, identity: Identity, tries: int, esp: Path) -> Mapping[str, str]:
    """The file for the kernel image; ``esp`` is where the EFI system partition is mounted."""
    names = ("+@l-@d", "+@l", "")
    target = {
        "Type": "regular-file",
        "Path": esp / IMAGES,
        "MatchPattern": " ".join(f"{release.name}_@v{counter}.efi" for counter in names),
        "Mode": "0600",
        "TriesLeft": tries,
        "TriesDone": 0,
        "InstancesMax": 2,
    }
    return {"90-uki.transfer": _format(host, release, identity, "uki", target)}


def _format(host: Host, release: Release, identity: Identity, part: str, target: Mapping[str, object]) -> str:
    source = {
        "Type": "regular-file",
        "Path": host.locate(STAGED),
        "MatchPattern": f"{release.name}_@v.{part}",
    }
    sections: Mapping[str, Mapping[str, object]] = {
        "Transfer": {"ProtectVersion": identity.version},
        "Source": source,
        "Target": target,
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def run_transfers(host: Host, kind: str, files: Mapping[str, str], version: str) -> None:
    """Have systemd-sysupdate(8) carry them out.

    Raises:
        UpdateError: it failed; its last lines say why.
    """
    directory = host.locate(f"{DEFINITIONS}/{kind}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    host.run(["systemd-sysupdate", "--no-pager", f"--definitions={directory}", "--sync=yes", "update", version])
    shutil.rmtree(directory)
