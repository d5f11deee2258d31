"""Boot what was built in QEMU, under UEFI, from an overlay: the artifact itself is never changed.

The serial console is this terminal; Ctrl-] ends the machine. Nothing of the guest is reachable but what you forward.

  build-os run --config machines/first.yaml
  build-os run --config machines/first.yaml -p 8080:8080 --detach
  build-os ssh
  build-os run --config machines/first.yaml --detach --keep --name web-1    see 'build-os machine'
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.values import add_values, read_values
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.cli.machines import Host
    from vm.registry.kept import KeptMachines
    from vm.registry.running import Registry
    from vm.spec import Forward, VmSpec
    from vm.spec.folder import MachineFolder

HELP = "boot the image in a virtual machine"
BOOT_SECONDS = 120


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "image",
        nargs="?",
        type=Path,
        default=Path("out/build.json"),
        metavar="BUILD.JSON",
        help="default: out/build.json",
    )
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="first-boot config, YAML or JSON")
    add_values(parser)
    parser.add_argument("-m", "--memory", type=int, default=2048, metavar="MIB", help="default: 2048")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "-p",
        "--publish",
        action="append",
        default=[],
        metavar="HOST:GUEST",
        help="127.0.0.1:HOST leads to the guest's port",
    )
    parser.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="SIZE[:OPTION,...]",
        help="one more empty disk: 2G, 2G:4k, 10G:nvme,serial=data",
    )
    parser.add_argument(
        "--tpm", action="store_true", help="give it a TPM 2.0; what that remembers goes with the machine"
    )
    parser.add_argument(
        "--secure-boot",
        action="store_true",
        help="the firmware starts only what is signed with the image's own key (not signed: with Microsoft's)",
    )
    parser.add_argument(
        "--secure-boot-certificate",
        type=Path,
        metavar="FILE",
        help="the firmware starts only what is signed with this certificate's key",
    )
    parser.add_argument("--watchdog", action="store_true", help="give it a watchdog that resets it")
    parser.add_argument(
        "--kargs",
        metavar="WORDS",
        help="for the kernel besides the image's own; only with --kernel, where nothing is verified",
    )
    parser.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="DIR:PATH",
        help="a copy of DIR, to be read, at a PATH below /run or /var of the guest",
    )
    parser.add_argument("--list", action="store_true", help="as 'build-os machine list'")
    parser.add_argument("--stop", metavar="NAME", help="as 'build-os machine stop'")
    parser.add_argument("--net", choices=("user", "none"), default="user", help="default: user")
    parser.add_argument("--kernel", action="store_true", help="boot kernel and initrd directly, without firmware")
    parser.add_argument("--name", help="the machine's name (default: the image's)")
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running; see 'build-os ssh'")
    parser.add_argument(
        "-k", "--keep", action="store_true", help="its disks stay when it is off; see 'build-os machine'"
    )
    parser.add_argument("--user", default="core", help="with --detach: who 'build-os ssh' logs in as (default: core)")
    parser.add_argument(
        "--no-login",
        action="store_true",
        help="with --detach: give it the config and nothing else: no key for 'build-os ssh'",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Boot; returns when the machine is off, or runs on detached."""
    from builder.cli.configs import read_config
    from builder.cli.login import write_login_config
    from builder.cli.machines import make_ssh_key, open_host, open_kept_machines, open_registry, show_list, stop
    from builder.cli.starting import Start, require_terminal, start_and_leave, stay_at_console
    from builder.core.errors import InputError
    from builder.provisioning.build_comparison import compare_with_build
    from vm.disks.bind import add_binds, parse_bind
    from vm.registry.kept import KeptMachine, make_keepable, require_name
    from vm.spec import Forward
    from vm.spec.extra_disk import parse_disk
    from vm.spec.plan import plan_machine
    from vm.spec.request import MachineRequest

    kept = open_kept_machines()
    if args.list or args.stop:
        from builder.core.store import Store

        machines = open_registry(Store.open())
        return stop(machines, args.stop, console) if args.stop else show_list(machines, kept)
    if args.kargs and not args.kernel:
        raise InputError("the kernel's command line is verified together with the kernel", hint="add --kernel")
    if args.name is not None:
        require_name(args.name)
    binds = [parse_bind(text) for text in args.bind]
    checked = None if args.config is None else read_config(args.config, read_values(args))
    disks = [parse_disk(text) for text in args.disk]
    forwards = [parse_forward(text) for text in args.publish]
    if checked is not None and args.image.exists():
        against = compare_with_build(args.config, args.image, read_values(args), args.config.parent)
        if against.why_not:
            console.note(f"{args.config} was not compared with the image: {against.why_not}")
        for warning in against.warnings if against.image else checked.warnings:
            console.warn(warning)
        for note in against.notes:
            console.note(note)
    host = open_host(args.image, console)
    if not args.detach:
        require_terminal()
    can_ssh = args.detach and args.net != "none" and has_ssh_server(args.image)
    if can_ssh:
        forwards.append(Forward(22))
    machines = open_registry(host.store)
    with prepare_folder(args, host, machines, kept, console) as folder, tempfile.TemporaryDirectory() as scratch:
        config: Path | None = None
        if checked is not None:
            config = Path(scratch) / "config"
            config.write_text(checked.text, encoding="utf-8")
        spec = plan_machine(
            host.image,
            folder,
            host.verdict.accel,
            MachineRequest(
                name=folder.root.name,
                boot="kernel" if args.kernel else "uefi",
                arguments=args.kargs or "",
                config=config,
                memory=args.memory,
                cpus=args.cpus,
                extra_disks=disks,
                net=args.net,
                tpm=args.tpm,
                secure_boot=args.secure_boot_certificate or args.secure_boot,
                watchdog=args.watchdog,
                restrict=False,
                forwards=forwards,
            ),
        )
        key: Path | None = None
        if can_ssh and not args.no_login:
            key = folder.root / "key"
            public = make_ssh_key(host.tools, key)
            spec = replace(spec, base_configs=(write_login_config(Path(scratch), args.user, public),))
        if args.keep:
            spec = make_keepable(spec)
        if binds:
            folder.create()
            spec = add_binds(spec, binds, host.tools, folder)

        def done(made: VmSpec) -> None:
            if args.keep:
                kept.add(KeptMachine.describe(made, host.image, args.image, args.user, key))

        deadline = host.make_deadline(BOOT_SECONDS)
        start = Start(spec, host.tools, host.store, deadline, folder, keep=args.keep, done=done)
        if args.detach:
            start_and_leave(start, machines, console, args.user, key, can_ssh=can_ssh)
        else:
            stay_at_console(start, console)
    return 0


