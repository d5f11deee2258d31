"""Everything that a config asks for, decided before anything is done: disks, kernel, users, files, units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from firstboot.apply import files, identity, units, users
from firstboot.apply.action import Action, Machine
from firstboot.config.kernel_words import ADDON_MARK
from firstboot.config.lazy import import_lazily
from firstboot.config.loaded import LoadedConfig
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.text import Problem
from firstboot.config.versions import OWN_SUFFIX

if TYPE_CHECKING:
    from firstboot.apply import archives, fstab, homes
    from firstboot.apply.disks import beforehand, foreseen
    from firstboot.apply.disks import plan as disks
    from firstboot.apply.kernel import stage as kernel
    from firstboot.config.text import Path
    from firstboot.places import Places
else:
    archives = import_lazily("firstboot.apply.archives")
    beforehand = import_lazily("firstboot.apply.disks.beforehand")
    disks = import_lazily("firstboot.apply.disks.plan")
    foreseen = import_lazily("firstboot.apply.disks.foreseen")
    fstab = import_lazily("firstboot.apply.fstab")
    homes = import_lazily("firstboot.apply.homes")
    kernel = import_lazily("firstboot.apply.kernel.stage")


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


def plan(loaded: LoadedConfig, machine: Machine, scope: Scope = CONFIG_ONLY) -> list[Action]:
    """Everything to do, in order, without doing any of it. Warnings go to the machine's.

    Raises:
        ConfigError: something the config asks for cannot be done on this root, all of it at once.
    """
    actions, warnings = _sorted(_decide(loaded, machine, scope), loaded)
    machine.warnings += (warning for warning in warnings if warning not in machine.warnings)
    return actions


def _sorted(steps: Iterable[Action | Problem], loaded: LoadedConfig) -> tuple[list[Action], list[Complaint]]:
    actions: list[Action] = []
    problems: list[Problem] = []
    for step in steps:
        if isinstance(step, Problem):
            problems.append(step)
        else:
            actions.append(step)
    complaints = [loaded.make_complaint(problem) for problem in problems]
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(complaints)
    return actions, complaints


def plan_devices(loaded: LoadedConfig, machine: Machine) -> list[Action]:
    """What is to be done to block devices, before anything can be written to them.

    Raises:
        ConfigError: the image lacks a program for it, or nothing can be mounted where the config wants it.
    """
    if not loaded.config.has_devices:
        return []
    steps = (
        *disks.plan_devices(loaded.config, machine.programs),
        *foreseen.check_mount_points(loaded.config, machine.root),
    )
    return _sorted(steps, loaded)[0]


def require_ready(actions: Sequence[Action], loaded: LoadedConfig, machine: Machine) -> None:
    """Look at block devices before anything is done to them.

    Raises:
        ConfigError: one is not there, or is not what the config may change, all of it at once.
    """
    if actions:
        _sorted(beforehand.look(actions, loaded.config, machine), loaded)


def foresee(loaded: LoadedConfig, machine: Machine) -> Machine:
    """The machine as it will be with the config's filesystems mounted, and empty: for planning all that comes after
    the block devices, before anything is done to them.
    """
    later = Machine(foreseen.Mounted(machine.root, foreseen.list_mount_points(loaded.config)), machine.programs)
    later.fetched = machine.fetched
    return later


def plan_kernel(loaded: LoadedConfig, places: Places) -> list[Action]:
    """What the kernel has to be told before the rest is done; then the machine has to start again.

    Raises:
        ConfigError: this machine's kernel cannot be told.
    """
    wanted = loaded.config.kernel_arguments
    if not wanted.should_exist and not wanted.should_not_exist and ADDON_MARK not in places.read_command_line():
        return []
    return _sorted(kernel.plan_arguments(loaded.config, places), loaded)[0]


def _decide(loaded: LoadedConfig, machine: Machine, scope: Scope) -> Iterator[Action | Problem]:
    config, root, names = loaded.config, machine.root, machine.names
    if scope.machine_id and not any(file.path == identity.MACHINE_ID for file in config.storage.files):
        yield from identity.plan(root)
    yield from users.plan(config, root, names, machine.programs)
    if machine.mount_points and config.passwd.users:
        yield homes.GiveMountPoints((*machine.mount_points,), tuple(user.name for user in config.passwd.users))
    passwd = config.passwd
    known = files.OwnerNames(
        frozenset({*names.users, *(user.name for user in passwd.users)}),
        # A user's own group has its name.
        frozenset({*names.groups, *(group.name for group in passwd.groups), *(user.name for user in passwd.users)}),
    )
    yield from files.plan(config, root, known, machine.fetched)
    if scope == WHOLE_MACHINE and any(file.path == "/etc/fstab" for file in config.storage.files):
        yield from fstab.check_fstab(config, machine.fetched)
    if config.storage.archives:
        yield from archives.plan(config, root, known, machine.fetched)
    if config.storage.luks and machine.luks_uuids:
        yield from disks.plan_keys(config)
    for step in units.plan(config, root, machine.programs, enable=scope.enable):
        if isinstance(step, units.AbsentUnit) and not _is_ours(loaded, step.path):
            step = step.make_warning()
        yield step


def _is_ours(loaded: LoadedConfig, at: Path) -> bool:
    """Whether a part of the config was written for build-os and not for a system that has other units."""
    data = loaded.origins.find(at)[0].data
    if not isinstance(data, dict) or "variant" in data:
        return not isinstance(data, dict) or data["variant"] == "buildos"
    ignition = data.get("ignition")
    return isinstance(ignition, dict) and str(ignition.get("version")).endswith(OWN_SUFFIX)
