"""Back to the version in the other slot: for good, or for one boot."""

from __future__ import annotations

from update.agent import esp as esps
from update.agent.disk import TYPES, find_disk, list_partitions
from update.agent.host import Host
from update.agent.identity import Identity, read_identity
from update.agent.state import Event, Failure, State, read_state, write_state
from update.errors import UpdateError

REASON = "rolled back by hand"


def find_other(host: Host, identity: Identity) -> str | None:
    """The version in the other slot, or ``None`` where that is empty or half written.

    Raises:
        UpdateError
    """
    labels: dict[str, set[str]] = {}
    for partition in list_partitions(host, find_disk(host)):
        if partition.name.startswith(f"{identity.name}_"):
            labels.setdefault(partition.name.removeprefix(f"{identity.name}_"), set()).add(partition.type)
    whole = [version for version, types in labels.items() if {TYPES["root"], TYPES["verity"]} <= types]
    return next((version for version in whole if version != identity.version), None)


def start_other(host: Host, *, once: bool = False) -> str:
    """Have the other version started at the next boot; or this one still, where a newer one waits to be started.

    Args:
        once: and this one again after that.

    Returns:
        The version that is started next.

    Raises:
        UpdateError: there is no other one that can be started.
    """
    identity, state = read_identity(host), read_state(host)
    other, waiting = find_other(host, identity), state.find_waiting(identity.version)
    with esps.mount_esp(host) as esp:
        images = {image.version: image for image in esps.list_images(esp, identity.name)}
        if waiting is not None:
            if once:
                raise UpdateError(f"version {waiting} waits for its first start: there is no version before it")
            _remember(host, state, waiting, identity.version)
            esps.remove_other_images(esp, identity.name, identity.version)
            return identity.version
        if other is None or other not in images:
            raise UpdateError(f"there is no other version to go back to: version {identity.version} is the only one")
        if images[other].is_bad:
            reason = state.failed[other].reason if other in state.failed else "its tries have run out"
            raise UpdateError(f"version {other} cannot be gone back to, for it has failed: {reason}")
        if once:
            host.run(["bootctl", f"--esp-path={esp}", "set-oneshot", images[other].path.name])
            return other
        running = images.get(identity.version)
        if running is None:
            raise UpdateError(f"the EFI system partition has no kernel image of version {identity.version}, which runs")
        _remember(host, state, identity.version, other)
        # No tries left: systemd-boot starts it only where there is nothing else.
        esps.rename_image(running, f"{identity.name}_{identity.version}+0-{max(running.done, 1)}.efi")
    return other


def _remember(host: Host, state: State, given_up: str, instead: str) -> None:
    """Before anything is changed: a version that is no longer started is not to be taken again."""
    now = int(host.now())
    state = state._replace(pending=None).add_failure(given_up, Failure(REASON, now))
    write_state(host, state.add_event(Event(now, "rolled back", given_up, instead, REASON)))
