"""What all tests share: unit tests start no program and have a store of their own; the others share one demo build."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools

if TYPE_CHECKING:
    from builder.outputs.signing import KeyPair

# A shell that starts the tests in the background has them ignore SIGINT, and so would everything that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples in every run, so that a red run speaks of what was changed; 'make fuzz' looks for new ones.
# No example has a deadline: on a busy machine writing a file takes longer than hypothesis' 200 ms.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same" if "FUZZ" not in os.environ else "new")

pytest_plugins = ["tests.support.fuzz"]
REPOSITORY = Path(__file__).parent.parent
# Everything in os that leads to another program.
STARTERS = [name for name in dir(os) if name.startswith(("exec", "posix_spawn", "spawn", "fork"))] + ["system"]


@pytest.fixture(autouse=True)
def unit_tests_stay_small(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A unit test that would start a program fails, and one that opens the store gets an empty one."""
    if request.node.get_closest_marker("unit") is None:
        return

    def refuse(*arguments: object, **_options: object) -> NoReturn:
        raise AssertionError(f"unit tests start no program: {arguments[-1] if arguments else 'fork'}")

    # Popen stays a class: code names it in annotations, and tests replace it by one of their own.
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for name in STARTERS:
        monkeypatch.setattr(os, name, refuse)
    # What a person sees; a test of what a CI service sees says so. Tests must pass on both.
    monkeypatch.delenv("CI", raising=False)
    # Ctrl-C in one test's command is for that one.
    monkeypatch.setattr("builder.core.tools._interrupted", threading.Event())
    name = f"store-{abs(hash(request.node.nodeid)):x}"
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture(scope="session")
def store() -> Store:
    """The user's own store: what image and boot tests download and make is kept there."""
    return Store.open()


@pytest.fixture(scope="session")
def demo(store: Store) -> Path:
    """``build.json`` of the demo, built into ``out/`` if it is not there as it should be."""
    from tests.support.machines import build

    return build(REPOSITORY / "configs" / "demo.yaml", REPOSITORY / "out", store)


@pytest.fixture(scope="session")
def arm64_demo(store: Store) -> Path:
    """``build.json`` of the demo for arm64, built into ``out/arm64/``."""
    from tests.support.machines import build_text

    out = REPOSITORY / "out" / "arm64"
    shutil.copytree(REPOSITORY / "configs" / "containers", out / "containers", dirs_exist_ok=True)
    text = (REPOSITORY / "configs" / "demo.yaml").read_text(encoding="utf-8")
    return build_text(f"arch: arm64\n{text}", out, store)


@pytest.fixture(scope="session")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """What signs images in this run of the tests, and in no other."""
    from builder.outputs.signing import make_key_pair

    return make_key_pair(tmp_path_factory.mktemp("keys"), "tests", development=True)


@pytest.fixture(scope="session")
def signed_demo(key_pair: KeyPair, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``build.json`` of the demo, signed by a key of this run: another that goes on beside it has its own."""
    from tests.support.machines import build

    return build(REPOSITORY / "configs" / "demo.yaml", tmp_path_factory.mktemp("signed"), store, key_pair)


@pytest.fixture(scope="session")
def tools(demo: Path) -> Tools:
    """The tools tree that built the demo."""
    manifest = json.loads(demo.read_text(encoding="utf-8"))
    return Tools(Path(manifest["tools"]), QuietConsole())
