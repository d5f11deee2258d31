"""``builder/python/install.py``: what is left of a wheel is what ``pip install`` leaves, RECORD included."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.python.pack import unpack_wheels
from tests.support.pip import compare_with_pip, list_install_options
from tests.support.wheels import lock_wheel, make_wheel

pytestmark = pytest.mark.image

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def compare(tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Install the wheels by pip and by build-os, and compare; the names of all files."""
    prefix = tmp_path / "environment"
    wheels = [lock_wheel(path) for path in paths]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    options = list_install_options(prefix, paths[0].parent, [f"{wheel.name}=={wheel.version}" for wheel in wheels])
    home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, *options], check=True, env=home, umask=0o022)
    store = Store.open(tmp_path / "store")
    for path in paths:
        store.add_bytes(path.read_bytes())
    return compare_with_pip(prefix, unpack_wheels(wheels, store, QuietConsole()), VERSION, monkeypatch)


def test_every_kind_of_file_is_left_as_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    data = "full_shop-1.0.data"
    everything = make_wheel(
        wheels,
        "full-shop",
        files={
            "full_shop/__init__.py": "def main():\n    return 0\n",
            "full_shop/sub/é.py": "x = 1\n",
            "full_shop/broken.py": "def :\n",
            "full_shop/page.html": "<p>",
            "full_shop/with,comma.txt": "",
            "full_shop/tests/test_it.py": "",
            f"{data}/scripts/python-script": "#!python -E\nprint(1)\n",
            f"{data}/scripts/shell-script": "#!/bin/sh\n",
            f"{data}/scripts/shop-admin": "#!python\n# what an old build tool made of the entry point\n",
            f"{data}/data/share/shop/data.txt": "data",
            f"{data}/data/etc/shop.conf": "conf",
            f"{data}/headers/shop.h": "int x;",
            f"{data}/purelib/full_shop_pure.py": "pure = 1\n",
            f"{data}/platlib/full_shop_plat.py": "plat = 1\n",
        },
        entry_points="[console_scripts]\nshop-admin = full_shop:main\nshop.run = full_shop.sub:app.run [extra]\n"
        "[gui_scripts]\nshop-window = full_shop:main\n[shop.plugins]\na = full_shop\n",
    )
    other = make_wheel(wheels, "platform-shop", files={"platform_shop.so": b"\x7fELF"}, tag="py3-none-linux_x86_64")
    names = compare(
        tmp_path, [everything, other, pack_again("pip", wheels), pack_again("packaging", wheels)], monkeypatch
    )
    assert {"bin/shop-admin", "bin/shop.run", "etc/shop.conf", "share/shop/data.txt"} <= names
    assert f"include/site/python{VERSION}/full-shop/shop.h" in names


def pack_again(name: str, directory: Path) -> Path:
    """A wheel of what the test's own environment was made with."""
    found = distribution(name)
    site = Path(str(found.locate_file("")))
    info = f"{name}-{found.version}.dist-info"
    written = {"RECORD", "INSTALLER", "REQUESTED", "METADATA", "WHEEL", "entry_points.txt", "direct_url.json"}
    files = {
        str(file): (site / str(file)).read_bytes()
        for file in found.files or ()
        if not str(file).startswith("..")
        and not str(file).endswith(".pyc")
        and not (str(file).startswith(info) and Path(str(file)).name in written)
    }
    return make_wheel(directory, name, found.version, files, entry_points=found.read_text("entry_points.txt") or "")
