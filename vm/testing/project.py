"""Where a project and what belongs to its tests is, from wherever they are started, and how they are named there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from builder.core.image import read_image
from vm.testing import VARIABLE
from vm.testing.rerun import make_suffix

DEFINITION = "os.yaml"
BUILD = Path("out/build.json")
FOLDER, DENYLIST = "out/vm-tests", "tests/denylist.yaml"  # of the project


def find_project(directory: Path) -> Path:
    """The nearest directory, this one or one above, that has a definition or a build; this one if none has."""
    projects = (
        candidate
        for candidate in (directory, *directory.parents)
        if (candidate / DEFINITION).exists() or (candidate / BUILD).exists()
    )
    return next(projects, directory)


def make_test_id(path: Path, nodeid: str, directory: Path) -> str:
    """The id of a test as it can be typed in a directory.

    Args:
        path: the test's file.
        nodeid: pytest's own, which begins at its root directory.
    """
    name = nodeid.partition("::")[2]
    file = os.path.relpath(path, directory)
    return f"{file}::{name}" if name else file


def locate_build_json(config: pytest.Config) -> Path:
    """Where the image under test is described."""
    return choose_build_json(config.getoption("--build-json"), config.rootpath)


def choose_build_json(named: Path | str | None, directory: Path) -> Path:
    """The same for a directory: what an option names, else the environment, else what the project there has built."""
    return Path(named or os.environ.get(VARIABLE) or find_project(directory) / BUILD)


def find_home(config: pytest.Config) -> Path:
    """The project that the tests belong to, from whichever of its directories they are started."""
    return find_project(config.rootpath)


def resolve_option(config: pytest.Config, option: str, default: str) -> Path:
    """A path that an option names, as a shell means it, or where it is in every project."""
    text = config.getoption(option)
    return find_home(config) / default if text is None else config.invocation_params.dir / text


def make_rerun_command(item: pytest.Item) -> list[str]:
    """The command that runs one test again, where this one was typed."""
    here = item.config.invocation_params.dir
    chosen = item.config.getoption("--build-json")
    image = [] if chosen is None else ["--image", str(chosen)]
    return ["build-os", "test", make_test_id(item.path, item.nodeid, here), *image, "--shell-on-failure"]


def read_arch(config: pytest.Config) -> str:
    """The architecture of the image under test."""
    return read_image(locate_build_json(config)).arch


def locate_folder(item: pytest.Item) -> Path:
    """A test's own folder, named so that it can be found."""
    config = item.config
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", make_test_id(item.path, item.nodeid, find_home(config))).strip("-")[-120:]
    return resolve_option(config, "--vm-folder", FOLDER) / (name + make_attempt_suffix(config))


def make_attempt_suffix(config: pytest.Config) -> str:
    """For folders' names: empty, unless tests that have failed are run again (:mod:`vm.testing.rerun`)."""
    if not config.getoption("--vm-rerun"):
        return ""
    return make_suffix(config)
