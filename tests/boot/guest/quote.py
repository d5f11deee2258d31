"""Ask the machine's TPM what its registers are, and have it sign that: a quote (TPM 2.0 Library, part 3, TPM2_Quote).

Runs in the guest, on the standard library alone. Arguments: a nonce in hex, and the registers' numbers. Prints JSON.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

DEVICE, LOG = "/dev/tpmrm0", "/sys/kernel/security/tpm0/binary_bios_measurements"
SESSIONS, CREATE_PRIMARY, QUOTE = 0x8002, 0x131, 0x158
ENDORSEMENT, PASSWORD = 0x4000000B, 0x40000009
# A key that signs only what the TPM itself says: ECDSA with P-256 (part 2, TPMT_PUBLIC).
ATTRIBUTES = 0x00050072  # restricted, sign, userWithAuth, sensitiveDataOrigin, fixedParent, fixedTPM
PUBLIC = struct.pack(">HHIHHHHHHHH", 0x23, 0x0B, ATTRIBUTES, 0, 0x10, 0x18, 0x0B, 0x03, 0x10, 0, 0)


def ask(device, code, handle, parameters):
    """A command with an empty password; returns what follows the response's head."""
    sessions = struct.pack(">IIHBH", 9, PASSWORD, 0, 0, 0)
    body = struct.pack(">I", handle) + sessions + parameters
    device.write(struct.pack(">HII", SESSIONS, 10 + len(body), code) + body)
    answer = device.read(4096)
    _, _, status = struct.unpack_from(">HII", answer)
    if status:
        sys.exit(f"the TPM refuses command {code:#x}: {status:#x}")
    return answer[10:]


def take(data):
    """A TPM2B and what follows it."""
    size = struct.unpack_from(">H", data)[0]
    return data[2 : 2 + size], data[2 + size :]


nonce, numbers = bytes.fromhex(sys.argv[1]), [int(word) for word in sys.argv[2:]]
with Path(DEVICE).open("r+b", buffering=0) as tpm:
    key = ask(tpm, CREATE_PRIMARY, ENDORSEMENT, struct.pack(">HHHH", 4, 0, 0, len(PUBLIC)) + PUBLIC + bytes(6))
    handle = struct.unpack_from(">I", key)[0]
    public, _ = take(key[8:])
    bits = sum(1 << number for number in numbers).to_bytes(3, "little")
    selection = struct.pack(">IHB", 1, 0x0B, 3) + bits
    quoted, signature = take(ask(tpm, QUOTE, handle, struct.pack(">H", len(nonce)) + nonce + b"\0\x10" + selection)[4:])
log = Path(LOG).read_bytes()
print(json.dumps({"public": public.hex(), "quoted": quoted.hex(), "signature": signature.hex(), "log": log.hex()}))
