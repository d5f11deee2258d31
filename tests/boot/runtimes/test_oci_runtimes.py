"""A bundle of build-os on a machine, where control groups can limit it; all else is seen on the host.

The other checks are those of ``tests/image/test_runtime_spec.py``.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from tests.boot.runtimes.conftest import BOX, OUT
from vm.fakes import Fakes
from vm.fakes.registry import Registry
from vm.machine import Machine

pytestmark = pytest.mark.boot

CHECKS = Path(__file__).parents[2] / "support/runtime_spec.py"
FETCH = "import sys, urllib.request as u; u.urlretrieve(sys.argv[1], sys.argv[2])"


@pytest.fixture(scope="module")
def bundle(machine: Machine, registry: Registry, store: Store) -> str:
    """Where the bundle is in the guest."""
    definition = OUT / "containers/box-bundle.yaml"
    definition.write_text(f"{BOX}outputs: [bundle]\n", encoding="utf-8")
    out = OUT / "out-bundle"
    with closing(QuietConsole()) as console:
        build_container(BuildRequest(definition, out, store, console))
    registry.web.put("/bundle.tar", (out / "box.bundle.tar").read_bytes())
    registry.web.put("/checks.py", CHECKS.read_bytes())
    place = "/var/lib/checks"
    machine.succeed(f"mkdir -p {place}/bundle")
    for name in ("bundle.tar", "checks.py"):
        machine.succeed("python3", "-c", FETCH, registry.web.url(f"/{name}", Fakes.HOST), f"{place}/{name}")
    machine.succeed(f"tar -C {place}/bundle -xpf {place}/bundle.tar")
    return place


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_limits_and_all_that_no_image_asks_for_are_seen_in_the_container(
    machine: Machine, bundle: str, runtime: str
) -> None:
    seen = json.loads(machine.succeed(f"python3 {bundle}/checks.py {runtime} {bundle}/bundle changed"))
    wrong = [check for check in seen if check[2] != check[3]]
    assert not wrong, "\n".join(map(str, wrong))
    assert {"memory", "processes", "processor"} <= {check[1] for check in seen}
