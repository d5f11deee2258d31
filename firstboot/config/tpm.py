"""What a config wants of the machine's TPM for an encrypted device."""

from __future__ import annotations

import json

from firstboot.config.devices import Luks
from firstboot.config.named_tuple import NamedTuple


class Tpm(NamedTuple):
    """How a device is bound.

    Attributes:
        pcrs: the registers that have to be as they are now, as systemd-cryptenroll takes them: ``7:sha256+14:sha256``;
            empty: this TPM is enough, as with clevis.
    """

    pcrs: str = ""


def find_tpm(luks: Luks) -> Tpm | None:
    """What the config wants of the TPM; ``None`` if it wants no TPM, or not only that."""
    clevis = luks.clevis
    if clevis.custom.pin == "tpm2":
        return Tpm(parse_registers(clevis.custom.config or "{}"))
    return Tpm() if clevis.tpm2 and not clevis.tang and (clevis.threshold or 1) == 1 else None


def parse_registers(config: str) -> str:
    """The registers of a clevis pin's config: ``{"pcr_bank": "sha256", "pcr_ids": "0,7"}``.

    Raises:
        ValueError: it names none, or wants what only clevis can do.
    """
    values = json.loads(config)
    if not isinstance(values, dict) or values.keys() - {"pcr_ids", "pcr_bank", "hash", "key"}:
        raise ValueError("only pcr_ids and pcr_bank of a tpm2 pin are supported")
    ids = values.get("pcr_ids", "")
    if isinstance(ids, list):
        ids = ",".join(str(number) for number in ids)
    bank = values.get("pcr_bank", "sha256")
    if bank not in ("sha1", "sha256", "sha384", "sha512"):
        raise ValueError(f"there is no PCR bank {bank!r}")
    numbers = [number.strip() for number in str(ids).split(",") if number.strip()]
    if not all(number.isascii() and number.isdigit() and int(number) < 24 for number in numbers):
        raise ValueError(f"PCRs are numbers from 0 to 23, and not {ids!r}")
    return "+".join(f"{int(number)}:{bank}" for number in numbers)
