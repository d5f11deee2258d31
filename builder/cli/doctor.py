"""Say what build-os can do on this machine, what is missing, and what to do about it.

build-os doctor
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.core.architecture import Arch, find_host_arch
from builder.core.console import Console, format_size

HELP = "say what is missing on this machine"
MARKS = {"ok": "ok  ", "note": "note", "missing": "MISS"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``state`` is ``ok``, ``note`` (works, but ...) or ``missing``."""

    state: str
    what: str
    hint: str = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--arch", choices=tuple(Arch), help="the image's architecture (default: this machine's)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the findings; fails with 3 if something is missing."""
    from builder.core.errors import CapabilityError

    missing = 0
    for finding in list_findings(args.arch, console):
        missing += finding.state == "missing"
        sys.stdout.write(f"{MARKS[finding.state]}  {finding.what}\n")
        if finding.hint:
            sys.stdout.write(f"      {finding.hint}\n")
    if missing:
        raise CapabilityError(f"{missing} thing{'s are' if missing > 1 else ' is'} missing")
    return 0


def list_findings(arch: str | None, console: Console) -> Iterator[Finding]:
    """Look at everything a build and a boot need."""
    from builder.core.store import Store
    from builder.core.tools import can_enter

    here = find_host_arch()
    yield Finding("ok", f"Python {platform.python_version()}")
    if here is None:
        yield Finding("missing", f"no tools for {platform.machine()}", f"build on one of: {', '.join(Arch)}")
    else:
        yield Finding("ok", f"{here} machine, {os.cpu_count()} processors")
    reason = can_enter()
    if reason is None:
        how = "as root" if os.geteuid() == 0 else "in a user namespace"
        yield Finding("ok", f"the tools tree can be entered {how}")
    else:
        yield Finding("missing", f"the tools tree cannot be entered: {reason}", _namespace_hint())
    store = Store.open()
    yield _space("the store", store.root)
    yield _space("this directory", Path.cwd())
    yield _mirror()
    yield from _find_keys()
    yield from _accel(store, arch or (here or Arch.AMD64), console)


def _namespace_hint() -> str:
    restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if restricted.exists() and restricted.read_text(encoding="ascii").strip() == "1":
        return "AppArmor forbids it: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0', or run as root"
    return "allow unprivileged user namespaces (sysctl user.max_user_namespaces), or run as root"


def _space(what: str, path: Path) -> Finding:
    from builder.build.workspace import ROOM

    free = shutil.disk_usage(path).free
    text = f"{what}, {path}, has {format_size(free)} free"
    if free < ROOM:
        return Finding(
            "missing", text, f"a build needs {format_size(ROOM)}; 'build-os cache clear --stages' frees some"
        )
    return Finding("ok", text)


def _find_keys() -> Iterator[Finding]:
    """The keys that 'build-os publish' and 'build-os key' take from here, and those of the environment."""
    from builder.core.efi_keys import read_certificate
    from builder.core.errors import InputError
    from builder.outputs.signing import is_of_development
    from firstboot.config.update_words import is_for_development

    path = Path("update-keys/root.json")
    if path.is_file() and is_for_development(path.read_bytes()):
        yield Finding("note", f"{path} is of development keys", "'build-os key DIR --for updates' makes others")
    for path in {Path("keys/secure-boot.crt"), Path(os.environ.get("BUILD_OS_SIGN_CERTIFICATE", ""))}:
        with contextlib.suppress(InputError):
            if is_of_development(read_certificate(path)):
                yield Finding("note", f"{path} is of a development key", "'build-os key DIR' makes others")


def _mirror() -> Finding:
    from builder.core.errors import BuildError
    from builder.debian.mirror import find_mirrors, list_default_suites
    from builder.definition.model import DEFAULT_SUITE

    try:
        find_mirrors((), os.environ, list_default_suites(DEFAULT_SUITE))
    except BuildError as error:
        return Finding("missing", error.what, error.hint or "")
    return Finding("ok", f"a mirror of Debian's archive is known for {DEFAULT_SUITE}")


def _accel(store: object, arch: str, console: Console) -> Iterator[Finding]:
    from builder.core.kept import TOOLS, list_entries
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.accel.choice import choose_accel
    from vm.spec import Accel

    assert isinstance(store, Store)
    device = Path("/dev/kvm")
    if not device.exists():
        yield Finding("note", "no /dev/kvm: virtual machines are emulated, several times slower")
        return
    if not os.access(device, os.R_OK | os.W_OK):
        yield Finding("note", "/dev/kvm may not be used by you: virtual machines are emulated", "join the group kvm")
        return
    trees = sorted(list_entries(store, TOOLS), key=lambda entry: entry.seal.stat().st_mtime)
    if not trees:
        yield Finding("note", "/dev/kvm is there; whether it works is tried when the tools tree is ('build-os build')")
        return
    verdict = choose_accel(Tools(trees[-1].path, console), store, arch)
    if verdict.accel is Accel.KVM:
        yield Finding("ok", "KVM works: virtual machines run at full speed")
    else:
        yield Finding("note", f"virtual machines run under {verdict}", verdict.hint or "")
