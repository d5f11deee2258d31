"""``python3 -m firstboot``: the machine's first boot, and the same code for configs and directories.

prepare                      on the machine, before that: decide whether this is a first boot
run                          on the machine, once: make it what its config says
check FILE...                say what is wrong with configs, as they would be merged
plan --root DIR FILE...      say what would be done
apply --root DIR FILE...     do it to a directory
status, diff                 what was applied to this machine, and what has changed since
apply --check | --apply      make it so again; or say what that would do
factory-reset                begin again at the next boot
delete-config                take the config away from the platform, where a first boot could not
recovery-key                 hand over the recovery key of the encrypted state partition
metadata ...                 use what the platform says about the machine, at every boot
-platform P -stage S ...     one stage, called as Ignition is
"""

from __future__ import annotations

import sys

from firstboot.config.lazy import import_lazily

# One front a process: argparse alone takes longer to import than an empty first boot.
FRONTS = {
    "run": "firstboot.cli.run",
    "prepare": "firstboot.cli.run",
    "status": "firstboot.cli.drift",
    "diff": "firstboot.cli.drift",
    "factory-reset": "firstboot.cli.drift",
    "delete-config": "firstboot.cli.run",
    "recovery-key": "firstboot.cli.run",
    "metadata": "firstboot.sources.metadata",
}
DIRECTORY, DRIFT, IGNITION = "firstboot.cli.directory", "firstboot.cli.drift", "firstboot.cli.ignition"


def find_front(arguments: list[str]) -> str:
    """The module whose ``run_command`` takes these arguments."""
    first = arguments[0] if arguments else ""
    if first.startswith("-") and first not in ("-h", "--help"):
        return IGNITION
    if first == "apply" and not any(argument.partition("=")[0] == "--root" for argument in arguments):
        return DRIFT
    return FRONTS.get(first, DIRECTORY)


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status: 0, 1 failed, 2 a config or a command line is wrong."""
    status: int = import_lazily(find_front(arguments)).run_command(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
