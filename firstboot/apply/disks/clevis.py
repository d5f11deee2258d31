"""Bind an encrypted device to what clevis asks at later boots (clevis(1), clevis-luks-bind(1)).

What ``clevis luks bind`` would do, without the programs for passwords that it needs: a key of its own in the header,
and beside it, as a token, the same key encrypted so that only the servers can help to decrypt it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from firstboot.apply.action import Refused
from firstboot.apply.disks.tpm import has_tpm
from firstboot.apply.programs import ProgramError, Programs
from firstboot.config.clevis import Binding

NETWORK_OPTION = "_netdev"
PROGRAMS = ("clevis", "jose")
UNSTRETCHED = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")  # cryptsetup(8): the least that it takes
SLOT = 1  # 0 has the key that the device was made with
_KEY_BYTES = 64
_COMPACT = re.compile(r"[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+")  # RFC 7516, 7.1


def bind(
    binding: Binding,
    device: str,
    key_file: str,
    programs: Programs,
    as_file: Callable[[bytes], AbstractContextManager[str]],
) -> None:
    """Let clevis open the device.

    Args:
        key_file: what opens it now, and then as well.
        as_file: keeps a key as a file for a while.

    Raises:
        Refused: it wants a TPM, and the machine has none. ProgramError.
    """
    if "tpm2" in binding.pins and not has_tpm():
        raise Refused(f"{device} is to be opened with the machine's TPM, and the machine has no TPM 2.0")
    # Hexadecimal: whoever answers systemd's question for it sends a line of text.
    key = os.urandom(_KEY_BYTES).hex().encode()
    try:
        said = programs.run(["clevis", "encrypt", binding.pin, json.dumps(binding.config)], key)
    except ProgramError as error:
        # Without the command, which has all that servers say in it.
        raise ProgramError(f"clevis cannot bind it with {binding.pin}", error.details) from None
    encrypted = next((line for line in reversed(said.split()) if _COMPACT.fullmatch(line)), None)
    if encrypted is None:
        raise ProgramError(f"clevis encrypt {binding.pin} did not encrypt", said.splitlines()[-5:])
    jwe = json.loads(programs.run(["jose", "jwe", "fmt", "-i-"], encrypted.encode()))
    with as_file(key) as path:
        programs.run(add_command(device, key_file, path))
    programs.run(["cryptsetup", "token", "import", device], json.dumps(make_token(jwe)).encode())


def add_command(device: str, key_file: str, new_key_file: str) -> list[str]:
    """``cryptsetup luksAddKey``; no password is stretched, because the key is as random as what it opens."""
    words = ["cryptsetup", "luksAddKey", "--batch-mode", "--key-file", key_file, "--key-slot", str(SLOT)]
    return [*words, *UNSTRETCHED, device, new_key_file]


def make_token(jwe: object) -> dict[str, object]:
    """What the header says about the key, as ``clevis luks`` reads it."""
    return {"type": "clevis", "keyslots": [str(SLOT)], "jwe": jwe}
