"""Credentials of the platform that the image's own policy names, and no others (systemd.system-credentials(7)).

systemd takes all that firmware and hypervisor hand over, or none (``systemd.import_credentials=``). Among all may be
``systemd.extra-unit.NAME``: a unit that runs as root, at every boot. Where the policy names some, systemd takes none,
and this puts those into ``/run/credstore``, where ``LoadCredential=`` and ``ImportCredential=`` look (systemd.exec(5)).
Generators and the service manager look only into systemd's own directory, which stays empty.
"""

from __future__ import annotations

import binascii
import os
import re
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

POLICY = Path("/usr/lib/build-os/credentials")
STORE = Path("/run/credstore")
FIRMWARE = Path("/sys/firmware")
# systemd's limits: of one, and of all together (src/shared/creds-util.h).
MAX_ONE = MAX_ALL = 1 << 20
_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,255}")
_STRINGS = 11  # the type of SMBIOS' OEM strings


def parse_smbios_strings(table: bytes) -> list[bytes]:
    """The strings of one table of OEM strings (SMBIOS reference specification, 6.1.3 and 7.12)."""
    if len(table) < 5 or table[0] != _STRINGS or not 5 <= table[1] <= len(table):
        return []
    return table[table[1] :].split(b"\0")[: table[4]]


def read_handed_over(firmware: Path = FIRMWARE) -> Iterator[tuple[str, bytes]]:
    """(name, value) of each that SMBIOS and fw_cfg have."""
    for table in sorted(firmware.glob(f"dmi/entries/{_STRINGS}-*/raw")):
        for text in parse_smbios_strings(table.read_bytes()):
            kind, _, rest = text.partition(b":")
            name, equals, value = rest.partition(b"=")
            if not equals:
                continue
            if kind == b"io.systemd.credential":
                yield name.decode(errors="replace"), value
            elif kind == b"io.systemd.credential.binary":
                try:
                    yield name.decode(errors="replace"), binascii.a2b_base64(value, strict_mode=True)
                except binascii.Error:
                    print(f"<4>the credential {name!r} is not in base64, and is left out", file=sys.stderr)
    for item in sorted((firmware / "qemu_fw_cfg/by_name/opt/io.systemd.credentials").glob("*")):
        yield item.name, (item / "raw").read_bytes()


def take(policy: Sequence[str], store: Path, firmware: Path = FIRMWARE) -> list[str]:
    """Put what the policy's names (with ``*``) stand for into the store; the first of a name counts. Returns names."""
    taken: list[str] = []
    room = MAX_ALL
    for name, value in read_handed_over(firmware):
        if not _NAME.fullmatch(name) or name in (".", "..") or not any(fnmatchcase(name, glob) for glob in policy):
            continue
        if len(value) > min(MAX_ONE, room):
            print(f"<4>the credential {name} is larger than systemd allows, and is left out", file=sys.stderr)
            continue
        try:
            descriptor = os.open(store / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
        room -= len(value)
        taken.append(name)
    return taken


def main() -> None:
    """Take what this image's policy names."""
    STORE.mkdir(mode=0o700, exist_ok=True)
    for name in take(POLICY.read_text(encoding="utf-8").split(), STORE):
        print(f"took the credential {name} from the platform")


if __name__ == "__main__":
    main()