@contextmanager
def prepare_folder(
    args: argparse.Namespace, host: Host, machines: Registry, kept: KeptMachines, console: Console
) -> Iterator[MachineFolder]:
    """An empty folder for a new machine, named as it; nobody else makes one of the same name meanwhile.

    Raises:
        InputError: the name is taken.
    """
    from builder.core.errors import InputError, VmError

    wanted = args.name or host.image.name
    if not args.keep:
        with choose_folder((args.image.parent / "vm").absolute(), wanted, machines, kept) as folder:
            make_empty(folder)
            yield folder
        return
    with kept.lock(wanted, console):
        if kept.has(wanted):
            raise InputError(
                f"there is a machine named {wanted} already, and it is kept",
                hint=f"'build-os machine start {wanted}' starts it; --name NAME makes another",
            )
        if wanted in {record.name for record in machines.list()}:
            raise InputError(f"a machine named {wanted} runs already", hint="--name NAME gives this one another")
        folder = kept.locate_folder(wanted)
        make_empty(folder)
        failed = False
        try:
            yield folder
        except VmError:
            failed = True  # the error names logs in there; the next machine of this name takes the place
            raise
        finally:
            if not failed and not folder.is_kept:
                kept.remove(wanted)


@contextmanager
def choose_folder(parent: Path, wanted: str, machines: Registry, kept: KeptMachines) -> Iterator[MachineFolder]:
    """The folder of the first name that no machine has, nor one that is about to start."""
    from builder.core.locks import hold_lock_if_free
    from vm.spec.folder import MachineFolder

    starting: set[str] = set()
    while True:
        name = machines.choose_name(wanted, starting.union(kept.list_names()))
        with hold_lock_if_free(parent / f".{name}.lock") as ours:
            # Whoever had it may have become a machine that runs since we looked.
            if ours and name == machines.choose_name(wanted, starting.union(kept.list_names())):
                yield MachineFolder(parent / name)
                return
        starting.add(name)


def make_empty(folder: MachineFolder) -> None:
    """The folder, with nothing in it."""
    shutil.rmtree(folder.root, ignore_errors=True)
    folder.create()


def has_ssh_server(build_json: Path) -> bool:
    """Whether somebody could log in; an image whose facts are not there may have one."""
    from builder.provisioning.image_facts import ImageRoot, find_facts

    facts = find_facts(build_json)
    return facts is None or ImageRoot(facts).see("/usr/sbin/sshd").stat is not None


def parse_forward(text: str) -> Forward:
    """``8080:80`` as a forward.

    Raises:
        InputError: it is none.
    """
    from builder.core.errors import InputError
    from vm.spec import Forward

    host, _, guest = text.partition(":")
    if not (host.isdigit() and guest.isdigit() and 0 <= int(host) < 65536 and 0 < int(guest) < 65536):
        raise InputError(f"{text!r} is no pair of ports", hint="write HOST:GUEST, like 8080:80")
    return Forward(int(guest), int(host))
