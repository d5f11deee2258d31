"""A registry on loopback for unit tests, and images to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.http import Patience
from builder.core.store import Store
from builder.oci.registry.open import RegistryOptions
from builder.oci.registry.rules import Rules
from tests.support.registry import ImageParts, RegistryServer
from vm.fakes.web import WebServer

IMPATIENT = Patience(connect=5.0, read=5.0, pause=0.01, rounds=3)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry without anything in it."""
    with WebServer() as web:
        yield RegistryServer(web)


@pytest.fixture
def options(tmp_path: Path) -> RegistryOptions:
    """No files of the user who runs the tests."""
    environment = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    return RegistryOptions(patience=IMPATIENT, environment=environment, rules=Rules())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.open(tmp_path / "store")


@pytest.fixture
def image() -> ImageParts:
    """A small image with two layers, for linux/amd64."""
    return ImageParts.make(b"first layer" * 1000, b"second layer" * 2000)
