"""What a first boot imports: on an emulated processor a millisecond of importing is twenty, so it is counted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from firstboot import platform_index
from firstboot.platform_index import fill_in, make_index
from tests.bench.firstboot import CONFIGS

pytestmark = pytest.mark.image

# Runs a first boot in a directory whose programs do nothing, and prints the modules that are there then.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from firstboot.apply.programs import Programs
from firstboot.cli.run import run_command
from firstboot.places import Places

class Nothing(Programs):
    def find(self, name):
        return name
    def run_for_status(self, argv, *_rest):
        return (1, "disabled") if "is-enabled" in argv else (0, "")

status = run_command(["run"], Places(Path(sys.argv[1]), Nothing()))
print(status, *sorted(name for name, module in sys.modules.items() if module is not None))
"""
DECIDES = """
import sys
from pathlib import Path
from firstboot.cli.run import run_command
from firstboot.places import Places

status = run_command(["prepare"], Places(Path(sys.argv[1])))
print(status, *sorted(name for name, module in sys.modules.items() if module is not None))
"""
PLATFORM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from firstboot.places import Places
from firstboot.platforms import import_platform
from firstboot.platform_index import FROM_THE_BUILD, PlatformIndex
from firstboot.sources.detection import detect_platform
import_platform(detect_platform(Places(Path(sys.argv[2]))))
files = (name.removeprefix("firstboot.platforms.") for name in sys.modules if name.startswith("firstboot.platforms."))
print(FROM_THE_BUILD, *(name for name in files if not name.startswith("shared")), sep="\\n")
"""
# Each is known for what it brings along, or for what it takes.
HEAVY = {
    *("requests", "urllib3", "http.client", "http.server", "ssl", "socket", "email", "urllib.request", "asyncio"),
    *("argparse", "difflib", "logging", "unittest", "ctypes", "multiprocessing", "concurrent.futures", "pdb"),
    *(
        "_hashlib",
        "importlib.metadata",
        "tarfile",
        "zipfile",
        "gzip",
        "lzma",
        "bz2",
        "sqlite3",
        "xml",
        "tempfile",
        "shutil",
    ),
}
# A machine with no config needs none of the models, one with a config none of what fetches.
NEVER = {
    "none": {"pydantic", "yaml", "firstboot.config.models"},
    "typical": {"pydantic", "inspect", "firstboot.fetch.web", "firstboot.fetch.http_exchange"},
}
MOST = {"none": 125, "typical": 205}  # 103 and 180 when this was written, with Python 3.11


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A directory with the provisioner as it is in an image."""
    source = Path(platform_index.__file__)
    directory = tmp_path / "packages"
    shutil.copytree(source.parent, directory / "firstboot", ignore=shutil.ignore_patterns("__pycache__"))
    text = fill_in(source.read_text(encoding="utf-8"), make_index())
    (directory / "firstboot/platform_index.py").write_text(text, encoding="utf-8")
    return directory


@pytest.mark.parametrize("which", ["none", "typical"])
def test_a_first_boot_imports_only_what_it_needs(tmp_path: Path, packages: Path, which: str) -> None:
    for directory in ("sys/firmware/qemu_fw_cfg/by_name", "proc", "dev", "etc", "var", "run/state", "usr/lib"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("IMAGE_ID=lean\nIMAGE_VERSION=1\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    config = next(text for title, text in CONFIGS.items() if title.startswith(which))
    if config:
        entry = tmp_path / "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config"
        entry.mkdir(parents=True)
        # Users would have to be made by programs that do nothing here.
        left = [line for line in config.splitlines() if "name: user" not in line and "ssh_authorized" not in line]
        text = "\n".join(left)
        (entry / "raw").write_text(text)
        (entry / "size").write_text(f"{len(text)}\n")
    command = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path), str(packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, *modules = done.stdout.split()
    assert status == "0", done.stderr
    assert [name for name in NEVER[which] if find_spec(name) is None] == []
    assert set(modules) & (HEAVY | NEVER[which]) == set()
    assert len(modules) <= MOST[which], len(modules)


def test_deciding_whether_it_is_a_first_boot_imports_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "run/state").mkdir(parents=True)
    command = [sys.executable, "-I", "-c", DECIDES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, *modules = done.stdout.split()
    assert status == "0", done.stderr
    never = HEAVY | NEVER["none"] | {"json", "subprocess", "firstboot.report"}
    assert [name for name in never if find_spec(name) is None] == []
    assert never & {*modules} == set()
    assert (tmp_path / "run/build-os/first-boot").exists()


@pytest.mark.parametrize(("vendor", "platform"), [("Nutanix", "nutanix"), ("QEMU", "qemu"), ("Dell Inc.", "metal")])
def test_a_machine_imports_the_file_of_its_own_platform_and_no_other(
    tmp_path: Path, packages: Path, vendor: str, platform: str
) -> None:
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text(f"{vendor}\n")
    if platform == "qemu":
        (tmp_path / "sys/firmware/qemu_fw_cfg").mkdir(parents=True)
    command = [sys.executable, "-I", "-c", PLATFORM, str(packages), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [repr(make_index()), platform]
