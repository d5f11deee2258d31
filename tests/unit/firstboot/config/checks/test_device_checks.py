"""What is said about disks, RAID, encryption and filesystems that make no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firstboot.config.document import read

pytestmark = pytest.mark.unit

HASH = "sha256-" + "a" * 64


def found(version: str = "3.6.0", **storage: Any) -> list[str]:
    """Paths below ``storage`` of everything that is found; warnings end in ``?``."""
    document = read(json.dumps({"ignition": {"version": version}, "storage": storage}), "x")
    return sorted(
        ".".join(map(str, each.path[1:])) + ("?" if each.severity == "warning" else "") for each in document.problems
    )


def disk(*partitions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"disks": [{"device": "/dev/vda", "partitions": [*partitions], **more}]}


@pytest.mark.parametrize(
    ("partitions", "paths"),
    [
        ([{"number": 1}, {"label": "x"}, {"label": ""}], []),
        ([{}], ["disks.0.partitions.0"]),
        ([{"number": 1, "label": "é" * 18}], []),
        ([{"number": 1, "label": "é" * 19}], ["disks.0.partitions.0.label"]),
        ([{"number": 1, "label": "a:b"}], ["disks.0.partitions.0.label"]),
        ([{"number": 1, "guid": "8300"}], ["disks.0.partitions.0.guid"]),
        ([{"number": 1, "shouldExist": False, "sizeMiB": 1}], ["disks.0.partitions.0"]),
        ([{"number": 1, "shouldExist": False}, {"label": "x"}], ["disks.0.partitions"]),
        ([{"number": 1, "shouldExist": False, "wipePartitionEntry": True}, {"label": "x"}], []),
        ([{"number": 1, "label": "x"}, {"number": 2, "label": "x"}], ["disks.0.partitions.1"]),
    ],
)
def test_partitions(partitions: list[dict[str, Any]], paths: list[str]) -> None:
    assert found(**disk(*partitions)) == paths


@pytest.mark.parametrize(
    ("places", "path"),
    [
        ([(1, 100), (101, 10)], None),
        ([(1, 100), (100, 10)], 1),
        ([(200, 1), (1, 100), (50, 10), (40, 5)], 2),
        ([(10, 10), (1, 100)], 1),
        ([(5, 0), (5, 0)], 1),
        ([(0, 10), (0, 10)], None),
        ([(5, None), (5, 3)], None),
    ],
)
def test_partitions_that_overlap(places: list[tuple[int, int | None]], path: int | None) -> None:
    partitions = [
        {"number": index + 1, "startMiB": start, "sizeMiB": size} for index, (start, size) in enumerate(places)
    ]
    assert found(**disk(*partitions)) == ([] if path is None else [f"disks.0.partitions.{path}"])


@pytest.mark.parametrize(
    ("version", "raid", "paths"),
    [
        ("3.6.0", {"level": "raid1", "devices": ["/dev/a", "/dev/b"]}, []),
        ("3.6.0", {"level": "raid1"}, ["raid.0.devices"]),
        ("3.6.0", {"devices": ["/dev/a"]}, ["raid.0.level"]),
        ("3.6.0", {"level": "raid2", "devices": ["/dev/a", "b"]}, ["raid.0.devices.1", "raid.0.level"]),
        ("3.6.0", {"level": "stripe", "devices": ["/dev/a"], "spares": 1}, ["raid.0.level"]),
    ],
)
def test_raids(version: str, raid: dict[str, Any], paths: list[str]) -> None:
    assert found(version, raid=[{"name": "r", **raid}]) == paths


@pytest.mark.parametrize(
    ("version", "luks", "paths"),
    [
        ("3.6.0", {}, []),
        ("3.6.0", {"device": ""}, ["luks.0.device"]),
        ("3.6.0", {"name": "a/b"}, ["luks.0.name"]),
        ("3.6.0", {"label": "x" * 48}, ["luks.0.label"]),
        ("3.6.0", {"keyFile": {"source": "nowhere"}}, ["luks.0.keyFile.source", "luks.0.keys"]),
        ("3.6.0", {"keyFile": {"verification": {"hash": HASH}}}, ["luks.0.keyFile.verification.hash"]),
        ("3.6.0", {"cex": {"enabled": True}, "clevis": {"tpm2": True}}, ["luks.0.cex"]),
        ("3.6.0", {"clevis": {"custom": {"pin": "pkcs11", "config": "{}"}}}, []),
        ("3.5.0", {"clevis": {"custom": {"pin": "pkcs11", "config": "{}"}}}, ["luks.0.clevis.custom.pin"]),
        ("3.6.0", {"clevis": {"custom": {"pin": "tpm2", "config": "{}"}, "threshold": 2}}, ["luks.0.clevis"]),
        ("3.6.0", {"clevis": {"tang": [{"url": "ftp://t", "thumbprint": "x"}]}}, ["luks.0.clevis.tang.0.url"]),
        (
            "3.6.0",
            {"clevis": {"tang": [{"url": "http://t", "advertisement": "{"}]}},
            ["luks.0.clevis.tang.0.advertisement", "luks.0.clevis.tang.0.thumbprint"],
        ),
        ("3.1.0", {}, ["luks?"]),
    ],
)
def test_encryption(version: str, luks: dict[str, Any], paths: list[str]) -> None:
    assert found(version, luks=[{"name": "l", "device": "/dev/vda", **luks}]) == paths


@pytest.mark.parametrize(
    ("version", "filesystem", "paths"),
    [
        ("3.6.0", {"format": "ext4", "label": "x" * 16, "path": "/var"}, []),
        ("3.6.0", {"format": "ext4", "label": "x" * 17}, ["filesystems.0.label"]),
        ("3.6.0", {"format": "vfat", "label": "é" * 6}, ["filesystems.0.label"]),
        ("3.6.0", {"format": "ext3"}, ["filesystems.0.format"]),
        ("3.2.0", {"format": "none"}, ["filesystems.0.format"]),
        ("3.6.0", {"mountOptions": ["ro"]}, ["filesystems.0.format"]),
        ("3.6.0", {"label": "x"}, ["filesystems.0.format", "filesystems.0.label"]),
        ("3.6.0", {"format": "xfs", "path": "var"}, ["filesystems.0.path"]),
        ("3.7.0-experimental", {"format": "virtiofs", "device": "share", "path": "/x"}, []),
        (
            "3.7.0-experimental",
            {"format": "virtiofs", "device": "x" * 37, "uuid": "u", "wipeFilesystem": True},
            ["filesystems.0.device", "filesystems.0.uuid", "filesystems.0.wipeFilesystem"],
        ),
    ],
)
def test_filesystems(version: str, filesystem: dict[str, Any], paths: list[str]) -> None:
    assert found(version, filesystems=[{"device": "/dev/vdb", **filesystem}]) == paths


def test_a_filesystem_on_a_disk_that_is_partitioned_or_wiped_is_remarked_on() -> None:
    filesystems = [{"device": "/dev/vda", "format": "ext4"}]
    assert found(**disk({"number": 1}), filesystems=filesystems) == ["filesystems.0.device?"]
    assert found(**disk(wipeTable=True), filesystems=filesystems) == ["filesystems.0.device?"]
    assert found(**disk(), filesystems=filesystems) == []


def test_many_partitions_are_judged_in_time() -> None:
    partitions = [{"number": each, "startMiB": each, "sizeMiB": 1} for each in range(1, 20_000)]
    assert found(**disk(*partitions)) == []
