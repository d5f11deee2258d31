"""Images built for a test, and machines that have booted them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.build import BuildRequest, build_system
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.signing import KeyPair
from vm.accel.choice import choose_accel
from vm.guest.credentials import Credential, write_credentials
from vm.machine import Machine
from vm.network.segment import Nic, Segment
from vm.spec import Disk
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.waiting.deadline import Deadline, choose_timeout_scale

PATIENT = "systemd.default_device_timeout_sec=600"
# The demo without its container, whose start is a quarter of a boot's work, for tests of other things.
WITHOUT_CONTAINER = f"{PATIENT} systemd.mask=web.service"
MASK_CONTAINER = "ln --symbolic --force /dev/null /etc/systemd/system/web.service"


def build(definition: Path, out: Path, store: Store, key_pair: KeyPair | None = None) -> Path:
    """``build.json`` of a definition, built into ``out`` if it is not there as it should be."""
    with closing(QuietConsole(out / "build.log")) as console:
        return build_system(BuildRequest(definition, out, store, console, key_pair=key_pair)).manifest


def build_text(definition: str, out: Path, store: Store) -> Path:
    """The same for a definition's text, which is put into ``out`` as well."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "os.yaml"
    path.write_text(definition, encoding="utf-8")
    return build(path, out, store)


@contextmanager
def started(
    manifest: Path,
    folder: Path,
    store: Store,
    *,
    seconds: float = 400,
    credentials: Sequence[Credential] = (),
    disk: Callable[[Disk], Disk] = lambda disk: disk,
    cables: Sequence[tuple[Segment, Nic]] = (),
    **options: Any,
) -> Iterator[Machine]:
    """A machine of its own that was switched on with this build.

    Args:
        seconds: its deadline on a host with KVM.
        credentials: what the platform hands to its systemd.
        disk: what its boot disk is, of what it would be.
        cables: the networks that it is plugged in to.
        options: as for :class:`vm.spec.request.MachineRequest`.
    """
    image = read_image(manifest)
    tools = Tools(image.tools, QuietConsole())
    accel = choose_accel(tools, store, image.arch).accel
    spec = plan_machine(image, MachineFolder(folder), accel, MachineRequest(**options))
    spec = replace(spec, credentials=write_credentials(credentials, folder.with_name(f"{folder.name}-credentials")))
    first, *others = spec.disks
    spec = replace(spec, disks=(disk(first), *others))
    deadline = Deadline(seconds, choose_timeout_scale(accel, os.environ))
    with Machine(spec, tools, deadline, folder=folder, store=store, cables=cables) as machine:
        yield machine


@contextmanager
def booted(manifest: Path, folder: Path, store: Store, **options: Any) -> Iterator[Machine]:
    """The same, with its first boot finished.

    A kernel that is booted directly is told to wait longer for devices: on a busy host emulated ones are late.
    """
    if options.get("boot") == "kernel":
        options.setdefault("arguments", PATIENT)
    with started(manifest, folder, store, **options) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        yield machine
