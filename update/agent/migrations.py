"""The form of what lies in ``/var``: which version wrote it last, and whether the one that runs has to change it.

A definition names the units that do (``updates.migrations``). They run before the apps, once for each change from one
version to another, and again until they have succeeded once.
"""

from __future__ import annotations

from contextlib import suppress

from update.agent.host import Host
from update.agent.identity import read_identity
from update.agent.settings import read_migrations
from update.agent.state import DIRECTORY, write_file
from update.errors import UpdateError
from update.versions import is_version

STATE_VERSION = f"{DIRECTORY}/state-version"
PENDING = "/run/update/migration"  # there while it is to be done; the units' environment
FIRST_BOOT = "/run/build-os/first-boot"


def begin_migration(host: Host) -> str:
    """Before the units of a definition: find out whether they have something to do.

    Returns:
        A line for the journal.

    Raises:
        UpdateError
    """
    version, before = read_identity(host).version, _read_state_version(host)
    pending = host.locate(PENDING)
    if before == "" and host.locate(FIRST_BOOT).exists():
        # What is there is this version's own.
        _write_state_version(host, version)
        before = version
    if before == version:
        pending.unlink(missing_ok=True)
        return f"the state is that of version {version}"
    write_file(pending, f"UPDATE_FROM={before}\nUPDATE_TO={version}\n".encode())
    return f"the state is that of {f'version {before}' if before else 'a version that is not known'}"


def end_migration(host: Host) -> str:
    """After them, if all have succeeded.

    Returns:
        A line for the journal.

    Raises:
        UpdateError
    """
    version = read_identity(host).version
    _write_state_version(host, version)
    with suppress(FileNotFoundError):
        host.locate(PENDING).unlink()
    return f"the state is that of version {version} now"


def note_state_version(host: Host) -> None:
    """A version without such units runs: whatever it writes is in its own form.

    Raises:
        UpdateError
    """
    version = read_identity(host).version
    if not read_migrations(host) and _read_state_version(host) != version:
        _write_state_version(host, version)


def _read_state_version(host: Host) -> str:
    try:
        text = host.locate(STATE_VERSION).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UpdateError(f"{STATE_VERSION} cannot be read: {error.strerror}") from None
    return text if is_version(text) else ""


def _write_state_version(host: Host, version: str) -> None:
    write_file(host.locate(STATE_VERSION), f"{version}\n".encode())
