"""First boot on the machine: fetch, parse, merge, check, plan, apply, sync, marker. All or nothing.

The models are imported only if there is a config: on an emulated processor imports are most of the time that
this takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from firstboot import report
from firstboot.apply.action import Machine
from firstboot.apply.durable import sync
from firstboot.apply.root import Root
from firstboot.log import Log
from firstboot.places import BASE_DIRECTORY, Places
from firstboot.platform_index import load_index
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.prepare import attempt_of, made_by_attempt, note_made
from firstboot.restart import StartAgain
from firstboot.sources.deletion import delete_kept_config, write_deletion_note
from firstboot.sources.detection import detect_platform
from firstboot.sources.user_config import fetch_base_configs, fetch_config
from firstboot.stopping import stoppable

if TYPE_CHECKING:
    from firstboot.config.loaded import LoadedConfig
    from firstboot.config.models import Config
    from firstboot.remote import Remote

FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name"
BASE_SUFFIXES = (".yaml", ".json", ".ign")


class Attempt:
    """How far a first boot has come. It is filled in as it goes, for whoever has to say why it went no further.

    Attributes:
        base: the image's own configs, and the platform's.
        user: the platform's config; an empty one is none.
        configs: what could be read and is right by itself.
        disks: whether block devices may have been changed.
        warnings: what was noticed and does not stop it.
        actions: what was done, one line each, without contents.
    """

    def __init__(self) -> None:
        self.platform = ""
        self.base: tuple[Fetched, ...] = ()
        self.user: Fetched | None = None
        self.configs: list[Config] = []
        self.disks = False
        self.warnings: tuple[str, ...] = ()
        self.actions: tuple[str, ...] = ()


def run(places: Places, log: Log) -> int:
    """Make the machine what its config says, if that has not been done.

    Returns:
        The exit status: 0 done (now or earlier), 1 failed.
    """
    started = time.monotonic()
    with Root(places.root) as root:
        if report.is_complete(root):
            log.info("first boot was completed earlier; nothing to do")
            return 0
        image = places.image()
        if not image["id"]:
            # On anybody's own computer, where nobody wants a config applied to /.
            log.error("this is not a build-os image: its os-release has no IMAGE_ID; nothing was done")
            return 1
        port = report.Port(places)
        port.send({"event": "started", "image": image})
        attempt = Attempt()
        try:
            try:
                with stoppable(log), provisioned(places, root, log, attempt):
                    result = described(attempt, image, round(time.monotonic() - started, 3))
                    keep(root, result, log)
            except StartAgain as why:
                start_again(places, port, log, why)
                return 0
            complete(Machine(root, places.programs), result, log)
            delete_kept_config(root, places, log)
        except Exception as error:
            from firstboot.failing import explained, tell  # noqa: PLC0415 - see the top

            failure = explained(error, attempt)
            tell(failure, described(attempt, image, round(time.monotonic() - started, 3)), attempt, places, root, log)
            port.send({"event": "finished", "result": "failed", "message": failure.message, "screen": failure.screen})
            return 1
        port.send({"event": "finished", "result": "ok", "seconds": round(time.monotonic() - started, 3)})
    return 0


@contextmanager
def provisioned(places: Places, root: Root, log: Log, attempt: Attempt) -> Iterator[None]:
    """The machine as its config wants it, with all its filesystems mounted: what is still to be written belongs there.

    Raises:
        ConfigUnavailable, LocatedError, ConfigError, ActionFailed, OSError
        StartAgain: the machine has to start again for this, and nothing else was done.
    """
    attempt.base = base_configs(places)
    attempt.platform = detect_platform(places)
    user = fetch_config(attempt.platform, places, log)
    attempt.base += fetch_base_configs(attempt.platform, places)
    # An empty value is how a platform says "none".
    attempt.user = user if user is not None and user.data else None
    texts = [*attempt.base, *([attempt.user] if attempt.user is not None else [])]
    log.info(f"config: {', '.join(each.name for each in texts) or 'none, the machine is what its image says'}")
    machine = Machine(root, places.programs)
    machine.attempt = attempt_of(root)
    machine.made, machine.note_made = made_by_attempt(root), partial(note_made, root)
    if not texts:
        apply_nothing(machine, log)
        yield
        return
    from firstboot.apply.planning import (  # noqa: PLC0415 - see the top
        WHOLE_MACHINE,
        carry_out,
        foreseen,
        mounted,
        plan,
        plan_devices,
        plan_kernel,
        require_ready,
    )
    from firstboot.config.origins import draw_each  # noqa: PLC0415
    from firstboot.drift.record import remember  # noqa: PLC0415
    from firstboot.gathering import fetch_keys, fetched_files, scratch  # noqa: PLC0415
    from firstboot.lean import is_alone  # noqa: PLC0415
    from firstboot.lean_yaml import load_parser_only  # noqa: PLC0415
    from firstboot.remote import Remote  # noqa: PLC0415
    from firstboot.translating import translated  # noqa: PLC0415

    if is_alone():
        load_parser_only()
    remote = Remote(places, attempt.platform, log)
    with log.operation("read config"):
        loaded = translated(compile_all(texts, remote, attempt.configs), machine.root)
    attempt.configs.append(loaded.config)
    attempt.warnings = tuple(draw_each(loaded.warnings))
    for each in attempt.warnings:
        log.warning(each)
    remote = remote.configured(loaded.config.ignition)
    fetched_keys = fetch_keys(loaded, remote)
    with fetched_files(loaded, remote, scratch(places), places.programs) as fetched:
        machine.fetched = {**fetched_keys, **fetched}
        with log.operation("check config"):
            devices = plan_devices(loaded, machine)
            actions = plan(loaded, foreseen(loaded, machine) if devices else machine, WHOLE_MACHINE)
            kernel = plan_kernel(loaded, places)
            require_ready(devices, loaded, machine)
        if kernel:
            # Before anything else is touched: all of it is done in one boot.
            carry_out(kernel, loaded, machine, log)
            raise StartAgain(kernel[0].describe())
        attempt.disks = bool(devices)
        carry_out(devices, loaded, machine, log)
        with mounted(loaded, machine, log):
            if devices:
                # Once more: what is on a filesystem that is kept is known only now.
                actions = plan(loaded, machine, WHOLE_MACHINE)
            _warn(machine, attempt, places, log)
            carry_out(actions, loaded, machine, log)
            with log.operation("remember what was applied"):
                remember(loaded, machine, places.image())
            attempt.actions = tuple(each.describe() for each in (*devices, *actions))
            yield


def _warn(machine: Machine, attempt: Attempt, places: Places, log: Log) -> None:
    """What of the config will have no effect on this image is said where it is seen: the machine starts without it."""
    if not machine.warnings:
        return
    from firstboot.config.origins import draw_each  # noqa: PLC0415 - see the top

    drawn = draw_each(machine.warnings)
    attempt.warnings += tuple(drawn)
    for each in drawn:
        log.warning(each)
    report.show_on_console(places, "\n".join([*drawn, ""]))


def start_again(places: Places, port: report.Port, log: Log, why: StartAgain) -> None:
    """Go on in the next boot, from the beginning.

    Raises:
        OSError: it does not happen.
    """
    log.info(f"the machine starts again: {why}")
    port.send({"event": "restarting", "message": str(why)})
    places.restart()


def base_configs(places: Places) -> tuple[Fetched, ...]:
    """The image's own configs, in the order of their names.

    Raises:
        ConfigUnavailable
    """
    directory = places.at(BASE_DIRECTORY)
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:  # what cannot be read is not absent
        raise ConfigUnavailable(f"{BASE_DIRECTORY} cannot be read: {error.strerror}") from None
    found = []
    for path in paths:
        if path.suffix in BASE_SUFFIXES:
            try:
                found.append(Fetched(f"{BASE_DIRECTORY}/{path.name}", path.read_bytes()))
            except OSError as error:
                raise ConfigUnavailable(f"{BASE_DIRECTORY}/{path.name} cannot be read: {error.strerror}") from None
    return tuple(found)


def compile_all(texts: list[Fetched], remote: Remote | None = None, right: list[Config] | None = None) -> LoadedConfig:
    """One checked config from several texts and what they name, later ones winning.

    Args:
        remote: fetches what they name; without it only what is written in them is merged.
        right: gets each of them that is right by itself, whatever becomes of the whole.

    Raises:
        LocatedError, ConfigError
    """
    from firstboot.config.document import read  # noqa: PLC0415 - see the top
    from firstboot.config.loaded import merge_all  # noqa: PLC0415
    from firstboot.config.loading import finish as finish_config  # noqa: PLC0415
    from firstboot.config.rendering import render_document  # noqa: PLC0415
    from firstboot.config.text import decode  # noqa: PLC0415

    merged: LoadedConfig | None = None
    for each in texts:
        document = read(decode(each.data, each.name), each.name)
        if right is not None and document.config is not None:
            right.append(document.config)
        loaded = render_document(document, remote, merged)
        merged = loaded if merged is None else merge_all([merged, loaded])
    assert merged is not None
    return finish_config(merged)


def apply_nothing(machine: Machine, log: Log) -> None:
    """What a machine without a config needs as well: an identity."""
    from firstboot.apply import identity  # noqa: PLC0415 - see the top
    from firstboot.config.text import Problem  # noqa: PLC0415

    for each in identity.plan(machine.root):
        if isinstance(each, Problem):
            raise ConfigUnavailable(each.message)
        with log.operation(each.describe()):
            each.perform(machine)


def keep(root: Root, result: dict[str, Any], log: Log) -> None:
    """Write the result, for this boot and for later ones: below ``/var``, wherever the config has that."""
    config = result["config"]
    with log.operation("write result"):
        report.write_result(root, {"result": "ok", **result})
        if result["platform"] == "qemu" and config is not None and config["name"].startswith("fw_cfg "):
            # A later boot can look at it again, and say that it has no effect.
            report.write_hash(root, config["sha256"], f"{FW_CFG}/{config['name'].removeprefix('fw_cfg ')}/raw")


def complete(machine: Machine, result: dict[str, Any], log: Log) -> None:
    """Write what is left to do, then, when all is on the disk, the marker.

    Raises:
        OSError: something did not reach the disk.
    """
    root, config = machine.root, result["config"]
    with log.operation("write marker"):
        if result["platform"] in load_index().with_deletion:
            write_deletion_note(root, result["platform"])
        sync(machine)
        marker = {"attempt": attempt_of(root), "image": result["image"], "time": result["time"]}
        report.write_marker(root, marker | {"config_sha256": None if config is None else config["sha256"]})


def described(attempt: Attempt, image: dict[str, str], seconds: float) -> dict[str, Any]:
    """What a result says of a first boot, however it ended."""
    user = attempt.user
    return {
        "image": image,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": seconds,
        # Of this process, from its start on, and of the programs that it ran.
        "cpuSeconds": round(sum(os.times()[:4]), 3),
        "platform": attempt.platform,
        "userConfigProvided": user is not None,
        "config": None if user is None else {"name": user.name, "sha256": _sha256(user)},
        "base": [{"name": each.name, "sha256": _sha256(each)} for each in attempt.base],
        "warnings": list(attempt.warnings),
        "actions": list(attempt.actions),
    }


def _sha256(fetched: Fetched) -> str:
    import hashlib  # noqa: PLC0415 - see the top

    return hashlib.sha256(fetched.data).hexdigest()
