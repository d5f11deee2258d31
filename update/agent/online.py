"""Versions from a repository: look, download, take, and reboot when nobody minds."""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple
from update.agent.busy import find_objection
from update.agent.choose import Asking, Choice, choose_version
from update.agent.fetcher import Fetcher, Limits
from update.agent.host import Host
from update.agent.old_parts import find_old_parts, forget_old_parts
from update.agent.repository import Repository, clear_downloads
from update.agent.state import read_state, write_state
from update.agent.take import Say, Taking, check_wanted, take
from update.agent.window import parse_window
from update.errors import UpdateError


class Offer(NamedTuple):
    """What a repository has for this machine."""

    repository: Repository
    choice: Choice


def look(taking: Taking, limits: Limits | None = None) -> Offer:
    """Ask the repository, and remember what it says.

    Raises:
        UpdateError: there is none, it cannot be reached, or does not prove what it says.
    """
    host, settings, identity = taking.host, taking.settings, taking.identity
    if not settings.url:
        raise UpdateError(
            "nothing says where versions are published: the definition's updates.url does, or url in "
            "/etc/os-update.json; 'os-update apply --from PATH' takes one that lies here"
        )
    fetcher = Fetcher((limits or Limits())._replace(rate=settings.rate))
    repository = Repository(host, settings.url, identity, fetcher)
    channel = repository.read_channel(settings.channel)
    state = taking.state
    asking = Asking(identity.version, host.read_machine_id(), host.now(), state.failed, state.pin)
    choice = choose_version(channel, asking)
    write_state(host, read_state(host)._replace(checked=int(host.now()), available=choice.version or ""))
    return Offer(repository, choice)


def take_offer(taking: Taking, offer: Offer, say: Say) -> bool:
    """Download and write what is offered.

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
    say(f"downloading version {version}")
    release, directory = offer.repository.open_release(version)
    check_wanted(taking, release)
    old = find_old_parts(taking.host, taking.identity) if release.deltas else {}
    offer.repository.download(release, directory, old, say)
    take(taking, release, directory, say)
    clear_downloads(taking.host)
    forget_old_parts(taking.host)
    return True


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
    return f"{', '.join(window['days'])} from {window['from']} to {window['to']}, {window['timezone']}"


def is_waiting(host: Host, running: str) -> bool:
    """Whether a version is written and only waits for a reboot.

    Raises:
        UpdateError
    """
    pending = read_state(host).pending
    return pending is not None and pending.version != running
