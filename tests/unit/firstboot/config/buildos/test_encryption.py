"""Encrypted devices that the TPM opens, where a config of our own variant says no more than that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firstboot.config.devices import Luks
from firstboot.config.tpm import find_tpm
from firstboot.engine.compile import load
from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
DEVICE = "storage:\n  luks:\n    - name: data\n      device: /dev/vdb\n      wipe_volume: true\n"
KEY = "      key_file: {inline: a key that is kept elsewhere}\n"


def luks_of(read: Read) -> Luks:
    config = read.document.config
    assert config is not None, read.said
    [luks] = config.storage.luks
    return luks


def test_a_device_that_a_key_opens_as_well_is_bound_to_what_the_firmware_trusts(config: Config) -> None:
    found = config(f"{DEVICE}{KEY}      clevis: {{tpm2: true}}\n")
    tpm = find_tpm(luks_of(found))
    assert tpm is not None
    assert tpm.pcrs == "7:sha256"
    assert found.said == []


def test_a_device_that_nothing_else_opens_is_not_lost_with_a_new_firmware_and_its_line_is_warned_of(
    config: Config,
) -> None:
    found = config(f"{DEVICE}      clevis: {{tpm2: true}}\n")
    tpm = find_tpm(luks_of(found))
    assert tpm is not None
    assert tpm.pcrs == ""
    [said] = found.said
    assert said.startswith("8 storage.luks.0.clevis.tpm2: only this machine's TPM opens this device")


@pytest.mark.parametrize(
    "clevis",
    [
        "{custom: {pin: tpm2, config: '{}', needs_network: false}}",
        '{custom: {pin: tpm2, config: \'{"pcr_ids":"0,7"}\', needs_network: false}}',
        "{tpm2: true, threshold: 2, tang: [{url: 'http://a.example', thumbprint: x}]}",
    ],
)
def test_who_says_how_a_device_is_bound_is_taken_at_their_word(config: Config, clevis: str) -> None:
    with_key, without = (config(f"{DEVICE}{key}      clevis: {clevis}\n") for key in (KEY, ""))
    assert with_key.said == without.said == []
    assert luks_of(with_key).clevis == luks_of(without).clevis


def test_other_variants_bind_as_upstream_does() -> None:
    text = f"variant: fcos\nversion: 1.5.0\n{DEVICE}{KEY}      clevis: {{tpm2: true}}\n"
    loaded = load(text, "x")
    [luks] = loaded.config.storage.luks
    tpm = find_tpm(luks)
    assert tpm is not None
    assert tpm.pcrs == ""
    assert loaded.warnings == ()
