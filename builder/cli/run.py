"""Boot what was built in QEMU, under UEFI, from an overlay: the artifact itself is never changed.

The serial console is this terminal; Ctrl-] ends the machine. Nothing of the guest is reachable but what you forward.

  build-os run --config machines/first.yaml
  build-os run --config machines/first.yaml -p 8080:8080 --detach
  build-os ssh
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.values import add_values, values_of
from builder.core.console import Console

if TYPE_CHECKING:
    from vm.spec import Forward

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
        help="for the kernel besides the image's own; only with --kernel, where nobody verifies",
    )
    parser.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="DIR:PATH",
        help="a copy of DIR, to be read, at a PATH below /run or /var of the guest",
    )
    parser.add_argument("--list", action="store_true", help="list the machines that run detached")
    parser.add_argument("--stop", metavar="NAME", help="power one of them off")
    parser.add_argument("--net", choices=("user", "none"), default="user", help="default: user")
    parser.add_argument("--kernel", action="store_true", help="boot kernel and initrd directly, without firmware")
    parser.add_argument("--name", help="the machine's name (default: the image's)")
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running; see 'build-os ssh'")
    parser.add_argument("--user", default="core", help="with --detach: who 'build-os ssh' logs in as (default: core)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Boot; returns when the machine is off, or runs on detached."""
    from builder.cli.configs import read_config, with_ssh_key
    from builder.cli.machines import make_ssh_key, open_host, registry, show_list, stop
    from builder.core.errors import ConfigError
    from vm.bind import parse_bind, with_binds
    from vm.extra_disk import parse_disk
    from vm.machine import Machine
    from vm.plan import plan_machine
    from vm.results import MachineFolder
    from vm.spec import Forward
    from vm.terminal import attend, show

    if args.list or args.stop:
        from builder.core.store import Store

        machines = registry(Store.open())
        return stop(machines, args.stop, console) if args.stop else show_list(machines)
    if args.kargs and not args.kernel:
        raise ConfigError("the kernel's command line is verified together with the kernel", hint="add --kernel")
    binds = [parse_bind(text) for text in args.bind]
    checked = None if args.config is None else read_config(args.config, values_of(args))
    for warning in checked.warnings if checked is not None else ():
        console.warn(warning)
    disks = [parse_disk(text) for text in args.disk]
    forwards = [parse_forward(text) for text in args.publish]
    host = open_host(args.image, console)
    machines = registry(host.store)
    name = machines.unused_name(args.name or host.image.name)
    parent = args.image.parent / "vm"
    parent.mkdir(parents=True, exist_ok=True)
    folder = MachineFolder((parent / name).absolute())
    if folder.root.exists():
        shutil.rmtree(folder.root)
    key: Path | None = None
    with tempfile.TemporaryDirectory() as scratch:
        config: Path | None = None
        if checked is not None:
            text = checked.text
            if args.detach:
                key = (parent / "key").absolute()
                text = with_ssh_key(text, args.user, make_ssh_key(host.tools, key))
                forwards.append(Forward(22))
            config = Path(scratch) / "config"
            config.write_text(text, encoding="utf-8")
        spec = plan_machine(
            host.image,
            folder,
            host.verdict.accel,
            name=name,
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
        )
        if binds:
            folder.create()
            spec = with_binds(spec, binds, host.tools, folder)
        deadline = host.deadline(BOOT_SECONDS)
        if not args.detach:
            if not sys.stdin.isatty():
                raise ConfigError(
                    "'run' shows the machine's console in this terminal, and this is none",
                    hint="use --detach",
                )
            console.note("Ctrl-] ends the machine")
            with Machine(
                spec, host.tools, deadline, folder=folder.root, store=host.store, probe=False, echo=show
            ) as machine:
                attend(machine, sys.stdin.fileno())
            return 0
        with Machine(
            spec, host.tools, deadline, folder=folder.root, store=host.store, probe=False, outlive=True
        ) as machine:
            (folder.root / "tools").write_text(str(host.tools.root), encoding="utf-8")
            with console.step("first boot"):
                machine.wait_firstboot()
            with console.step("login prompt"):
                machine.wait_console("login:")
            machines.add(machine.leave(args.user, key))
    for guest, port in sorted(machine.forwards.items()):
        console.note(f"127.0.0.1:{port} leads to port {guest} of {name}")
    console.note(f"{name} runs; 'build-os ssh' logs in, 'build-os ssh --stop' powers it off")
    return 0


def parse_forward(text: str) -> Forward:
    """``8080:80`` as a forward.

    Raises:
        ConfigError: it is none.
    """
    from builder.core.errors import ConfigError
    from vm.spec import Forward

    host, _, guest = text.partition(":")
    if not (host.isdigit() and guest.isdigit() and 0 <= int(host) < 65536 and 0 < int(guest) < 65536):
        raise ConfigError(f"{text!r} is no pair of ports", hint="write HOST:GUEST, like 8080:80")
    return Forward(int(guest), int(host))
