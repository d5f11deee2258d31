"""Which credentials of firmware and hypervisor get into a machine whose image names some."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot import credentials
from firstboot.credentials import parse_smbios_strings, read_handed_over, take

pytestmark = pytest.mark.unit


def table(*strings: bytes) -> bytes:
    """OEM strings as firmware writes them (SMBIOS reference specification, 7.12)."""
    return bytes([11, 5, 0, 0, len(strings)]) + b"".join(each + b"\0" for each in strings) + b"\0"


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A machine that is handed a unit for root, two tokens and something that is no credential."""
    smbios = tmp_path / "firmware/dmi/entries/11-0"
    smbios.mkdir(parents=True)
    (smbios / "raw").write_bytes(
        table(
            b"io.systemd.credential:web.token=a=b",
            b"io.systemd.stub.kernel-cmdline-extra=init=/bin/sh",
            b"io.systemd.credential.binary:systemd.extra-unit.evil.service=" + base64.b64encode(b"[Service]"),
            b"io.systemd.credential.binary:app.key=" + base64.b64encode(b"\0\xff"),
            b"io.systemd.credential:web.token=second",
        )
    )
    item = tmp_path / "firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/app.other"
    item.mkdir(parents=True)
    (item / "raw").write_bytes(b"from fw_cfg")
    return tmp_path / "firmware"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "credstore").mkdir()
    return tmp_path / "credstore"


def test_only_what_the_image_names_is_taken_and_only_root_reads_it(firmware: Path, store: Path) -> None:
    assert take(["web.token"], store, firmware) == ["web.token"]
    [taken] = store.iterdir()
    assert (taken.name, taken.read_bytes(), taken.stat().st_mode & 0o777) == ("web.token", b"a=b", 0o400)


def test_a_star_stands_for_any_text(firmware: Path, store: Path) -> None:
    take(["app.*"], store, firmware)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == {
        "app.key": b"\0\xff",
        "app.other": b"from fw_cfg",
    }


def test_a_machine_that_is_handed_nothing_takes_nothing(tmp_path: Path, store: Path) -> None:
    assert take(["*"], store, tmp_path / "nothing") == []


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../evil", "a\nb", "x" * 256, ""])
def test_a_name_that_leads_elsewhere_is_none(name: str, tmp_path: Path, store: Path) -> None:
    smbios = tmp_path / "dmi/entries/11-0"
    smbios.mkdir(parents=True)
    (smbios / "raw").write_bytes(table(f"io.systemd.credential:{name}=x".encode()))
    assert take(["*"], store, tmp_path) == []
    assert list(store.iterdir()) == []


def test_more_than_systemd_allows_is_left_out(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(credentials, "MAX_ALL", 10)
    smbios = tmp_path / "dmi/entries/11-0"
    smbios.mkdir(parents=True)
    (smbios / "raw").write_bytes(table(*(f"io.systemd.credential:{name}=123456".encode() for name in "ab")))
    assert take(["*"], store, tmp_path) == ["a"]
    assert "the credential b is larger" in capsys.readouterr().err


def test_what_is_not_in_base64_is_left_out(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smbios = tmp_path / "dmi/entries/11-0"
    smbios.mkdir(parents=True)
    (smbios / "raw").write_bytes(table(b"io.systemd.credential.binary:a=%%%"))
    assert take(["*"], store, tmp_path) == []
    assert "not in base64" in capsys.readouterr().err


@given(st.binary(max_size=64))
def test_no_table_of_a_firmware_is_a_traceback(data: bytes) -> None:
    assert len(parse_smbios_strings(data)) <= 255


def test_strings_are_those_that_the_table_counts() -> None:
    assert parse_smbios_strings(table(b"a", b"b")) == [b"a", b"b"]
    assert parse_smbios_strings(b"") == parse_smbios_strings(bytes([1, 5, 0, 0, 1]) + b"a\0\0") == []


def test_a_machine_without_firmware_tables_hands_over_nothing(tmp_path: Path) -> None:
    assert list(read_handed_over(tmp_path)) == []
