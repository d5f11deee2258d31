"""PyPI's most used packages with compiled parts: locked and unpacked for both architectures, as pip leaves them."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.python.imports import import_modules
from builder.python.pack import unpack_wheels
from builder.tree.tree import Tree
from tests.support.pip import compare_with_pip, list_install_options
from tests.support.python_packages import PACKAGES

pytestmark = [pytest.mark.image, pytest.mark.slow]

DEFINITION = """\
kind: container
name: world
version: "1"
arch: {arch}
packages: [base-files, base-passwd, python3, libstdc++6]
entrypoint: [/usr/lib/python-environments/world/bin/python]
python:
  world:
    requirements: [{packages}]
"""


@pytest.fixture(scope="module", params=["amd64", "arm64"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Lock, Tree, Tools]:
    """Locked and built: every shared library that a wheel asks for was found."""
    place = tmp_path_factory.mktemp(request.param)
    definition = place / "world.yaml"
    definition.write_text(DEFINITION.format(arch=request.param, packages=", ".join(f"'{each}'" for each in PACKAGES)))
    trees: list[Tree] = []
    with closing(QuietConsole(place / "build.log")) as console:
        build = BuildRequest(
            definition, place / "out", Store.open(), console, watch=lambda name, tree: trees.append(tree)
        )
        manifest = json.loads(build_container(build).manifest.read_text())
    tools = Tools(Path(manifest["tools"]), QuietConsole())
    return request.param, Lock.load(definition.with_suffix(".lock")), trees[-1], tools


def test_each_is_locked_for_the_architecture(built: tuple[str, Lock, Tree, Tools]) -> None:
    arch, lock, _, _ = built
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    assert len(PACKAGES) >= 30
    assert {each.partition("[")[0] for each in PACKAGES} <= {wheel.name for wheel in lock.wheels}
    compiled = [wheel.file for wheel in lock.wheels if machine in wheel.file]
    assert len(compiled) >= 30
    assert all(file.endswith(("-any.whl", f"_{machine}.whl")) for file in (wheel.file for wheel in lock.wheels))


def test_each_is_imported_in_the_built_tree(built: tuple[str, Lock, Tree, Tools], tmp_path: Path) -> None:
    arch, _, tree, tools = built
    prefix = "/usr/lib/python-environments/world"
    imported = import_modules(
        tree, f"{prefix}/bin/python", list(PACKAGES.values()), arch, tools, tmp_path, directories=[prefix], deep=False
    )
    if arch == "arm64":
        assert imported is None, "its libraries were looked for when it was built"
        return
    assert imported is not None
    assert imported.failed == {}
    assert set(imported.done) == set(PACKAGES.values())


def test_each_is_left_as_by_pip(
    built: tuple[str, Lock, Tree, Tools], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip runs on the tools tree's Python, which is the image's; it would take no wheel of another architecture."""
    arch, lock, _, tools = built
    if arch != "amd64":
        pytest.skip("pip installs for the machine that it runs on")
    store = Store.open()
    wheels, prefix = tmp_path / "wheels", tmp_path / "environment"
    wheels.mkdir()
    for wheel in lock.wheels:
        shutil.copy(store.locate_blob(wheel.sha256), wheels / wheel.file)
    import pip

    tools.run("python3", "-m", "venv", "--without-pip", str(prefix))
    names = [f"{wheel.name}=={wheel.version}" for wheel in lock.wheels]
    # Alone: what lies beside it would be taken for installed.
    shutil.copytree(Path(pip.__file__).parent, tmp_path / "pip" / "pip")
    options = list_install_options(prefix, wheels, names)
    tools.run("python3", *options, env={"PYTHONPATH": str(tmp_path / "pip")})
    packs = unpack_wheels(lock.wheels, store, QuietConsole())
    assert len(compare_with_pip(prefix, packs, "3.13", monkeypatch)) > 5000
