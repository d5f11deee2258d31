"""What is measured of a kernel image, and the signature that lets a TPM open something for it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from builder.core.pe import read_sections
from builder.outputs.registers import IN_INITRD, PHASES, compute_policy
from builder.outputs.uki import NO_POLICY, write_policy

pytestmark = pytest.mark.unit


def program(path: Path, **parts: bytes) -> Path:
    """A PE file of these sections, each filled up to 512 bytes as linkers do."""
    count = len(parts)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, count, 0, 0, 0, 0, 0)
    table, body = b"", b""
    start = len(head) + 40 * count
    for name, data in parts.items():
        raw = data.ljust(-(-len(data) // 512) * 512, b"\0")
        entry = struct.pack("<IIII", len(data), 0, len(raw), start + len(body)) + bytes(16)
        table += f".{name}".encode().ljust(8, b"\0") + entry
        body += raw
    path.write_bytes(head + table + body)
    return path


def test_a_policy_is_of_what_is_measured_and_of_nothing_else(tmp_path: Path) -> None:
    parts = {"text": b"stub", "linux": b"kernel", "cmdline": b"a=b", "pcrpkey": b"key", "pcrsig": NO_POLICY}
    policy = compute_policy(program(tmp_path / "uki", **parts), IN_INITRD)
    unmeasured = {**parts, "text": b"another", "pcrsig": b"signed"}
    assert compute_policy(program(tmp_path / "uki", **unmeasured), IN_INITRD) == policy
    for name in ("linux", "cmdline", "pcrpkey"):
        assert compute_policy(program(tmp_path / "uki", **{**parts, name: b"changed"}), IN_INITRD) != policy
    assert compute_policy(program(tmp_path / "uki", **parts), PHASES) != policy


def test_the_signature_takes_the_room_that_was_left_for_it(tmp_path: Path) -> None:
    uki = program(tmp_path / "uki", linux=b"kernel", pcrsig=NO_POLICY, initrd=b"initrd")
    before = uki.read_bytes()
    write_policy(uki, '{"sha256":[]}\n')
    after = uki.read_bytes()
    assert len(after) == len(before)
    sections = {part.name: after[part.offset : part.offset + part.size] for part in read_sections(uki)}
    assert sections[".pcrsig"].rstrip() == b'{"sha256":[]}'
    assert (sections[".linux"], sections[".initrd"]) == (b"kernel", b"initrd")
