"""All stages together: first everything is decided, then everything is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from firstboot.apply import files, identity, units, users
from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.durable import sync
from firstboot.apply.programs import ProgramError
from firstboot.config.kernel_words import ADDON_MARK
from firstboot.config.loaded import LoadedConfig
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.text import Path, Problem
from firstboot.config.versions import OWN_SUFFIX
from firstboot.log import Log

if TYPE_CHECKING:
    from firstboot.places import Places


class Scope(NamedTuple):
    """What belongs to making this machine, besides what every config says.

    Attributes:
        machine_id: give it a machine-id.
        enable: enable units at once, besides writing presets.
    """

    machine_id: bool = False
    enable: bool = False


CONFIG_ONLY = Scope()
WHOLE_MACHINE = Scope(machine_id=True, enable=True)


class ActionFailed(Exception):
    """An action could not be carried out; ``complaint`` points at what asked for it, if anything did."""

    def __init__(self, what: str, reason: str, complaint: Complaint | None) -> None:
        super().__init__(f"{what}: {reason}")
        self.complaint = complaint

    def __str__(self) -> str:
        return str(self.complaint) if self.complaint is not None else str(self.args[0])


def plan(loaded: LoadedConfig, machine: Machine, scope: Scope = CONFIG_ONLY) -> list[Action]:
    """Everything to do, in order, without doing any of it. Warnings go to the machine's.

    Raises:
        ConfigError: something the config asks for cannot be done on this root, all of it at once.
    """
    actions, warnings = _sorted(_stages(loaded, machine, scope), loaded)
    machine.warnings += (each for each in warnings if each not in machine.warnings)
    return actions


def _sorted(found: Iterable[Action | Problem], loaded: LoadedConfig) -> tuple[list[Action], list[Complaint]]:
    actions: list[Action] = []
    problems: list[Problem] = []
    for each in found:
        if isinstance(each, Problem):
            problems.append(each)
        else:
            actions.append(each)
    complaints = [loaded.complaint(problem) for problem in problems]
    if any(each.severity == "error" for each in problems):
        raise ConfigError(complaints)
    return actions, complaints


def plan_devices(loaded: LoadedConfig, machine: Machine) -> list[Action]:
    """What is to be done to block devices, before anything can be written to them.

    Raises:
        ConfigError: the image lacks a program for it, or nothing can be mounted where the config wants it.
    """
    if not loaded.config.has_devices:
        return []
    from firstboot.apply.disks.foreseen import check_mount_points  # noqa: PLC0415 - few machines have any
    from firstboot.apply.disks.plan import devices  # noqa: PLC0415

    found = (*devices(loaded.config, machine.programs), *check_mount_points(loaded.config, machine.root))
    return _sorted(found, loaded)[0]


def require_ready(actions: Sequence[Action], loaded: LoadedConfig, machine: Machine) -> None:
    """Look at block devices before anything is done to them.

    Raises:
        ConfigError: one is not there, or is not what the config may change, all of it at once.
    """
    if actions:
        from firstboot.apply.disks.beforehand import look  # noqa: PLC0415 - few machines have any

        _sorted(look(actions, loaded.config, machine), loaded)


def foreseen(loaded: LoadedConfig, machine: Machine) -> Machine:
    """The machine as it will be with the config's filesystems mounted, and empty: for planning all that comes after
    the block devices, before anything is done to them.
    """
    from firstboot.apply.disks.foreseen import Mounted, places_of  # noqa: PLC0415 - few machines have any

    later = Machine(Mounted(machine.root, places_of(loaded.config)), machine.programs)
    later.fetched = machine.fetched
    return later


def plan_kernel(loaded: LoadedConfig, places: Places) -> list[Action]:
    """What the kernel has to be told before the rest is done; then the machine has to start again.

    Raises:
        ConfigError: this machine's kernel cannot be told.
    """
    wanted = loaded.config.kernel_arguments
    if not wanted.should_exist and not wanted.should_not_exist and ADDON_MARK not in places.command_line():
        return []
    from firstboot.apply.kernel.stage import plan_arguments  # noqa: PLC0415 - few machines want any

    return _sorted(plan_arguments(loaded.config, places), loaded)[0]


@contextmanager
def mounted(loaded: LoadedConfig, machine: Machine, log: Log) -> Iterator[None]:
    """Everything that the config mounts, mounted; unmounted afterwards, whatever happens meanwhile.

    Raises:
        ActionFailed
    """
    if not loaded.config.has_devices:
        yield
        return
    from firstboot.apply.disks.plan import mounts, unmounts  # noqa: PLC0415 - few machines have any

    with unmounted_if_it_fails(machine):
        carry_out(mounts(loaded.config), loaded, machine, log)
        yield
        if machine.mounted:
            # Unmounting would not tell of what could not be written.
            sync(machine, machine.mounted)
        carry_out(unmounts(loaded.config), loaded, machine, log)


@contextmanager
def unmounted_if_it_fails(machine: Machine) -> Iterator[None]:
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


def _stages(loaded: LoadedConfig, machine: Machine, scope: Scope) -> Iterator[Action | Problem]:
    config, root, names = loaded.config, machine.root, machine.names
    if scope.machine_id and not any(file.path == identity.MACHINE_ID for file in config.storage.files):
        yield from identity.plan(root)
    yield from users.plan(config, root, names, machine.programs)
    if machine.mount_points and config.passwd.users:
        from firstboot.apply.homes import GiveMountPoints  # noqa: PLC0415 - few machines have any

        yield GiveMountPoints((*machine.mount_points,), tuple(each.name for each in config.passwd.users))
    passwd = config.passwd
    known = files.Known(
        frozenset({*names.users, *(user.name for user in passwd.users)}),
        # A user's own group has its name.
        frozenset({*names.groups, *(group.name for group in passwd.groups), *(user.name for user in passwd.users)}),
    )
    yield from files.plan(config, root, known, machine.fetched)
    if scope == WHOLE_MACHINE and any(file.path == "/etc/fstab" for file in config.storage.files):
        from firstboot.apply.fstab import check_fstab  # noqa: PLC0415 - few machines have one

        yield from check_fstab(config, machine.fetched)
    if config.storage.archives:
        from firstboot.apply import archives  # noqa: PLC0415 - few machines unpack anything

        yield from archives.plan(config, root, known, machine.fetched)
    if config.storage.luks and machine.luks_uuids:
        from firstboot.apply.disks.plan import keys  # noqa: PLC0415 - few machines have any

        yield from keys(config)
    for each in units.plan(config, root, machine.programs, enable=scope.enable):
        if isinstance(each, units.AbsentUnit) and not _is_ours(loaded, each.path):
            each = each.as_upstream()
        yield each


def _is_ours(loaded: LoadedConfig, at: Path) -> bool:
    """Whether a part of the config was written for build-os and not for a system that has other units."""
    data = loaded.origins.find(at)[0].data
    if not isinstance(data, dict) or "variant" in data:
        return not isinstance(data, dict) or data["variant"] == "buildos"
    ignition = data.get("ignition")
    return isinstance(ignition, dict) and str(ignition.get("version")).endswith(OWN_SUFFIX)


def carry_out(actions: Sequence[Action], loaded: LoadedConfig, machine: Machine, log: Log) -> None:
    """Do what was planned, in order. Stops at the first thing that fails.

    Raises:
        ActionFailed
    """
    for action in actions:
        try:
            with log.operation(action.describe()):
                action.perform(machine)
        except (OSError, ProgramError, Refused) as error:
            raise _failed(action, error, loaded) from error


def _failed(action: Action, error: Exception, loaded: LoadedConfig) -> ActionFailed:
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if error.filename is not None:
            reason = f"{error.filename}: {reason}"
    else:
        reason = str(error)
    complaint = None
    if action.at:
        complaint = loaded.complaint(Problem(action.at, f"cannot {action.describe()}: {reason}", on_key=True))
    return ActionFailed(f"cannot {action.describe()}", reason, complaint)
