"""Make an encrypted device, or open the one that is there (cryptsetup(8), crypttab(5))."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from firstboot.apply.action import Machine, Refused
from firstboot.apply.contents import get_contents, read_pieces
from firstboot.apply.disks import clevis
from firstboot.apply.disks.devices import require_unused, settle, wait_for
from firstboot.apply.disks.filesystems import probe
from firstboot.apply.disks.tpm import CRYPTTAB_OPTION as TPM_OPTION
from firstboot.apply.disks.tpm import bind
from firstboot.apply.programs import Programs
from firstboot.config.clevis import add_advertisements, find_binding, locate_advertisement
from firstboot.config.devices import Luks
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path
from firstboot.config.tpm import find_tpm

KEYS = "/etc/luks"
CRYPTTAB = "/etc/crypttab"
ATTEMPT_MARK = "build-os:attempt-"
_KEY_BYTES = 4096
_STRETCHING = re.compile(r"--pbkdf|--iter-time|-[A-Za-z]*i")
_FORMAT = "crypto_LUKS"


class MakeLuks(NamedTuple):
    """Encrypt a device and open it as ``/dev/mapper/NAME``; its key is kept in :attr:`Machine.keys` for later,
    unless the TPM or clevis opens it: a random one is then forgotten, and one of the config is nowhere on this machine.
    """

    luks: Luks
    at: Path

    def describe(self) -> str:
        return f"encrypt {self.luks.device} as {self.luks.name}"

    def perform(self, machine: Machine) -> None:
        luks, programs = self.luks, machine.programs
        device = wait_for(str(luks.device))
        tpm, binding = find_tpm(luks), find_binding(luks)
        # A random key is not kept where something else opens the device.
        bound = tpm is not None or binding is not None
        given = bool(luks.key_file.source)
        # Hexadecimal, so that it can be typed or sent where bytes cannot.
        key = (
            b"".join(read_pieces(get_contents(luks.key_file, machine.fetched)))
            if given
            else os.urandom(_KEY_BYTES).hex().encode()
        )
        with lend_key_file(key) as path:
            if self.is_made_anew(device, machine):
                require_unused([device], "it cannot be encrypted")
                programs.run(["wipefs", "--quiet", "--all", device])
                programs.run(format_command(luks, device, path, machine.attempt))
                if tpm is not None:
                    bind(tpm, device, path, programs)
                elif binding is not None:
                    asked = add_advertisements(binding, self.read_advertisements(machine))
                    clevis.bind(asked, device, path, programs, lend_key_file)
            programs.run(open_command(luks, device, path))
            if bound and not given:
                programs.run(["cryptsetup", "luksRemoveKey", "--batch-mode", device, path])
        settle(programs)
        wait_for(f"/dev/mapper/{luks.name}")
        if not bound:
            machine.keys[luks.name] = key
        machine.luks_uuids[luks.name] = programs.run(["cryptsetup", "luksUUID", device]).strip()

    def is_made_anew(self, device: str, machine: Machine) -> bool:
        """Whether what is on the device gives way, or is opened as it is.

        Raises:
            Refused: it may not be replaced, and cannot be what the config wants. ProgramError.
        """
        luks = self.luks
        signature = probe(device, machine.programs)
        if luks.wipe_volume or not signature.type:
            return True
        if signature.type != _FORMAT:
            raise Refused(f"{luks.device} has {signature.type}; wipeVolume would replace it")
        if is_of(machine.attempt, device, machine.programs):
            return True
        if not luks.key_file.source:
            raise Refused(f"{luks.device} is encrypted already, and the config has no key for it")
        if find_tpm(luks) is not None or find_binding(luks) is not None:
            raise Refused(f"{luks.device} is encrypted already; wipeVolume would bind it to the TPM or Tang anew")
        self._require_same(signature.label, signature.uuid)
        return False

    def read_advertisements(self, machine: Machine) -> dict[str, object]:
        """What servers have said, by their URLs.

        Raises:
            Refused: one has said what is no JSON.
        """
        advertisements: dict[str, object] = {}
        for tang in self.luks.clevis.tang:
            if not tang.advertisement:
                data = b"".join(read_pieces(get_contents(locate_advertisement(tang), machine.fetched)))
                try:
                    advertisements[tang.url] = json.loads(data)
                except ValueError:
                    raise Refused(f"what {tang.url} answers is no Tang server's") from None
        return advertisements

    def _require_same(self, label: str, uuid: str) -> None:
        for name, wanted, there in (("label", self.luks.label, label), ("UUID", self.luks.uuid, uuid)):
            if wanted and wanted.lower() != there.lower():
                raise Refused(f"{self.luks.device} is encrypted already, with another {name}: {there}")


class KeepKey(NamedTuple):
    """Write a device's key into the root, and its line into crypttab, so that it is opened at later boots."""

    luks: Luks
    at: Path

    def describe(self) -> str:
        bound = find_tpm(self.luks) is not None or find_binding(self.luks) is not None
        what = "the line of" if bound else "the key of"
        return f"write {what} {self.luks.name} in {CRYPTTAB}"

    def perform(self, machine: Machine) -> None:
        name = self.luks.name
        key = "none"
        if name in machine.keys:
            key = f"{KEYS}/{name}"
            if not machine.root.has(KEYS):
                machine.root.make_directory(KEYS)
                machine.root.set_mode(KEYS, 0o700)
            machine.root.write(key, machine.keys[name], mode=0o600)
        line = f"{name} UUID={machine.luks_uuids[name]} {key} {format_crypttab_options(self.luks)}\n".encode()
        if machine.root.has(CRYPTTAB):
            machine.root.append(CRYPTTAB, line)
        else:
            machine.root.write(CRYPTTAB, line, mode=0o600)


