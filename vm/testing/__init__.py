"""What makes a test suite of machines: scripts that run in guests, what is chosen to run, and what is left to read."""

from __future__ import annotations

from pathlib import Path

import pytest

# Who asks for one of these has to do with machines; what lies in a directory of this name runs in them. Here, because
# the plugin asks in every pytest run of every project, and imports nothing else for it.
MACHINE_FIXTURES = frozenset({"vm", "vm_factory", "cluster"})
GUEST_DIRECTORY = "guest"
FOLDERS = pytest.StashKey[list[Path]]()  # of the machines that a test has had
VARIABLE = "BUILD_OS_BUILD_JSON"  # of the environment: the image to boot
