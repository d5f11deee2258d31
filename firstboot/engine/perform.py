"""What was planned is done: in order, with the config's filesystems mounted, until something fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.durable import sync
from firstboot.apply.programs import ProgramError
from firstboot.config.lazy import import_lazily
from firstboot.config.loaded import LoadedConfig
from firstboot.config.text import Problem
from firstboot.engine.errors import ActionFailed, describe
from firstboot.log import Log

if TYPE_CHECKING:
    from firstboot.apply.disks import plan as disks
else:
    disks = import_lazily("firstboot.apply.disks.plan")


def carry_out(actions: Sequence[Action], loaded: LoadedConfig, machine: Machine, log: Log) -> None:
    """Do what was planned, in order. Stops at the first thing that fails.

    Raises:
        ActionFailed
    """
    for action in actions:
        try:
            with log.follow_operation(action.describe()):
                action.perform(machine)
        except (OSError, ProgramError, Refused) as error:
            raise _failed(action, error, loaded) from error


def _failed(action: Action, error: Exception, loaded: LoadedConfig) -> ActionFailed:
    reason = describe(error)
    complaint = None
    if action.at:
        complaint = loaded.make_complaint(Problem(action.at, f"cannot {action.describe()}: {reason}", on_key=True))
    return ActionFailed(f"cannot {action.describe()}", reason, complaint)


@contextmanager
def mount_everything(loaded: LoadedConfig, machine: Machine, log: Log) -> Iterator[None]:
    """Everything that the config mounts, mounted; unmounted afterwards, whatever happens meanwhile.

    Raises:
        ActionFailed
    """
    if not loaded.config.has_devices:
        yield
        return
    with umount_if_it_fails(machine):
        carry_out(disks.plan_mounts(loaded.config), loaded, machine, log)
        yield
        if machine.mounted:
            # Unmounting would not tell of what could not be written.
            sync(machine, machine.mounted)
        carry_out(disks.plan_unmounts(loaded.config), loaded, machine, log)


@contextmanager
def umount_if_it_fails(machine: Machine) -> Iterator[None]:
    """What is mounted in the block is unmounted if the block fails, as far as that can be done; the error is the
    block's.
    """
    before = len(machine.mounted)
    try:
        yield
    except BaseException:
        while len(machine.mounted) > before:
            with suppress(ProgramError, OSError):
                machine.programs.run(["umount", machine.mounted[-1]])
            machine.mounted.pop()
        raise
