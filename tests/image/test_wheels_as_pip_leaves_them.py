"""``builder/python/install.py``: what is left of a wheel is what ``pip install`` leaves, RECORD included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.python import scripts
from builder.python.install import add_bytecode, finish_record, install_wheel
from builder.python.pack import unpack_wheels
from builder.python.scheme import make_virtual_scheme
from builder.tree.node import Kind, make_file
from tests.support.wheels import lock_wheel, make_wheel

pytestmark = pytest.mark.image

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def install_by_pip(wheels: Path, prefix: Path, *names: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--isolated", "--python", str(prefix / "bin" / "python"), "install"),
            *("--quiet", "--no-index", "--no-deps", "--find-links", str(wheels), "--no-warn-script-location", *names),
        ],
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(prefix.with_name("home"))},
        umask=0o022,
    )


def find_template() -> str:
    """The text of pip's scripts, which differs between its versions, in the form in which ours is written."""
    from pip._internal.operations.install.wheel import PipScriptMaker
    from pip._vendor.distlib.scripts import ScriptMaker

    template = getattr(PipScriptMaker, "script_template", ScriptMaker.script_template)
    return (
        re.sub(r"[{}]", r"\g<0>\g<0>", template)
        .replace("%(module)s", "{module}")
        .replace("%(import_name)s", "{first}")
        .replace("%(func)s", "{function}")
    )


def list_files(prefix: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of what pip left; bytecode, whose content is another kind's, by name alone."""
    found = {}
    for path in sorted(prefix.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "pyvenv.cfg" and "ctivate" not in path.name:
            data = b"" if path.suffix == ".pyc" else path.read_bytes()
            found[str(path)] = (data, path.stat().st_mode & 0o777)
    return found


def compare(tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Install the wheels by pip and by build-os, and compare; the names of all files."""
    prefix = tmp_path / "environment"
    names = [f"{lock_wheel(path).name}=={lock_wheel(path).version}" for path in paths]
    install_by_pip(paths[0].parent, prefix, *names)
    theirs = list_files(prefix)
    monkeypatch.setattr(scripts, "TEMPLATE", find_template())
    scheme = make_virtual_scheme(str(prefix), "web", VERSION)
    store = Store.open(tmp_path / "store")
    for path in paths:
        store.add_bytes(path.read_bytes())
    ours: dict[str, tuple[bytes, int]] = {}
    for pack in unpack_wheels([lock_wheel(path) for path in paths], store, QuietConsole()):
        installed = install_wheel(pack, scheme, requested=True, installer="pip")
        compiled = {
            cache: make_file("", origin="test")
            for module in installed.list_modules()
            if (cache := find_cache(module)) in theirs
        }
        add_bytecode(installed, compiled)
        finish_record(installed)
        assert all(node.kind is Kind.FILE for node in installed.nodes.values())
        ours |= {path: (node.content.read(), node.mode) for path, node in installed.nodes.items()}
    assert sorted(ours) == sorted(theirs)
    different = {path: (ours[path], theirs[path]) for path in ours if ours[path] != theirs[path]}
    assert different == {}
    return {path.removeprefix(f"{prefix}/") for path in ours}


def find_cache(module: str) -> str:
    directory, _, name = module.rpartition("/")
    return f"{directory}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"


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
