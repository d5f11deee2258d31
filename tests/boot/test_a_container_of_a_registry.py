"""The tutorial of docs/oci.md to its end: the OS boots and runs the image, and there is no network."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest

from builder.core.store import Store
from tests.support.tutorial import NAME, PAGE, TAG, Tutorial, follow_tutorial
from tests.support.users import REPOSITORY

pytestmark = [pytest.mark.boot, pytest.mark.slow]

# As before the first start, and without a card: podman knows nothing, has nothing, and can ask nobody. What the
# container serves then, and how many bytes podman wrote.
ALONE = """
import json, os, pathlib, subprocess, time, urllib.request
(card,) = (path.parent.name for path in pathlib.Path("/sys/class/net").glob("*/device"))
def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
run("ip", "link", "set", card, "down")
try:
    run("systemctl", "stop", "web.service")
    run("sh", "-c", "rm -rf /var/lib/containers/*")
    run("systemctl", "start", "web.service")
    page = ""
    for turn in range(60):
        try:
            page = urllib.request.urlopen("http://127.0.0.1/", timeout=60).read().decode()
            break
        except OSError:
            time.sleep(1)
    written = int(run("du", "-sbx", "/var/lib/containers").split()[0])
finally:
    run("ip", "link", "set", card, "up")
pathlib.Path("/run/alone.new").write_text(json.dumps([page, written]))
os.rename("/run/alone.new", "/run/alone.json")
"""


@pytest.fixture(scope="module")
def shop(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tutorial]:
    """The tutorial up to its first boot."""
    out = REPOSITORY / "out/boot-tests/container-of-a-registry"
    tutorial = follow_tutorial(store, out, tmp_path_factory.mktemp("home"))
    try:
        yield tutorial
    finally:
        tutorial.run("build-os machine stop shop")


def run_alone(shop: Tutorial) -> tuple[str, int]:
    """What :data:`ALONE` found out: as a unit, which outlives a connection that stands still meanwhile."""
    there = shop.run("build-os ssh --root -- cat >/run/alone.py", stdin=ALONE)
    assert there.returncode == 0, there.stderr
    ran = shop.run("build-os ssh --root -- systemd-run --wait --quiet --unit=alone python3 /run/alone.py")
    assert ran.returncode == 0, ran.stderr + shop.run("build-os ssh --root -- journalctl -b -u alone -o cat").stdout
    page, written = json.loads(shop.run("build-os ssh --root -- cat /run/alone.json").stdout)
    return page, written


def test_the_commands_of_the_page_end_with_an_answer_from_the_container(shop: Tutorial) -> None:
    start, ask, look, stop = shop.left
    started = shop.run(start)
    assert started.returncode == 0, started.stderr
    # A login prompt comes before the container's answer: this returns when the unit has started.
    ready = shop.run("build-os ssh --root -- systemctl start web.service")
    assert ready.returncode == 0, ready.stderr
    with urllib.request.urlopen(ask.removeprefix("curl "), timeout=300) as answer:
        page = answer.read().decode()
    assert page == PAGE
    images = shop.run(look)
    assert re.search(rf"^docker.io/{NAME} +{TAG} ", images.stdout, re.MULTILINE), images.stdout
    shown = shop.run("build-os ssh --root -- podman images --format json")
    assert [(row["Names"], row["ReadOnly"]) for row in json.loads(shown.stdout)] == [
        ([f"docker.io/{NAME}:{TAG}"], True)
    ]
    layers = sum(map(len, shop.image.layers))
    page_alone, written = run_alone(shop)
    assert page_alone == page
    print(f"podman wrote {written} bytes at a first start without a network; the layers have {layers}")
    assert written < min(layers, 500_000)
    stopped = shop.run(stop)
    assert stopped.returncode == 0, stopped.stderr
