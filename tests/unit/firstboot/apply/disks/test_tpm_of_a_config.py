"""What a config may want of the TPM, and the commands that come of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.apply.disks.luks import format_command, format_crypttab_options
from firstboot.apply.disks.tpm import make_command
from firstboot.config.devices import Clevis, ClevisCustom, Luks
from firstboot.config.models import Resource
from firstboot.config.tpm import Tpm, find_tpm, parse_registers
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit


def pinned(config: object) -> Luks:
    return Luks(name="a", clevis=Clevis(custom=ClevisCustom(pin="tpm2", config=json.dumps(config))))


def test_the_tpm_by_itself_is_enough() -> None:
    luks = Luks(name="a", discard=True, clevis=Clevis(tpm2=True))
    assert find_tpm(luks) == Tpm("")
    assert format_crypttab_options(luks) == "luks,discard,tpm2-device=auto"
    words = make_command(Tpm(""), "/dev/vdb1", "/run/key")
    assert words[0] == "systemd-cryptenroll"
    assert "--tpm2-pcrs=" in words  # and not its default, PCR 7


def test_a_device_without_a_tpm_is_opened_by_its_key() -> None:
    luks = Luks(name="a")
    assert find_tpm(luks) is None
    assert format_crypttab_options(luks) == "luks"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ""),
        ({"pcr_ids": "7"}, "7:sha256"),
        ({"pcr_ids": "0, 7,14", "pcr_bank": "sha384"}, "0:sha384+7:sha384+14:sha384"),
        ({"pcr_ids": [4, 5]}, "4:sha256+5:sha256"),
        ({"hash": "sha256", "key": "ecc"}, ""),
    ],
)
def test_registers_are_those_of_the_pin(config: object, expected: str) -> None:
    assert find_tpm(pinned(config)) == Tpm(expected)


@pytest.mark.parametrize("config", [{"pcr_ids": "24"}, {"pcr_bank": "md5"}, {"pcr_digest": "x"}, [], {"pcr_ids": "a"}])
def test_a_pin_that_cannot_be_carried_out_is_refused(config: object) -> None:
    with pytest.raises(ValueError, match=r"PCR|pcr_ids"):
        find_tpm(pinned(config))


@given(st.text(max_size=40) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
@examples(100)
def test_whatever_a_pin_says_is_read_or_refused(text: str) -> None:
    try:
        parse_registers(text)
    except ValueError:
        return
    assert isinstance(json.loads(text), dict)


def test_a_device_that_is_being_made_says_so() -> None:
    words = format_command(Luks(name="a", label="x"), "/dev/vdb1", "/run/key", "0123")
    assert words[words.index("--subsystem") + 1] == "build-os:attempt-0123"
    assert "--subsystem" not in format_command(Luks(name="a", label="x"), "/dev/vdb1", "/run/key")


@pytest.mark.parametrize(
    ("luks", "is_stretched"),
    [
        (Luks(name="a"), False),
        (Luks(name="a", options=("--cipher", "aes-xts-plain64")), False),
        (Luks(name="a", key_file=Resource(source="data:,horse")), True),
    ],
)
def test_a_random_key_is_not_stretched_as_a_password_is(luks: Luks, is_stretched: bool) -> None:
    assert ("--pbkdf" not in format_command(luks, "/dev/vdb1", "/run/key")) is is_stretched


@pytest.mark.parametrize("option", ["--pbkdf", "--pbkdf=argon2id", "--iter-time", "-i", "-qi5"])
def test_whoever_says_how_a_key_is_stretched_is_obeyed(option: str) -> None:
    words = format_command(Luks(name="a", options=(option, "x")), "/dev/vdb1", "/run/key")
    assert words[-3:] == [option, "x", "/dev/vdb1"]
    assert "--pbkdf-force-iterations" not in words
