"""First boot on the machine: fetch, compile, plan, apply, sync, marker. All or nothing.

What only a machine with a config needs is imported only if there is one: on an emulated processor imports are most of
the time that this takes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from firstboot import report
from firstboot.apply.action import Machine
from firstboot.apply.durable import sync
from firstboot.apply.root import Root
from firstboot.config.lazy import import_lazily
from firstboot.engine.attempt import Attempt
from firstboot.engine.stopping import raise_when_stopped
from firstboot.log import Log
from firstboot.places import BASE_DIRECTORY, Places
from firstboot.platform_index import load_index
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.prepare import list_made_by_attempt, note_made, read_attempt
from firstboot.restart import StartAgain
from firstboot.sources.deletion import delete_kept_config, write_deletion_note
from firstboot.sources.detection import detect_platform
from firstboot.sources.user_config import fetch_base_configs, fetch_config

if TYPE_CHECKING:
    from firstboot.apply import identity
    from firstboot.config import origins, text, yaml_parser
    from firstboot.config.origins import Complaint
    from firstboot.engine import compile as compiling
    from firstboot.engine import failure, keyfiles, perform, plan, record, remote, resources
else:
    compiling = import_lazily("firstboot.engine.compile")
    failure = import_lazily("firstboot.engine.failure")
    identity = import_lazily("firstboot.apply.identity")
    keyfiles = import_lazily("firstboot.engine.keyfiles")
    origins = import_lazily("firstboot.config.origins")
    perform = import_lazily("firstboot.engine.perform")
    plan = import_lazily("firstboot.engine.plan")
    record = import_lazily("firstboot.engine.record")
    remote = import_lazily("firstboot.engine.remote")
    resources = import_lazily("firstboot.engine.resources")
    text = import_lazily("firstboot.config.text")
    yaml_parser = import_lazily("firstboot.config.yaml_parser")

FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name"
BASE_SUFFIXES = (".yaml", ".json", ".ign")


def run(places: Places, log: Log, *, is_alone: bool = False) -> int:
    """Make the machine what its config says, if that has not been done, and tell how it went.

    Args:
        is_alone: whether this process is a first boot and nothing else.

    Returns:
        The exit status: 0 done (now or earlier), 1 failed.
    """
    with Root(places.root) as root:
        if report.is_complete(root):
            log.note("first boot was completed earlier; nothing to do")
            return 0
        image = places.read_image_identity()
        if not image["id"]:
            # On anybody's own computer, where nobody wants a config applied to /.
            log.complain("this is not a build-os image: its os-release has no IMAGE_ID; nothing was done")
            return 1
        port = report.Port(places)
        port.send({"event": "started", "image": image})
        attempt = Attempt(image, is_alone=is_alone)
        try:
            try:
                provision(places, root, log, attempt)
            except StartAgain as why:
                log.note(f"the machine starts again: {why}")
                port.send({"event": "restarting", "message": str(why)})
                places.restart()
                return 0
        except Exception as error:
            failed = failure.explain(error, attempt)
            failure.tell(failed, attempt, places, root, log)
            port.send({"event": "finished", "result": "failed", "message": failed.message, "screen": failed.screen})
            return 1
        port.send({"event": "finished", "result": "ok", "seconds": attempt.seconds})
    return 0


def provision(places: Places, root: Root, log: Log, attempt: Attempt) -> None:
    """A first boot, in its order.

    Args:
        attempt: is filled in.

    Raises:
        StartAgain: the machine has to start again for this, and nothing else was done.
        FetchError, LocatedError, ConfigError, ActionFailed, ProgramError, OSError: see :mod:`firstboot.engine.errors`.
    """
    with raise_when_stopped(log):
        texts = _find_configs(places, log, attempt)
        machine = _make_machine(places, root)
        if texts:
            result = _apply(texts, machine, places, log, attempt)
        else:
            _give_identity(machine, log)
            result = _write_result(root, attempt.describe(), log)
    # Until there is the marker, the next boot begins anew.
    _complete(machine, result, log)
    delete_kept_config(root, places, log)


def _apply(texts: list[Fetched], machine: Machine, places: Places, log: Log, attempt: Attempt) -> dict[str, Any]:
    """Make the machine what its config says. The result, which is written where the config has ``/var``."""
    if attempt.is_alone:
        yaml_parser.leave_out_the_rest()
    ways = remote.Remote(places, attempt.platform, log)
    with log.follow_operation("read config"):
        loaded = compiling.compile_all(texts, ways, valid=attempt.configs)
        loaded = keyfiles.translate_keyfiles(loaded, machine.root)
    attempt.configs.append(loaded.config)
    _warn(loaded.warnings, attempt, log)
    ways = ways.adapt_to(loaded.config.ignition)
    fetched_keys = resources.fetch_keys(loaded, ways)
    with resources.fetch_files(loaded, ways, resources.find_scratch(places), machine.programs) as fetched:
        machine.fetched = {**fetched_keys, **fetched}
        with log.follow_operation("check config"):
            devices = plan.plan_devices(loaded, machine)
            later = plan.foresee(loaded, machine) if devices else machine
            actions = plan.plan(loaded, later, plan.WHOLE_MACHINE)
            kernel = plan.plan_kernel(loaded, places)
            plan.require_ready(devices, loaded, machine)
        if kernel:
            # Before anything else is touched: all of it is done in one boot.
            perform.carry_out(kernel, loaded, machine, log)
            raise StartAgain(kernel[0].describe())
        attempt.disks = bool(devices)
        perform.carry_out(devices, loaded, machine, log)
        with perform.mount_everything(loaded, machine, log):
            if devices:
                # Once more: what is on a filesystem that is kept is known only now.
                actions = plan.plan(loaded, machine, plan.WHOLE_MACHINE)
            if machine.warnings:
                # Said where it is seen: the machine starts without what it is about.
                report.show_on_console(places, "\n".join([*_warn(machine.warnings, attempt, log), ""]))
            perform.carry_out(actions, loaded, machine, log)
            with log.follow_operation("remember what was applied"):
                record.remember(loaded, machine, places.read_image_identity())
            attempt.actions = tuple(action.describe() for action in (*devices, *actions))
            return _write_result(machine.root, attempt.describe(), log)


def _find_configs(places: Places, log: Log, attempt: Attempt) -> list[Fetched]:
    """The image's own configs, the platform's and the machine's, in the order in which they are merged."""
    attempt.base = read_base_configs(places)
    attempt.platform = detect_platform(places)
    user = fetch_config(attempt.platform, places, log)
    attempt.base += fetch_base_configs(attempt.platform, places)
    # An empty value is how a platform says "none".
    attempt.user = user if user is not None and user.data else None
    texts = [*attempt.base, *([attempt.user] if attempt.user is not None else [])]
    log.note(f"config: {', '.join(text.name for text in texts) or 'none, the machine is what its image says'}")
    return texts


