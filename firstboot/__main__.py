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
metadata ...                 use what the platform says about the machine, at every boot
-platform P -stage S ...     one stage, called as Ignition is
"""

from __future__ import annotations

import sys

# `run` comes first and imports nothing it does not need: argparse alone takes longer than an empty first
# boot.


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status: 0, 1 failed, 2 a config or a command line is wrong."""
    if arguments in (["run"], ["prepare"]):
        from firstboot.lean import start_alone  # noqa: PLC0415

        start_alone()
        from firstboot.log import Log  # noqa: PLC0415
        from firstboot.places import Places  # noqa: PLC0415

        if arguments == ["prepare"]:
            from firstboot.prepare import prepare  # noqa: PLC0415

            return prepare(Places(), Log())
        from firstboot.run import run  # noqa: PLC0415

        return run(Places(), Log())
    if arguments == ["delete-config"]:
        from firstboot.apply.root import Root  # noqa: PLC0415
        from firstboot.log import Log  # noqa: PLC0415
        from firstboot.places import Places  # noqa: PLC0415
        from firstboot.sources.deletion import delete_kept_config  # noqa: PLC0415

        places = Places()
        with Root(places.root) as root:
            return 0 if delete_kept_config(root, places, Log()) else 1
    if arguments[:1] == ["metadata"]:
        from firstboot.sources.metadata import run_metadata_command as metadata  # noqa: PLC0415

        return metadata(arguments[1:])
    if arguments[:1] in (["status"], ["diff"], ["factory-reset"]) or (
        arguments[:1] == ["apply"] and not any(each.partition("=")[0] == "--root" for each in arguments)
    ):
        from firstboot.lean import start_lean  # noqa: PLC0415

        start_lean()
        from firstboot.drift.command import drift  # noqa: PLC0415

        return drift(arguments)
    from firstboot.commands import command  # noqa: PLC0415

    return command(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
