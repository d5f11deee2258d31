"""Take a version: everything verified first, then the slot, its kernel image last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import SETTINGS_FILE
from update.agent import esp as esps
from update.agent.disk import Slot, check_sizes, check_written, choose_slot, find_disk, list_partitions
from update.agent.etc import remember_defaults
from update.agent.extensions import choose_extensions, install_extensions
from update.agent.firmware_keys import require_trusted
from update.agent.host import Host
from update.agent.identity import Identity
from update.agent.payload import check_release, clear_staged, unpack
from update.agent.settings import Settings
from update.agent.space import require_space
from update.agent.state import Event, Pending, State, read_state, write_state
from update.agent.transfers import KERNEL, SLOT, make_kernel_transfer, make_slot_transfers, run_transfers
from update.documents import Release
from update.errors import UpdateError
from update.versions import compare_versions

Say = Callable[[str], None]


class Taking(NamedTuple):
    """Who takes what: the machine, what runs on it, how it is to be done, and what was remembered."""

    host: Host
    identity: Identity
    settings: Settings
    state: State

    def find_pin(self) -> str | None:
        """The only version that the machine may take: what was said last, by command, or what its own file says."""
        return self.state.pin or self.settings.pin


def check_wanted(taking: Taking, release: Release, *, again: bool = False) -> None:
    """Whether this machine may, and is to, take the version.

    Args:
        again: also a version that has failed here.

    Raises:
        UpdateError: why not.
    """
    check_release(release, taking.identity)
    pending, failed = taking.state.pending, taking.state.failed.get(release.version)
    if pending is not None and pending.version == taking.identity.version:
        raise UpdateError(f"version {pending.version}, which runs, has not proven itself yet")
    if failed is not None and not again:
        raise UpdateError(
            f"version {release.version} has failed on this machine and is skipped: {failed.reason}; "
            "'--again' takes it nevertheless"
        )
    pin = taking.find_pin()
    if pin is not None and compare_versions(pin, release.version) != 0:
        way = "'os-update unpin' lets it go on" if taking.state.pin else f"{SETTINGS_FILE} says so"
        raise UpdateError(f"this machine is pinned to version {pin}; {way}")


def take(taking: Taking, release: Release, directory: Path, say: Say) -> None:
    """Write a version whose files lie in a directory. The running version is not touched.

    Raises:
        UpdateError: it was not written; a version that is half written cannot be booted.
    """
    host, identity = taking.host, taking.identity
    try:
        remember_defaults(host, identity.version)
    except UpdateError as error:
        # That keeps nobody from an update.
        say(f"what the new version changes in /etc cannot be told afterwards: {error}")
    disk = find_disk(host)
    slot = choose_slot(list_partitions(host, disk), disk, identity)
    check_sizes(slot, release)
    extensions = choose_extensions(host, identity.version, release)
    with esps.mount_esp(host) as esp:
        esps.require_good_image(esp, identity.name, identity.version)
    say(f"checking and unpacking version {release.version}")
    try:
        parts = unpack(host, release, directory)
        require_trusted(host, parts["uki"], release.version)
        install_extensions(host, release, extensions, directory, (identity.version, release.version))
        write_version(taking, release, slot, parts["uki"], say)
    finally:
        clear_staged(host)
    say(f"version {release.version} is written, and is started at the next boot")


def write_version(taking: Taking, release: Release, slot: Slot, uki: Path, say: Say) -> None:
    """Write what was unpacked and checked: the slot, then the kernel image.

    Raises:
        UpdateError: it was not written; nothing waits to be started then.
    """
    host, identity = taking.host, taking.identity
    with esps.mount_esp(host) as esp:
        # First: from here on the slot's old version can no longer be started, and nobody is to try.
        for version in esps.remove_other_images(esp, identity.name, identity.version):
            say(f"version {version} makes room")
        forget_pending(host)
        require_space(esp, uki.stat().st_size, "the EFI system partition")
        say(f"writing version {release.version} to partition {slot.partitions['root'].number} of {slot.disk}")
        run_transfers(host, SLOT, make_slot_transfers(host, release, identity, slot), release.version)
        check_written(host, slot.disk, release)
        remember(taking, release)
        try:
            kernel = make_kernel_transfer(host, release, identity, taking.settings.tries, esp)
            run_transfers(host, KERNEL, kernel, release.version)
            esps.sync(esp)
        except BaseException:
            if esps.find_image(esp, identity.name, release.version) is None:
                forget_pending(host)  # nobody is to reboot for it
            raise


def forget_pending(host: Host) -> None:
    """A version whose kernel image is not there waits for no start."""
    state = read_state(host)
    if state.pending is not None:
        write_state(host, state._replace(pending=None))


def remember(taking: Taking, release: Release) -> None:
    """Before the kernel image is there: whatever boots next knows what it is looking at."""
    now = int(taking.host.now())
    state = read_state(taking.host)
    failed = {version: failure for version, failure in state.failed.items() if version != release.version}
    pending = Pending(release.version, taking.identity.version, now)
    state = state._replace(pending=pending, failed=failed)
    write_state(taking.host, state.add_event(Event(now, "written", release.version, taking.identity.version)))
