"""Bind an encrypted device to the machine's TPM (systemd-cryptenroll(1))."""

from __future__ import annotations

from pathlib import Path

from firstboot.apply.action import Refused
from firstboot.apply.programs import Programs
from firstboot.config.tpm import Tpm

DEVICE = "/dev/tpmrm0"
CRYPTTAB_OPTION = "tpm2-device=auto"


def bind(tpm: Tpm, device: str, key_file: str, programs: Programs) -> None:
    """Let the TPM open the device.

    Args:
        key_file: what opens it now, and then as well.

    Raises:
        Refused: the machine has no TPM. ProgramError.
    """
    if not has_tpm():
        raise Refused(f"{device} is to be opened by the machine's TPM, and the machine has no TPM 2.0")
    programs.run(make_command(tpm, device, key_file))


def has_tpm() -> bool:
    """Whether the kernel has found a TPM 2.0."""
    return Path(DEVICE).is_char_device()


def make_command(tpm: Tpm, device: str, key_file: str) -> list[str]:
    """The command line."""
    # Without a public key: a signed policy belongs to an image's updates, and a key file in /etc to nobody's config.
    policy = [f"--tpm2-pcrs={tpm.pcrs}", "--tpm2-public-key=", "--tpm2-public-key-pcrs="]
    return ["systemd-cryptenroll", f"--unlock-key-file={key_file}", "--tpm2-device=auto", *policy, device]
