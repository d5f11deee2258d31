"""Versions from a repository: look, download, take, and reboot when nobody minds."""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import SETTINGS_FILE
from update.agent.busy import find_objection
from update.agent.choose import Asking, Choice, choose_version
from update.agent.esp import find_image, mount_esp
from update.agent.extensions import choose_extensions, install_extensions, list_installed, merge
from update.agent.fetcher import Limits
from update.agent.fleet_lock import claim_lock, release_lock
from update.agent.host import Host
from update.agent.old_parts import find_old_parts, forget_old_parts
from update.agent.registry import make_fetcher
from update.agent.repository import Repository, clear_downloads
from update.agent.rollback import find_other
from update.agent.state import read_state, write_state
from update.agent.take import Say, Taking, check_wanted, take
from update.agent.window import WINDOW, parse_window
from update.errors import UpdateError

AGAIN = "os-update-again.timer"
# A version that waits for its reboot is looked at every few minutes, and the repository once an hour all the same.
LOOK_SECONDS = 50 * 60


class Offer(NamedTuple):
    """What a repository has for this machine."""

    repository: Repository
    choice: Choice


def look(taking: Taking, limits: Limits | None = None, *, again: bool = False) -> Offer:
    """Ask the repository, and remember what it says.

    Args:
        again: also for a version that has failed here.

    Raises:
        UpdateError: there is none, it cannot be reached, or does not prove what it says.
    """
    host, settings, identity = taking.host, taking.settings, taking.identity
    repository = open_repository(taking, limits)
    channel = repository.read_channel(settings.channel)
    failed = () if again else taking.state.failed
    asking = Asking(identity.version, host.read_machine_id(), host.now(), failed, taking.find_pin())
    choice = choose_version(channel, asking)
    write_state(host, read_state(host)._replace(checked=int(host.now()), available=choice.version or ""))
    return Offer(repository, choice)


def open_repository(taking: Taking, limits: Limits | None = None) -> Repository:
    """The repository that this machine takes versions from.

    Raises:
        UpdateError: there is none, it cannot be reached, or does not prove what it says.
    """
    settings = taking.settings
    if not settings.url:
        raise UpdateError(
            f"nothing says where versions are published: the definition's updates.url does, or url in {SETTINGS_FILE}; "
            "'os-update apply --from PATH' takes one that lies here"
        )
    fetcher = make_fetcher(taking.host, settings.url.rstrip("/"), (limits or Limits())._replace(rate=settings.rate))
    return Repository(taking.host, settings.url, taking.identity, fetcher)


def list_extensions(taking: Taking) -> list[dict[str, object]]:
    """The extensions of the version that runs, as the repository has them, and whether this machine does.

    Raises:
        UpdateError
    """
    release, _ = open_repository(taking).open_release(taking.identity.version)
    there = {extension.name for extension in list_installed(taking.host, taking.identity.version)}
    return [
        {
            "name": row.name,
            "type": row.type,
            "description": row.description,
            "size": row.part.size,
            "installed": row.name in there,
        }
        for row in release.extensions
    ]


def add_extension(taking: Taking, name: str, say: Say) -> None:
    """Download an extension of the version that runs, and have it merged.

    Raises:
        UpdateError: the version has none of this name, or it is not what was signed.
    """
    version = taking.identity.version
    if (waiting := taking.state.find_waiting(version)) is not None:
        raise UpdateError(f"version {waiting} waits to be started, and would be without '{name}': add it after that")
    repository = open_repository(taking)
    release, directory = repository.open_release(version)
    extension = release.find_extension(name)
    if extension is None:
        known = ", ".join(row.name for row in release.extensions) or "none"
        raise UpdateError(f"version {version} has no extension '{name}'; it has: {known}")
    say(f"downloading the extension '{name}' of version {version}")
    repository.download_extensions(release, directory, [extension])
    keep = {there.version for there in list_installed(taking.host)} | {version}
    install_extensions(taking.host, release, [extension], directory, keep)
    clear_downloads(taking.host)
    merge(taking.host, {extension.type})
    say(f"{name} is merged")


