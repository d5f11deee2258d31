"""``python3 -m firstboot metadata``: use what the platform says, at every boot, as afterburn does.

The platform's words are foreign: a value with a line break could be a second variable, a key with one a second key.
"""

from __future__ import annotations

import argparse
import re
import socket

from firstboot.apply.accounts import Names
from firstboot.apply.keys import PLATFORM_FRAGMENT, write_keys
from firstboot.apply.root import Root
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import import_platform
from firstboot.platforms.shared.metadata import Metadata
from firstboot.sources.detection import detect_platform

ATTRIBUTES = "/run/metadata/afterburn"
HOSTNAME = "/etc/hostname"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")


def run_command(arguments: list[str], places: Places | None = None, log: Log | None = None) -> int:
    """Run the command, whose name is the first of the arguments.

    Returns:
        0 done, also where the platform has no metadata; 1 failed.
    """
    parser = argparse.ArgumentParser(prog="firstboot metadata", description="use the platform's metadata")
    parser.add_argument("--platform", help="the platform, if not the one of the kernel command line or the firmware")
    parser.add_argument("--attributes", action="store_true", help=f"write {ATTRIBUTES}")
    parser.add_argument("--hostname", action="store_true", help=f"name the machine, unless {HOSTNAME} does")
    parser.add_argument("--ssh-keys", metavar="USER", help="give the keys to a user")
    parser.add_argument("--check-in", action="store_true", help="tell the platform that the machine is up")
    options = parser.parse_args(arguments[1:])
    places = Places() if places is None else places
    log = Log() if log is None else log
    name = options.platform or detect_platform(places)
    try:
        platform = import_platform(name)
        if platform.metadata is None:
            log.note(f"the platform {name} has no metadata; nothing to do")
            return 0
        if options.attributes or options.hostname or options.ssh_keys:
            with log.follow_operation(f"read metadata of {name}"):
                metadata = read_metadata(name, places, log)
            with Root(places.root) as root:
                _use_metadata(metadata, options, root, log)
        if options.check_in and platform.check_in is not None:
            with log.follow_operation(f"check in at {name}"):
                platform.load_modules(places)
                platform.check_in(places, log)
    except (FetchError, OSError) as error:
        log.complain(str(error))
        return 1
    return 0


def read_metadata(name: str, places: Places, log: Log) -> Metadata:
    """What a platform with metadata says about the machine; names of attributes begin with the platform's.

    Raises:
        FetchError: it does not answer, or not as it should.
    """
    platform = import_platform(name)
    assert platform.metadata is not None
    platform.load_modules(places)
    metadata = platform.metadata.read(places, log)
    return metadata._replace(attributes={f"{name.upper()}_{key}": text for key, text in metadata.attributes.items()})


def _use_metadata(metadata: Metadata, options: argparse.Namespace, root: Root, log: Log) -> None:
    if options.attributes:
        root.make_directory(ATTRIBUTES.rpartition("/")[0], 0o755)
        root.write(ATTRIBUTES, make_environment(metadata).encode("utf-8"), mode=0o644)
    if options.hostname:
        set_hostname(metadata.hostname, root, log)
    if options.ssh_keys:
        account = Names(root).users.get(options.ssh_keys)
        if account is None:
            raise FetchError(f"there is no user '{options.ssh_keys}' to give the platform's ssh keys to")
        write_keys(root, account, PLATFORM_FRAGMENT, _make_key_lines(metadata.ssh_keys))
        log.note(f"{len(metadata.ssh_keys)} ssh keys for {account.name}")


def make_environment(metadata: Metadata) -> str:
    """The attributes for ``EnvironmentFile=`` (systemd.exec(5)): sorted, quoted where need be, one line each."""
    lines = []
    for name, value in sorted(metadata.attributes.items()):
        plain = "".join(char for char in " ".join(value.split()) if char.isprintable()).strip()
        if not plain:
            continue
        if not re.fullmatch(r"[\w.:/@%+,=-]+", plain, re.ASCII):
            plain = '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`") + '"'
        lines.append(f"AFTERBURN_{name}={plain}\n")
    return "".join(lines)


def set_hostname(name: str, root: Root, log: Log) -> None:
    """Set the kernel's name for the machine, for this boot; one that its config gave it comes first.

    Raises:
        OSError
    """
    if root.see(HOSTNAME).is_file and root.read(HOSTNAME).strip():
        log.note(f"the machine's name is that of {HOSTNAME}")
        return
    if not name:
        return
    if not _NAME.fullmatch(name):
        log.warn(f"the platform's name for the machine, {name!r}, is no host name")
        return
    short = name.rstrip(".")
    socket.sethostname(short if len(short) <= 64 else short.partition(".")[0])


def _make_key_lines(keys: tuple[str, ...]) -> bytes:
    """One key a line; keys that are gone at the platform are gone in the file as well."""
    lines = (" ".join(key.split()) for key in keys)
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#")).encode("utf-8")
