"""A bundle of build-os under runc and crun: what the runtime-spec promises is what is seen inside the container."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from tests.boot.runtimes.conftest import BOX, lay_out_sources
from tests.support.debian_programs import open_programs

pytestmark = [pytest.mark.image, pytest.mark.skipif(os.getuid() != 0, reason="containers of root")]

CHECKS = Path(__file__).parents[1] / "support/runtime_spec.py"
# A tree of cgroups as of today, whatever this machine has; in a mount namespace of the command's own.
CGROUPS = "mount -t cgroup2 none /sys/fs/cgroup"


@pytest.fixture(scope="module")
def bundle(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a bundle, as a build leaves it."""
    place = tmp_path_factory.mktemp("bundle")
    lay_out_sources(place)
    definition = place / "containers/box.yaml"
    definition.write_text(f"{BOX}outputs: [bundle]\n")
    build_container(BuildRequest(definition, place / "out", store, QuietConsole()))
    return place / "out/box.bundle.tar"


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_what_the_runtime_spec_promises_is_seen_in_the_container(
    store: Store, bundle: Path, tmp_path: Path, runtime: str
) -> None:
    programs = open_programs(store, "bash", "coreutils", "crun", "dash", "mount", "python3", "runc")
    inside = tmp_path / "bundle"
    inside.mkdir()
    subprocess.run(["tar", "-C", inside, "-xpf", bundle], check=True)
    program = programs.find(runtime)
    assert program is not None
    script = f"{CGROUPS}; exec python3 {CHECKS} {runtime} {inside}"
    done = subprocess.run(
        programs.make_argv("bash", "-ec", script),
        env=programs.make_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    wrong = [check for check in seen if check[2] != check[3]]
    assert not wrong, "\n".join(map(str, wrong))
    assert len(seen) >= 40