def take_offer(taking: Taking, offer: Offer, say: Say, *, again: bool = False) -> bool:
    """Download and write what is offered.

    Args:
        again: also a version that has failed here.

    Returns:
        Whether something was.

    Raises:
        UpdateError
    """
    version, pending = offer.choice.version, taking.state.pending
    if version is None:
        say(offer.choice.reason)
        return False
    if pending is not None and pending.version == version:
        say(f"version {version} is written already, and is started at the next boot")
        return True
    if is_proven(taking, version):
        say(f"version {version} is there, and has proven itself; it is started at the next boot")
        return False
    say(f"downloading version {version}")
    release, directory = offer.repository.open_release(version)
    check_wanted(taking, release, again=again)
    extensions = choose_extensions(taking.host, taking.identity.version, release)
    old = find_old_parts(taking.host, taking.identity) if release.deltas else {}
    offer.repository.download(release, directory, old, say, extensions)
    take(taking, release, directory, say)
    clear_downloads(taking.host)
    forget_old_parts(taking.host)
    return True


def is_proven(taking: Taking, version: str) -> bool:
    """Whether a version is in the other slot and has run well: somebody has started this one for a while.

    Raises:
        UpdateError
    """
    host, identity = taking.host, taking.identity
    if find_other(host, identity) != version:
        return False
    with mount_esp(host) as esp:
        image = find_image(esp, identity.name, version)
    return image is not None and image.left is None


def run_by_itself(taking: Taking, say: Say) -> bool:
    """What the timer starts: take what is offered, and find out whether the machine reboots now.

    Returns:
        Whether nobody minds. What is shared with other machines is then held.

    Raises:
        UpdateError
    """
    host, settings, running = taking.host, taking.settings, taking.identity.version
    if taking.state.pending is None:
        _give_back(host, say)
    if not settings.enabled:
        say(f"this machine takes no versions by itself: {SETTINGS_FILE} says so")
        if is_waiting(host, running):
            _give_back(host, say)
        return False
    if not is_waiting(host, running) or not 0 <= host.now() - taking.state.checked < LOOK_SECONDS:
        try:
            take_offer(taking, look(taking), say)
        except UpdateError as error:
            if not is_waiting(host, running):
                raise
            # What is written is as good as it was.
            say(str(error))
    if not is_waiting(host, running):
        return False
    reason = find_reason_to_wait(taking)
    if reason:
        _give_back(host, say)
    elif settings.fleet_lock is not None:
        reason = claim_lock(host, settings.fleet_lock)
    if reason:
        say(f"the machine reboots later: {reason}")
        host.run(["systemctl", "restart", "--no-block", AGAIN])
        return False
    return True


def settle(taking: Taking, say: Say) -> None:
    """After a start: give back what is shared with other machines, once the version that runs is no longer on trial.

    Raises:
        UpdateError: it cannot be given back now.
    """
    if taking.state.pending is not None:
        say(f"version {taking.state.pending.version} has not proven itself yet, and the lock stays with this machine")
    elif reason := release_lock(taking.host):
        raise UpdateError(reason)
    else:
        say("other machines may reboot")


def _give_back(host: Host, say: Say) -> None:
    if reason := release_lock(host):
        say(reason)


def find_reason_to_wait(taking: Taking) -> str:
    """Why the machine does not reboot by itself now; empty where it may.

    Raises:
        UpdateError: the window makes no sense.
    """
    window = taking.settings.window
    if window is not None:
        try:
            is_open = parse_window(window).is_open(taking.host.now())
        except (ValueError, KeyError, TypeError) as error:
            raise UpdateError(f"the window for reboots cannot be read: {error}") from None
        if not is_open:
            return "it is not the time: the window for reboots is " + describe_window(window)
    return find_objection(taking.host)


def describe_window(window: object) -> str:
    """``sat, sun from 02:00 to 04:00, Europe/Berlin``."""
    assert isinstance(window, dict)
    said = {**WINDOW, **window}
    return f"{', '.join(said['days'])} from {said['begin']} to {said['end']}, {said['timezone']}"


def is_waiting(host: Host, running: str) -> bool:
    """Whether a version is written and only waits for a reboot.

    Raises:
        UpdateError
    """
    return read_state(host).find_waiting(running) is not None
