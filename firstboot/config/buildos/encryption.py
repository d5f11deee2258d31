"""What binds an encrypted device to the machine's TPM where the config says no more than ``tpm2: true``.

Clevis' own answer, and Ignition's, is this TPM and nothing else: whoever starts another system on the machine opens the
device. Ours is PCR 7 as well, which is what firmware trusts under Secure Boot. It also changes with a new list of
revoked images, so it is only asked for where the config's key opens the device then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.config.devices import Clevis, ClevisCustom
from firstboot.config.text import Problem

if TYPE_CHECKING:
    from firstboot.config.butane.draft import Draft

PCRS = '{"pcr_bank":"sha256","pcr_ids":"7"}'


def bind_to_firmware(draft: Draft) -> None:
    """Name the PCRs of devices that only the TPM is to open; warn of those that nothing else opens."""
    storage = draft.config.storage
    devices = []
    for index, luks in enumerate(storage.luks):
        bound = luks
        if is_by_tpm_alone(luks.clevis):
            if luks.key_file.source is None:
                draft.problems.append(
                    Problem(
                        ("storage", "luks", index, "clevis", "tpm2"),
                        "only this machine's TPM opens this device: if it breaks or is cleared, what is on it is lost",
                        "give it a key_file, which opens it as well and is not kept here; then PCR 7 is bound, too",
                        "warning",
                    )
                )
            else:
                bound = luks.model_copy(
                    {"clevis": Clevis(custom=ClevisCustom(pin="tpm2", config=PCRS, needs_network=False))}
                )
        devices.append(bound)
    draft.config = draft.config.model_copy({"storage": storage.model_copy({"luks": (*devices,)})})


def is_by_tpm_alone(clevis: Clevis) -> bool:
    """Whether it says ``tpm2: true``, and neither what else opens the device nor how."""
    return bool(clevis.tpm2) and not clevis.tang and clevis.threshold in (None, 1) and not clevis.custom.pin
