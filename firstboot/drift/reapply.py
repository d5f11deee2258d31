"""Applying again: what differs from a config is worked out, and made as the config says; all or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from firstboot.apply.action import Action, Machine
from firstboot.apply.durable import sync
from firstboot.config.document import read
from firstboot.config.loaded import LoadedConfig
from firstboot.config.models import Config
from firstboot.config.mount_points import VAR_UNIT, VAR_UNIT_FILE
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.origins import ConfigError
from firstboot.config.text import Problem
from firstboot.drift import undo
from firstboot.drift.settle import drop_repeats, settle
from firstboot.engine.compile import finish, merge_documents
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import Scope, plan
from firstboot.engine.record import Record, remember
from firstboot.engine.remote import Remote
from firstboot.engine.resources import fetch_files
from firstboot.log import Log
from firstboot.places import APPLIED

ENABLE = Scope(enable=True)


class Again(NamedTuple):
    """What there is to do.

    Attributes:
        whole: the config as it was asked for.
        left: what of it is not as it says.
    """

    whole: LoadedConfig
    left: LoadedConfig
    actions: tuple[Action, ...]


def read_recorded_config(record: Record) -> LoadedConfig:
    """The config of a record, checked again.

    Raises:
        LocatedError, ConfigError: another version wrote it.
    """
    # Its disks are not in it, so what depends on them cannot be judged again: it was when it was applied.
    return finish(merge_documents([read(json.dumps(record.config), APPLIED)]), verified=False)


@contextmanager
def prepare_again(
    loaded: LoadedConfig, machine: Machine, record: Record | None, remote: Remote | None
) -> Iterator[Again]:
    """What has to be done for a config, and its contents at hand as long as it may be done.

    Args:
        remote: fetches what is elsewhere and not known to be as it was; without it that stays unfetched.

    Raises:
        ConfigError: something cannot be done, or had.
    """
    left = loaded._replace(config=settle(loaded.config, machine, record))
    if remote is None:
        yield _planned(loaded, left, machine)
        return
    with fetch_files(left, remote.adapt_to(loaded.config.ignition), None, machine.programs) as fetched:
        machine.fetched = {**machine.fetched, **fetched}
        # Once more: what was fetched may be what is there.
        left = loaded._replace(config=settle(loaded.config, machine, record))
        yield _planned(loaded, left, machine)


def _planned(whole: LoadedConfig, left: LoadedConfig, machine: Machine) -> Again:
    problems = [*_another_var(left.config, machine)]
    if problems:
        raise ConfigError([left.make_complaint(problem) for problem in problems])
    actions = drop_repeats(plan(left, machine, ENABLE), machine.root)
    return Again(whole, left, tuple(actions))


def _another_var(config: Config, machine: Machine) -> Iterator[Problem]:
    """Which ``/var`` a machine has is decided by its first boot: with another one its users would be gone."""
    there = machine.root.see(VAR_UNIT_FILE).is_file
    for index, unit in enumerate(config.systemd.units):
        if unit.name == VAR_UNIT and (unit.mask if there else unit.contents and not unit.mask):
            message = f"{VAR_UNIT} would give this machine another /var at its next boot, without what is in this one"
            yield Problem(("systemd", "units", index, "name"), message, "set the machine up anew with this config")


def apply_again(again: Again, machine: Machine, image: dict[str, str], log: Log) -> None:
    """Do it, and remember how it looked afterwards. If anything fails, everything is as it was.

    Raises:
        ActionFailed, OSError
    """
    with undo.undo_if_it_fails(again.actions, machine):
        carry_out(again.actions, again.left, machine, log)
        remember(again.whole, machine, image)
        sync(machine)