def format_crypttab_options(luks: Luks) -> str:
    """How it is opened at later boots (crypttab(5))."""
    words = ["luks", *(["discard"] if luks.discard else []), *([TPM_OPTION] if find_tpm(luks) is not None else [])]
    binding = find_binding(luks)
    return ",".join([*words, *([clevis.NETWORK_OPTION] if binding is not None and binding.network else [])])


def is_of(attempt: str, device: str, programs: Programs) -> bool:
    """Whether this first boot has encrypted it, before it was cut short and began anew.

    The header says which first boot it was. Whether that one came to its end, the state partition alone says: there is
    no second place that could say something else.
    """
    status, output = programs.run_for_status(["cryptsetup", "luksDump", device])
    said = [line.split(":", 1)[1].strip() for line in output.splitlines() if line.startswith("Subsystem:")]
    return status == 0 and bool(attempt) and said == [ATTEMPT_MARK + attempt]


def format_command(luks: Luks, device: str, key: str, attempt: str = "") -> list[str]:
    """``cryptsetup luksFormat``; ``attempt`` is the first boot that does it.

    A key of ours is as random as what it opens: stretching it would cost each boot seconds and a gibibyte, and an
    attacker nothing.
    """
    words = ["cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--key-file", key]
    words += ["--label", luks.label] if luks.label else []
    words += ["--uuid", luks.uuid] if luks.uuid else []
    words += ["--subsystem", ATTEMPT_MARK + attempt] if attempt else []
    told = any(_STRETCHING.match(option) for option in luks.options)
    words += [] if luks.key_file.source or told else clevis.UNSTRETCHED
    return [*words, *luks.options, device]


def open_command(luks: Luks, device: str, key: str) -> list[str]:
    """``cryptsetup luksOpen``; options that stay with the device are written into its header."""
    lasting = [*(["--allow-discards"] if luks.discard else []), *luks.open_options]
    persistent = ["--persistent"] if lasting else []
    return ["cryptsetup", "luksOpen", "--key-file", key, *persistent, *lasting, device, luks.name]


@contextmanager
def lend_key_file(key: bytes) -> Iterator[str]:
    """The key as a file that only root can read, in memory, gone afterwards."""
    with tempfile.NamedTemporaryFile(dir="/run" if os.access("/run", os.W_OK) else None) as file:
        file.write(key)
        file.flush()
        yield file.name
