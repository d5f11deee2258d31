"""The agent as the image has it: modules in a directory that import each other by their bare names."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

OVERLAY = Path(__file__).parents[3] / "overlays" / "overlay-network"
AGENT = OVERLAY / "usr" / "lib" / "build-os" / "overlay_network"
MODULES = [path.stem for path in AGENT.glob("[a-z]*.py")]


@pytest.fixture(scope="module")
def module() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the agent by its name."""
    before = set(MODULES) & set(sys.modules)
    assert not before
    sys.path.insert(0, str(AGENT))
    yield importlib.import_module
    sys.path.remove(str(AGENT))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def plugin(module: Callable[[str], ModuleType]) -> ModuleType:
    """The CNI plugin, which is a program."""
    path = OVERLAY / "usr" / "lib" / "cni" / "flannel"
    loader = importlib.machinery.SourceFileLoader("cni_flannel", str(path))
    spec = importlib.util.spec_from_loader("cni_flannel", loader)
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    path_before = list(sys.path)
    try:
        loader.exec_module(loaded)
    finally:
        sys.dont_write_bytecode = written
        sys.path[:] = path_before
    return loaded