def read_base_configs(places: Places) -> tuple[Fetched, ...]:
    """The image's own configs, in the order of their names.

    Raises:
        ConfigUnavailable
    """
    directory = places.locate(BASE_DIRECTORY)
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:  # what cannot be read is not absent
        raise ConfigUnavailable(f"{BASE_DIRECTORY} cannot be read: {error.strerror}") from None
    configs = []
    for path in paths:
        if path.suffix in BASE_SUFFIXES:
            try:
                configs.append(Fetched(f"{BASE_DIRECTORY}/{path.name}", path.read_bytes()))
            except OSError as error:
                raise ConfigUnavailable(f"{BASE_DIRECTORY}/{path.name} cannot be read: {error.strerror}") from None
    return tuple(configs)


def _make_machine(places: Places, root: Root) -> Machine:
    machine = Machine(root, places.programs)
    machine.attempt = read_attempt(root)
    machine.made, machine.note_made = list_made_by_attempt(root), partial(note_made, root)
    return machine


def _warn(complaints: tuple[Complaint, ...] | list[Complaint], attempt: Attempt, log: Log) -> list[str]:
    drawn = origins.draw_each(complaints)
    attempt.warnings += tuple(drawn)
    for warning in drawn:
        log.warn(warning)
    return drawn


def _give_identity(machine: Machine, log: Log) -> None:
    """What a machine without a config needs as well."""
    for action in identity.plan(machine.root):
        if isinstance(action, text.Problem):
            raise ConfigUnavailable(action.message)
        with log.follow_operation(action.describe()):
            action.perform(machine)


def _write_result(root: Root, result: dict[str, Any], log: Log) -> dict[str, Any]:
    """For this boot and for later ones: below ``/var``, wherever the config has that."""
    config = result["config"]
    with log.follow_operation("write result"):
        report.write_result(root, {"result": "ok", **result})
        if result["platform"] == "qemu" and config is not None and config["name"].startswith("fw_cfg "):
            # A later boot can look at it again, and say that it has no effect.
            report.write_hash(root, config["sha256"], f"{FW_CFG}/{config['name'].removeprefix('fw_cfg ')}/raw")
    return result


def _complete(machine: Machine, result: dict[str, Any], log: Log) -> None:
    """Write what is left to do, then, when all is on the disk, the marker.

    Raises:
        OSError: something did not reach the disk.
    """
    root, config = machine.root, result["config"]
    with log.follow_operation("write marker"):
        if result["platform"] in load_index().with_deletion:
            write_deletion_note(root, result["platform"])
        sync(machine)
        marker = {"attempt": read_attempt(root), "image": result["image"], "time": result["time"]}
        report.write_marker(root, marker | {"config_sha256": None if config is None else config["sha256"]})
