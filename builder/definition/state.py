"""``state:`` as the user writes it: how the partition that a machine writes to is kept from who has the disk."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from firstboot.config.located import Problem

ENCRYPTED_STATE = "encrypted-state"  # the feature that brings what opens it
RECOVERY_KEY = "state-recovery-key"  # and the one for when the TPM does not


class Encryption(enum.StrEnum):
    """What opens the partition."""

    NONE = "none"
    TPM2 = "tpm2"


class State(BaseModel):
    """The ``state`` partition: the machine's part of ``/etc``, and ``/var``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)

    encryption: Encryption = Field(
        Encryption.NONE,
        description="`tpm2`: LUKS, opened by the machine's TPM 2.0 for kernel images that are signed with the key of "
        "the build (PCR 11), below the same firmware policy (PCR 7). The build has to sign. Default: `none`.",
    )
    recovery_key: bool = Field(
        True,
        description="Whether the first boot makes a key that opens it where the TPM does not any more, and shows it "
        "once on the console, or hands it to whom the first-boot config names.",
    )


def list_implied_features(state: State) -> tuple[str, ...]:
    """The features that ``state`` brings by itself."""
    if state.encryption is Encryption.NONE:
        return ()
    return (ENCRYPTED_STATE, RECOVERY_KEY) if state.recovery_key else (ENCRYPTED_STATE,)


def check_state(state: State, features: tuple[str, ...]) -> Iterator[Problem]:
    """Whether what opens the partition is there because it is wanted.

    Args:
        features: as the definition names them.
    """
    if state.encryption is Encryption.NONE:
        for name in (ENCRYPTED_STATE, RECOVERY_KEY):
            if name in features:
                message = f"'{name}' alone encrypts nothing"
                hint = "set 'state: {encryption: tpm2}', which brings the features that it needs"
                yield Problem(("features", features.index(name)), message, hint)
        if not state.recovery_key:
            yield Problem(("state", "recovery_key"), "nothing is encrypted", "set encryption: tpm2 as well")
