"""The stages as Ignition's own command line has them, so that tools written for it can drive this.

``fetch`` gets the user's config and caches it; the others merge it with the base configs and carry out their part.
``kargs`` is the helper's of whoever calls, as with Ignition. The root is whoever's who calls: rules that
only hold for images of ours are not applied.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from firstboot.apply.action import Machine
from firstboot.apply.disks.plan import plan_mounts, plan_unmounts
from firstboot.apply.durable import sync
from firstboot.apply.root import Root
from firstboot.cli import stage_state
from firstboot.config.document import read
from firstboot.config.dump import dump, has_own
from firstboot.config.loaded import LoadedConfig
from firstboot.config.models import Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.rendering import render_document
from firstboot.config.text import decode
from firstboot.config.versions import NEWEST, OWN_SUFFIX, format_version
from firstboot.engine.compile import finish, merge_over
from firstboot.engine.errors import EXPECTED, describe
from firstboot.engine.perform import carry_out, umount_if_it_fails
from firstboot.engine.plan import plan, plan_devices, require_ready
from firstboot.engine.remote import Remote
from firstboot.engine.resources import fetch_files, fetch_keys, find_scratch, list_files, list_keys
from firstboot.fetch.errors import NeedsNetwork
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platform_index import load_index
from firstboot.platforms import Fetched
from firstboot.sources import command_line
from firstboot.sources.user_config import fetch_from_platform

STAGES = ("fetch-offline", "fetch", "kargs", "disks", "mount", "files", "umount")
# Where configs of the system lie, the most important first.
_DIRECTORIES = (
    ("IGNITION_SYSTEM_RUNTIME_CONFIG_DIR", "/run/ignition"),
    ("IGNITION_SYSTEM_LOCAL_CONFIG_DIR", "/etc/ignition"),
    ("IGNITION_SYSTEM_CONFIG_DIR", "/usr/lib/ignition"),
)


class Options(NamedTuple):
    """The command line of one stage.

    Attributes:
        config_cache: where ``fetch`` leaves the user's config for the others.
        state_file: where a stage leaves what later ones have to know.
        need_network: a file that ``fetch-offline`` makes if there is more to fetch than it can.
    """

    platform: str
    stage: str
    root: str
    config_cache: Path
    state_file: Path
    need_network: Path


def run_command(arguments: list[str]) -> int:
    """Run the stage that Ignition's arguments name; 0 if it succeeded."""
    parser = argparse.ArgumentParser(prog="firstboot", allow_abbrev=False)
    parser.add_argument("-platform", required=True, choices=load_index().names)
    parser.add_argument("-stage", required=True, choices=STAGES)
    parser.add_argument("-root", default="/")
    parser.add_argument("-config-cache", type=Path, default=Path("/run/ignition.json"))
    parser.add_argument("-state-file", type=Path, default=Path("/run/ignition/state"))
    parser.add_argument("-neednet", type=Path, default=Path("/run/ignition/neednet"))
    parser.add_argument("-log-to-stdout", action="store_true")
    options = parser.parse_args(arguments)
    log = Log(sys.stdout if options.log_to_stdout else sys.stderr)
    files = (options.config_cache, options.state_file, options.neednet)
    stage = Options(options.platform, options.stage, options.root, *files)
    return run_stage(stage, Places(), log)


def run_stage(options: Options, places: Places, log: Log) -> int:
    """Run one stage; 0 if it succeeded, 1 if not, with a line that begins ``CRITICAL``."""
    try:
        match options.stage:
            case "fetch-offline":
                fetch_offline(options, places, log)
            case "fetch":
                fetch(options, places, log, Remote(places, options.platform, log))
            case "kargs":
                run_kargs(options, places)
            case "disks":
                run_disks(options, places, log)
            case "mount":
                mount(options, places, log)
            case "umount":
                umount(options, places, log)
            case "files":
                run_files(options, places, log)
            case _:
                log.note(f"stage {options.stage}: nothing to do")
    except EXPECTED as error:
        log.complain(f"CRITICAL : stage {options.stage} failed: {describe(error)}")
        return 1
    return 0


def fetch_offline(options: Options, places: Places, log: Log) -> None:
    """:func:`fetch`, as far as it goes without a network; whether one is needed is then known."""
    try:
        if _needs_network(options.platform, places):
            raise NeedsNetwork("the config is asked for over the network")
        loaded = fetch(options, places, log, Remote(places, options.platform, log, offline=True))
        custom = any(device.clevis.custom.needs_network for device in loaded.config.storage.luks)
        if custom or list_keys(loaded.config) or list_files(loaded.config):
            raise NeedsNetwork("the config names contents that are elsewhere")
    except NeedsNetwork as error:
        log.note(str(error))
        options.need_network.parent.mkdir(parents=True, exist_ok=True)
        options.need_network.touch()


def fetch(options: Options, places: Places, log: Log, remote: Remote) -> LoadedConfig:
    """Get the user's config, check it together with the base configs, and cache it.

    Returns:
        All of them as one.
    """
    if options.config_cache.exists():
        log.note(f"the config is cached in {options.config_cache}")
        return load_cached_config(options, remote)
    base = find_base_config(options.platform, remote)
    user = fetch_user_config(options, places, log, remote, base)
    loaded = finish(merge_over(base, user), verified=False)
    _write_privately(options.config_cache, json.dumps(dump_config(user.config)), 0o600)
    return loaded


