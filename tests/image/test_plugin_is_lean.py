"""The pytest plugin is loaded in every run of pytest on this machine, also where nobody asks for a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.image

PROGRAM = """
import sys
import pytest
before = {*sys.modules}
import vm.pytest_plugin
print(*sorted({name.partition(".")[0] for name in {*sys.modules} - before} - sys.stdlib_module_names))
"""


def test_the_plugin_costs_nothing_where_it_is_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["vm"]), done.stderr
