"""One table for what differs between architectures, and nobody who keeps another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.core.architecture import ARCHITECTURES, Arch, find_host_arch, require_architecture
from builder.core.errors import InputError

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parent.parent.parent.parent
TABLE = REPOSITORY / "builder/core/architecture.py"
# In code, at the beginning of a string or of a word in one.
NAMES = re.compile(
    r"""(?ix) ["'/-] (amd64 | arm64 | x86[-_]64 | aarch64 | (x64|aa64)\.efi | boot(x64|aa64) | ttyS0 | ttyAMA0 | q35)"""
)
# All kernels' modules at once; a kernel has those of its architecture.
MODULE_NAMES = "sha256-arm64"
# Butane's own words for machines, some of which we make no images for; the OCI specification's, in the guest, which
# has nothing of the builder.
SPECIFIED = tuple(
    REPOSITORY / "firstboot" / each
    for each in ("config/butane/boot_device.py", "config/oci/manifests.py", "fetch/schemes/oci.py")
)


def test_every_architecture_is_in_the_table() -> None:
    assert set(ARCHITECTURES) == set(Arch)


def test_no_other_file_knows_an_architecture_by_name() -> None:
    found = []
    for path in sorted(
        p for package in ("builder", "vm", "firstboot", "update") for p in (REPOSITORY / package).rglob("*.py")
    ):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.partition("#")[0].replace(MODULE_NAMES, "")
            if path not in (TABLE, *SPECIFIED) and NAMES.search(code):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("riscv64", None)],
)
def test_this_machine_is_known_by_its_kernels_name(
    machine: str, arch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert find_host_arch() == arch
    assert [a.value for a in Arch if require_architecture(a).is_native] == ([arch] if arch else [])


def test_firmware_finds_the_boot_loader_by_the_name_the_specification_gives() -> None:
    # UEFI 2.10, table 3.3.
    assert require_architecture("amd64").boot_file == "BOOTX64.EFI"
    assert require_architecture("arm64").boot_file == "BOOTAA64.EFI"


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(InputError, match="does not know the architecture 's390x'") as caught:
        require_architecture("s390x")
    assert caught.value.hint == "supported: amd64, arm64"