def dump_config(config: Config) -> dict[str, Any]:
    """A config as plain data that is read as what it is."""
    data = dump(config)
    if has_own(config):
        data["ignition"]["version"] += OWN_SUFFIX
    return data


def run_kargs(options: Options, places: Places) -> None:
    """Kernel arguments, by the program that knows this system's boot loader; it restarts the machine if it must."""
    wanted = load_cached_config(options, Remote(places, options.platform, Log())).config.kernel_arguments
    words = [word for argument in wanted.should_exist for word in ("--should-exist", argument)]
    words += [word for argument in wanted.should_not_exist for word in ("--should-not-exist", argument)]
    if words:
        places.programs.run(["ignition-kargs-helper", *words])


def run_disks(options: Options, places: Places, log: Log) -> None:
    """Partitions, RAID, encryption, filesystems."""
    remote = Remote(places, options.platform, log)
    loaded = load_cached_config(options, remote)
    with Root("/") as root:
        machine = Machine(root, places.programs)
        machine.fetched = fetch_keys(loaded, remote.adapt_to(loaded.config.ignition))
        actions = plan_devices(loaded, machine)
        require_ready(actions, loaded, machine)
        carry_out(actions, loaded, machine, log)
        if machine.luks_uuids:
            _write_privately(options.state_file, stage_state.dump(machine), 0o600)


def mount(options: Options, places: Places, log: Log) -> None:
    """Mount what the config mounts, below the root."""
    loaded = load_cached_config(options, Remote(places, options.platform, log))
    with Root(options.root) as root:
        machine = Machine(root, places.programs)
        if options.state_file.exists():
            stage_state.load(machine, options.state_file.read_text(encoding="utf-8"))
        with umount_if_it_fails(machine):
            carry_out(plan_mounts(loaded.config), loaded, machine, log)
        if machine.mount_points:
            _write_privately(options.state_file, stage_state.dump(machine), 0o600)


def umount(options: Options, places: Places, log: Log) -> None:
    """Unmount it."""
    loaded = load_cached_config(options, Remote(places, options.platform, log))
    with Root(options.root) as root:
        carry_out(plan_unmounts(loaded.config), loaded, Machine(root, places.programs), log)


def run_files(options: Options, places: Places, log: Log) -> None:
    """Files, users, units."""
    remote = Remote(places, options.platform, log)
    loaded = load_cached_config(options, remote)
    for warning in loaded.warnings:
        log.warn(str(warning))
    with Root(options.root) as root:
        machine = Machine(root, places.programs)
        if options.state_file.exists():
            stage_state.load(machine, options.state_file.read_text(encoding="utf-8"))
        configured = remote.adapt_to(loaded.config.ignition)
        with fetch_files(loaded, configured, find_scratch(places), places.programs) as machine.fetched:
            carry_out(plan(loaded, machine), loaded, machine, log)
        sync(machine)


def load_cached_config(options: Options, remote: Remote) -> LoadedConfig:
    """What the cache and the base configs say together."""
    cached = Fetched(str(options.config_cache), options.config_cache.read_bytes())
    base = find_base_config(options.platform, remote)
    user = compile_config(cached, remote, base)
    return finish(merge_over(base, user), verified=False)


def fetch_user_config(
    options: Options, places: Places, log: Log, remote: Remote, base: LoadedConfig | None
) -> LoadedConfig:
    """What the kernel's command line names, else ``user.ign`` of the first system directory that has one, else what
    the platform gives, else nothing.
    """
    named = command_line.find_named(places)
    if named is not None:
        return compile_config(command_line.fetch_named(named, options.platform, places, log), remote, base)
    path = _find_user_config()
    if path is not None:
        return compile_config(Fetched(str(path), path.read_bytes()), remote, base)
    with log.follow_operation(f"fetch config from {options.platform}"):
        fetched = fetch_from_platform(options.platform, places, log)
    if fetched is None or not fetched.data:
        fetched = Fetched("no config", json.dumps({"ignition": {"version": format_version(NEWEST)}}).encode())
    return compile_config(fetched, remote, base)


def _find_user_config() -> Path | None:
    return next((path for directory in _system_directories() if (path := directory / "user.ign").exists()), None)


def _needs_network(platform: str, places: Places) -> bool:
    """Whether the config itself comes over the network."""
    named = command_line.find_named(places)
    if named is not None:
        return bool(named.url) and not named.url.startswith("data:")
    return _find_user_config() is None and platform in load_index().with_network


def _write_privately(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


def find_base_config(platform: str, remote: Remote) -> LoadedConfig | None:
    """``base.d/*.ign``, then ``base.platform.d/PLATFORM/*.ign``, each from the most important directory, as one."""
    base: LoadedConfig | None = None
    for below in ("base.d", f"base.platform.d/{platform}"):
        paths: dict[str, Path] = {}
        for directory in _system_directories():
            here = directory / below
            for path in here.iterdir() if here.is_dir() else ():
                if path.suffix == ".ign":
                    paths.setdefault(path.name, path)
        for name in sorted(paths):
            loaded = compile_config(Fetched(str(paths[name]), paths[name].read_bytes()), remote, base)
            base = merge_over(base, loaded)
    return base


def _system_directories() -> list[Path]:
    return [Path(os.environ.get(variable) or default) for variable, default in _DIRECTORIES]


def compile_config(fetched: Fetched, remote: Remote, base: LoadedConfig | None) -> LoadedConfig:
    """One config, read, checked by the rules of its version and translated, with what it names."""
    return render_document(read(decode(fetched.data, fetched.name), fetched.name), remote, base)
