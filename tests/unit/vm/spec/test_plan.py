"""build.json, read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import InputError
from builder.core.image import Image, read_image
from vm.spec import Accel, Credentials, Forward
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

pytestmark = pytest.mark.unit


def build(directory: Path, **changes: Any) -> Path:
    """A build.json with its artifacts."""
    artifacts = {}
    for kind, name in (("qcow2", "demo.qcow2"), ("kernel", "vmlinuz"), ("initrd", "initrd"), ("uki", "demo.efi")):
        (directory / name).write_bytes(kind.encode())
        artifacts[kind] = {"path": name, "size": len(kind), "sha256": "00", "format": kind}
    data = {
        "schema": 1,
        "name": "demo",
        "version": "1.0.0",
        "arch": "amd64",
        "features": ["base"],
        "definition": "/configs/demo.yaml",
        "lock_sha256": "00",
        "source_date_epoch": 0,
        "roothash": "abcd",
        "command_line": "roothash=abcd console=ttyS0",
        "tools": "/store/tools/key",
        "artifacts": artifacts,
        "timings": {},
        **changes,
    }
    path = directory / "build.json"
    path.write_text(json.dumps(data))
    return path


def complaint(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_image(path)
    return caught.value


def test_reads_what_the_builder_writes(tmp_path: Path) -> None:
    image = read_image(build(tmp_path))
    assert (image.name, image.version, image.arch, image.features) == ("demo", "1.0.0", "amd64", ("base",))
    assert image.tools == Path("/store/tools/key")
    assert image.choose_disk() == (tmp_path / "demo.qcow2", "qcow2")
    assert image.require_artifact("uki").path == tmp_path / "demo.efi"


def test_a_directory_stands_for_the_build_json_in_it(tmp_path: Path) -> None:
    build(tmp_path)
    assert read_image(tmp_path).name == "demo"


def test_what_the_builder_may_say_one_day_is_no_error(tmp_path: Path) -> None:
    assert read_image(build(tmp_path, something_new={"a": 1})).name == "demo"


def test_a_missing_build_json_says_what_to_run(tmp_path: Path) -> None:
    error = complaint(tmp_path / "build.json")
    assert "there is no" in error.what
    assert "build-os build" in str(error.hint)


@pytest.mark.parametrize("text", ["", "not json", "[1", "\udc80".encode("utf-8", "surrogateescape").decode("latin-1")])
def test_something_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "build.json").write_text(text)
    assert "is not JSON" in complaint(tmp_path).what


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"name": "x"}'])
def test_json_of_somebody_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "build.json").write_text(text)
    assert "has no 'schema'" in complaint(tmp_path).what


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_a_foreign_schema_is_refused(tmp_path: Path, schema: object) -> None:
    error = complaint(build(tmp_path, schema=schema))
    assert "schema" in error.what


def test_wrong_and_missing_values_are_all_named(tmp_path: Path) -> None:
    error = complaint(build(tmp_path, name=3, tools=None))
    assert [line.partition(":")[0] for line in error.details] == ["name", "tools"]


def test_an_artifact_that_was_not_built_says_what_was(tmp_path: Path) -> None:
    image = read_image(build(tmp_path))
    with pytest.raises(InputError, match="built without 'aws'") as caught:
        image.require_artifact("aws")
    assert "initrd, kernel, qcow2, uki" in caught.value.details[0]


def test_an_image_without_a_disk_cannot_be_booted(tmp_path: Path) -> None:
    image = read_image(build(tmp_path, artifacts={}))
    with pytest.raises(InputError, match="built without 'qcow2'"):
        image.choose_disk()


def test_an_artifact_that_was_cut_short_is_noticed(tmp_path: Path) -> None:
    image = read_image(build(tmp_path))
    (tmp_path / "demo.qcow2").write_bytes(b"qc")
    with pytest.raises(InputError, match="2 bytes instead of 5"):
        image.choose_disk()
    (tmp_path / "demo.qcow2").unlink()
    with pytest.raises(InputError, match="cannot read"):
        image.choose_disk()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return read_image(build(tmp_path))


def test_a_machine_boots_from_an_overlay_with_uefi(image: Image, tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path / "machine")
    spec = plan_machine(image, folder, Accel.TCG, MachineRequest(forwards=[Forward(80)], extra_disks=[1 << 30]))
    assert spec.disks[0].path == folder.locate_disk(0)
    assert spec.disks[0].base == tmp_path / "demo.qcow2"
    assert spec.disks[1].size == 1 << 30
    assert spec.uefi is not None
    assert spec.uefi.variables == folder.variables
    assert spec.kernel is None
    assert spec.restrict


def test_a_kernel_boot_uses_the_images_own_command_line(image: Image, tmp_path: Path) -> None:
    spec = plan_machine(
        image, MachineFolder(tmp_path / "machine"), Accel.KVM, MachineRequest(boot="kernel", net="none")
    )
    assert spec.uefi is None
    assert spec.kernel is not None
    assert spec.kernel.command_line == "roothash=abcd console=ttyS0"


def test_without_a_network_nothing_is_forwarded(image: Image, tmp_path: Path) -> None:
    spec = plan_machine(image, MachineFolder(tmp_path), Accel.KVM, MachineRequest(net="none", forwards=[Forward(80)]))
    assert spec.forwards == ()


# --- who takes credentials


@pytest.mark.parametrize(
    ("words", "boot", "takes"),
    [
        ("quiet", "uefi", Credentials.TAKEN),
        ("quiet build_os.full=--", "uefi", Credentials.TAKEN),
        ("systemd.import_credentials=no quiet", "uefi", Credentials.IF_TOLD),
        ("systemd.import_credentials=no quiet build_os.full=--", "uefi", Credentials.REFUSED),
        ("systemd.import_credentials=no quiet build_os.full=--", "kernel", Credentials.IF_TOLD),
    ],
)
def test_an_image_says_on_its_command_line_whether_it_takes_credentials(
    words: str, boot: Any, takes: Credentials, image: Image, tmp_path: Path
) -> None:
    told = replace(image, command_line=words)
    assert plan_machine(told, MachineFolder(tmp_path), Accel.TCG, MachineRequest(boot=boot)).takes is takes


def test_who_loads_the_kernel_tells_it_more_than_a_signed_line_has_room_for(image: Image, tmp_path: Path) -> None:
    told = replace(image, command_line="quiet build_os.full=----")
    spec = plan_machine(told, MachineFolder(tmp_path), Accel.TCG, MachineRequest(boot="kernel", arguments="debug"))
    assert spec.kernel is not None
    assert spec.kernel.command_line == "quiet debug"


# --- who is trusted under Secure Boot


def signed(tmp_path: Path) -> Image:
    """The image, with the certificate that a build which signs leaves beside it."""
    path = build(tmp_path)
    (tmp_path / "demo.cer").write_bytes(b"der")
    data = json.loads(path.read_text())
    data["artifacts"]["certificate"] = {"path": "demo.cer", "size": 3, "sha256": "00", "format": "cer"}
    path.write_text(json.dumps(data))
    return read_image(path)


def trusted(image: Image, tmp_path: Path, **options: Any) -> tuple[str, Path | None]:
    spec = plan_machine(image, MachineFolder(tmp_path / "machine"), Accel.TCG, MachineRequest(**options))
    assert spec.uefi is not None
    assert (spec.uefi.code.name == "OVMF_CODE_4M.secboot.fd") is bool(options)
    return spec.uefi.template.name, spec.uefi.certificate


def test_firmware_trusts_the_images_own_key_or_microsofts_or_the_one_that_is_named(tmp_path: Path) -> None:
    own, unsigned = signed(tmp_path), read_image(build(tmp_path))
    other = tmp_path / "other.crt"
    assert trusted(own, tmp_path) == ("OVMF_VARS_4M.fd", None)
    assert trusted(own, tmp_path, secure_boot=True) == ("OVMF_VARS_4M.fd", tmp_path / "demo.cer")
    assert trusted(unsigned, tmp_path, secure_boot=True) == ("OVMF_VARS_4M.ms.fd", None)
    assert trusted(own, tmp_path, secure_boot=other) == ("OVMF_VARS_4M.fd", other)
    # Nobody yet: in setup mode firmware takes the keys that it is given.
    empty = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
    assert trusted(own, tmp_path, secure_boot=True, variables=empty) == ("OVMF_VARS_4M.fd", None)


def test_a_machine_whose_state_a_tpm_opens_has_one_and_is_started_by_its_firmware(tmp_path: Path) -> None:
    image, folder = read_image(build(tmp_path, features=["base", "encrypted-state"])), MachineFolder(tmp_path / "vm")
    assert plan_machine(image, folder, Accel.TCG).tpm == folder.tpm
    with pytest.raises(InputError, match="opened for kernel images that firmware measured") as caught:
        plan_machine(image, folder, Accel.TCG, MachineRequest(boot="kernel"))
    assert "--kernel" in str(caught.value)
