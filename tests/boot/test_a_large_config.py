"""A config of megabytes, which fw_cfg could not hand over in any reasonable time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.bench.firstboot import config_of
from tests.boot.conftest import REPOSITORY
from tests.support.machines import booted

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # a boot of its own for one moment of it

FILES = 2000


def test_a_machine_gets_a_config_of_megabytes(demo: Path, store: Store, tmp_path: Path) -> None:
    config = tmp_path / "large.yaml"
    config.write_text(config_of(FILES, 4720, 2, 5))
    assert config.stat().st_size > 9_000_000
    with booted(demo, REPOSITORY / "out" / "boot-tests" / "large", store, config=config, memory=2048) as machine:
        machine.wait_firstboot()
        machine.wait_probe()
        result = json.loads(machine.read("/run/firstboot/result.json"))
        assert result["config"]["name"].startswith("block device ")
        assert machine.succeed("sh", "-c", "ls /etc/bench | wc -l").strip() == str(FILES)
