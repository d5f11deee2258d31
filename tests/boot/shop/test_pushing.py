"""The development loop of docs/apps.md: ``app push`` by ssh, with wheels that the image has not, and ``--watch``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot.shop.conftest import OUT, REPOSITORY, Shop
from tests.boot.shop.test_shop import read

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # the machine of its directory

COUNTED = "<small>{{ total }} orders"


class Project:
    """The shop's definition in a directory of the user's, and the command there."""

    def __init__(self, directory: Path, shop: Shop) -> None:
        shutil.copytree(OUT / "shop-definition", directory, ignore=shutil.ignore_patterns("__pycache__"))
        (directory / "out").symlink_to(OUT / "shop-image")
        self.directory = directory
        self.page = directory / "shop" / "shop" / "web.py"
        self.shop = shop

    def make_argv(self, *words: str) -> list[str]:
        """The command's line, by whichever definition, for this machine."""
        where = ["--host", f"core@127.0.0.1:{self.shop.port}", "-i", str(self.shop.key)]
        return [sys.executable, "-m", "builder", "app", *words, *where]

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        pipe = subprocess.PIPE
        argv = self.make_argv(*words)
        return subprocess.Popen(argv, cwd=self.directory, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def replace(self, old: str, new: str) -> None:
        """Change the page's source."""
        text = self.page.read_text()
        assert old in text
        self.page.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path, shop: Shop) -> Project:
    return Project(tmp_path / "project", shop)


@contextmanager
def watching(project: Project) -> Iterator[subprocess.Popen[str]]:
    """``app push --watch``, which ends as by Ctrl-C."""
    with project.start("push", "shop", "-f", "shop.yaml", "--watch") as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def await_page(shop: Shop, text: str, process: subprocess.Popen[str]) -> float:
    """Ask for the page until it has this text; returns how many seconds that took."""
    started = time.monotonic()
    while True:
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(process.stderr.read())
        try:
            if text in read(shop.url):
                return time.monotonic() - started
        except OSError:
            pass  # it is being started anew
        assert time.monotonic() - started < 600


def test_a_version_with_a_wheel_that_the_image_has_not(shop: Shop, project: Project) -> None:
    requirements = project.directory / "shop" / "requirements.txt"
    requirements.write_text(f"{requirements.read_text()}humanize==4.12.3\n")
    project.replace("from flask import", "import humanize\nfrom flask import")
    project.replace("total=total, shipped=shipped, orders", "total=humanize.intword(3e6), shipped=shipped, orders")
    done = project.run("push", "shop", "-f", "shop.yaml")
    assert done.returncode == 0, done.stderr
    assert "3.0 million orders" in read(shop.url)
    print(f"\n{done.stderr.splitlines()[-1]}")

    # One that does not start: the version before answers again, with its wheels.
    project.replace("import humanize", "import humanise")
    started = time.monotonic()
    done = project.run("push", "shop", "-f", "shop.yaml")
    print(f"a version that does not start is taken back in {time.monotonic() - started:.1f} s")
    assert done.returncode == 5
    assert "No module named 'humanise'" in done.stderr
    assert "shop is the version before again" in done.stderr
    assert "3.0 million orders" in read(shop.url)
    done = project.run("revert", "shop")
    assert done.returncode == 0, done.stderr
    assert "million" not in read(shop.url)


def test_a_change_of_a_file_answers_while_somebody_works(shop: Shop, project: Project) -> None:
    project.replace(COUNTED, f"{COUNTED} of draft 0")
    with watching(project) as process:
        await_page(shop, "of draft 0", process)
        taken = []
        for number in range(1, 6):
            project.replace(f"of draft {number - 1}", f"of draft {number}")
            taken.append(await_page(shop, f"of draft {number}", process))
    shown = " ".join(f"{seconds:.1f}" for seconds in taken)
    print(f"\nfrom the change of a file to the page that has it: {shown} s")
    assert project.run("revert", "shop").returncode == 0
    assert "of draft" not in read(shop.url)
