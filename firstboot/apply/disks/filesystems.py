"""Make a filesystem, or keep the one that is there (mkfs(8), wipefs(8))."""

from __future__ import annotations

import re

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import require_unused, settle, wait_for
from firstboot.apply.programs import Programs
from firstboot.config.devices import Filesystem
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

# format -> program and fixed options, option for the label, option for the UUID
_MAKERS: dict[str, tuple[list[str], str, str]] = {
    "ext4": (["mkfs.ext4", "-q", "-F"], "-L", "-U"),
    "btrfs": (["mkfs.btrfs", "--quiet", "--force"], "--label", "--uuid"),
    "xfs": (["mkfs.xfs", "-q", "-f"], "-L", ""),
    "swap": (["mkswap", "--force"], "--label", "--uuid"),
    "vfat": (["mkfs.fat"], "-n", "-i"),
}


class Signature(NamedTuple):
    """What is on a device, empty strings if nothing is."""

    type: str = ""
    label: str = ""
    uuid: str = ""


class MakeFilesystem(NamedTuple):
    """Make it, or keep it if it matches, unless the config says otherwise."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        return f"make {self.filesystem.format} on {self.filesystem.device}"

    def perform(self, machine: Machine) -> None:
        wanted, programs = self.filesystem, machine.programs
        device = wait_for(wanted.device)
        signature = probe(device, programs)
        if not self.is_made_anew(signature, machine):
            return
        if signature.type:
            require_unused([device], "it cannot be wiped")
        programs.run(["wipefs", "--quiet", "--all", device])
        if wanted.format != "none":
            programs.run(make_command(wanted, device))
            if uuid := probe(device, programs).uuid:
                machine.note_made(uuid)
        settle(programs)

    def is_made_anew(self, signature: Signature, machine: Machine) -> bool:
        """Whether what is on the device gives way, or is kept.

        Raises:
            Refused: it may neither be replaced nor kept.
        """
        wanted = self.filesystem
        # One that this first boot has made, before it was cut short, has half of what belongs there.
        half = bool(signature.uuid) and signature.uuid in machine.made
        if not half and not wanted.wipe_filesystem:
            if wanted.format != "none" and is_wanted(signature, wanted):
                return False
            if signature.type:
                raise Refused(f"{wanted.device} has {describe(signature)}; wipeFilesystem would replace it")
        return True


def make_command(wanted: Filesystem, device: str) -> list[str]:
    """The command line that makes the filesystem."""
    words, label, uuid = _MAKERS[str(wanted.format)]
    result = [*words, *wanted.options]
    if wanted.uuid:
        if wanted.format == "xfs":
            result += ["-m", f"uuid={wanted.uuid}"]
        else:
            result += [uuid, wanted.uuid.replace("-", "") if wanted.format == "vfat" else wanted.uuid]
    if wanted.label:
        result += [label, wanted.label]
    return [*result, device]


def is_wanted(signature: Signature, wanted: Filesystem) -> bool:
    """Whether what is there is what the config wants."""
    same_uuid = signature.uuid.replace("-", "").lower() == str(wanted.uuid or "").replace("-", "").lower()
    return (
        signature.type == wanted.format
        and (not wanted.label or signature.label == wanted.label)
        and (not wanted.uuid or same_uuid)
    )


def describe(signature: Signature) -> str:
    """For people: ``ext4 with the label "data"``."""
    return signature.type + (f' with the label "{signature.label}"' if signature.label else "")


def probe(device: str, programs: Programs) -> Signature:
    """What is on a device. Of several signatures, as an old disk may have, the one of a filesystem that we make wins.

    By wipefs(8), which names them all; blkid(8) names none when they contradict each other.

    Raises:
        ProgramError
    """
    output = programs.run(["wipefs", "--noheadings", "--parsable", "--output", "TYPE,LABEL,UUID", device])
    rows = [Signature(*map(unescape, (line + ",,").split(",")[:3])) for line in output.splitlines()]
    signatures = [row for row in rows if row.type and not row.type.startswith("#")]
    return next((row for row in signatures if row.type in _MAKERS), signatures[0] if signatures else Signature())


def unescape(text: str) -> str:
    """Text as it was before wipefs wrote it as one of several columns, with ``\\xNN``."""
    raw = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return raw.decode("utf-8", errors="replace")


def get_maker(form: str) -> str:
    """The program that makes filesystems of this format."""
    return _MAKERS[form][0][0]
