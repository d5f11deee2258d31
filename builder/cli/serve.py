"""Serve a repository of versions, and the locks by which machines of a fleet reboot one after the other.

  build-os serve repository                                 on http://127.0.0.1:8000/
  build-os serve repository --address 0.0.0.0
  build-os serve --locks locks.json --group default=1       FleetLock: one machine of the group reboots at a time
  build-os serve --etcd https://etcd-1:2379 --etcd-ca ca.pem --group web=2 --group db=1
  build-os serve --locks locks.json --list-locks
  build-os serve --locks locks.json --free web/0a6b...      of a machine that does not come back

Any web server serves a repository as well. Until Ctrl-C, without TLS: put a proxy before it where others can listen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console
from firstboot.config.update_words import GROUP

if TYPE_CHECKING:
    from builder.publishing.reboot_locks import Book

HELP = "serve a repository of versions, and locks for reboots"
PORT = 8000


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="the repository")
    parser.add_argument("--address", default="127.0.0.1", metavar="ADDRESS", help="where it listens (127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, metavar="PORT", help=f"({PORT}); 0 for one that is free")
    locks = parser.add_argument_group("locks for reboots (FleetLock)")
    book = locks.add_mutually_exclusive_group()
    book.add_argument("--locks", type=Path, metavar="FILE", help="a file says who holds them")
    book.add_argument("--etcd", metavar="URL", help="etcd does; several servers may share it")
    locks.add_argument("--etcd-ca", type=Path, metavar="FILE", help="who signed the certificate of etcd")
    locks.add_argument("--etcd-certificate", type=Path, metavar="FILE", help="shown to etcd")
    locks.add_argument("--etcd-key", type=Path, metavar="FILE", help="its key")
    locks.add_argument(
        "--group", action="append", metavar="NAME=N", help=f"so many of a group reboot at once ({GROUP}=1)", default=[]
    )
    what = locks.add_mutually_exclusive_group()
    what.add_argument("--list-locks", action="store_true", help="show who holds them, and end")
    what.add_argument("--free", metavar="GROUP/ID", help="take one back from a machine, and end")


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve, until somebody ends it."""
    from builder.core.errors import CapabilityError, InputError
    from builder.publishing.reboot_locks import RebootLocks, parse_group
    from builder.publishing.server import FleetServer

    book = _open_book(args)
    if args.list_locks or args.free or args.group:
        if book is None:
            raise InputError("nothing says where it is written who holds locks", hint="give --locks or --etcd")
        if args.free:
            return _free(book, args.free)
        if args.list_locks:
            return _list(book)
    slots = dict(parse_group(text) for text in args.group or [f"{GROUP}=1"])
    locks = None if book is None else RebootLocks(book, slots)
    if args.directory is None and locks is None:
        raise InputError("there is nothing to serve", hint="name a repository, or give --locks or --etcd")
    if args.directory is not None and not (args.directory / "metadata").is_dir():
        raise InputError(f"{args.directory} is no repository", hint="'build-os publish' makes one")
    try:
        server = FleetServer((args.address, args.port), args.directory, locks, console.note)
    except (OSError, OverflowError) as error:
        raise CapabilityError(f"cannot listen at {args.address}, port {args.port}: {error}") from None
    with server:
        sys.stdout.write(f"http://{args.address}:{server.server_port}/\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


def _open_book(args: argparse.Namespace) -> Book | None:
    from builder.core.errors import InputError
    from builder.publishing.reboot_locks import EtcdBook, FileBook, check_directory
    from firstboot.config.update_words import is_server

    if args.locks is not None:
        check_directory(args.locks)
        return FileBook(args.locks)
    if args.etcd is None:
        return None
    if not is_server(args.etcd):
        raise InputError(f"--etcd: '{args.etcd}' is no URL that starts with http:// or https://")
    if (args.etcd_certificate is None) != (args.etcd_key is None):
        raise InputError("a certificate for etcd wants its key, and a key its certificate")
    for path in (args.etcd_ca, args.etcd_certificate, args.etcd_key):
        if path is not None and not path.is_file():
            raise InputError(f"there is no file {path}")
    certificate = None if args.etcd_key is None else (args.etcd_certificate, args.etcd_key)
    return EtcdBook(args.etcd, args.etcd_ca, certificate)


def _list(book: Book) -> int:
    from update.times import format_time

    for group, holders in sorted(book.read().items()):
        for machine, since in holders.items():
            sys.stdout.write(f"{group}/{machine} since {format_time(since)}\n")
    return 0


def _free(book: Book, which: str) -> int:
    from builder.core.errors import InputError
    from builder.publishing.reboot_locks import release_lock

    group, _, machine = which.partition("/")
    if not release_lock(book, group, machine):
        raise InputError(f"--free {which}: no such lock is held", hint="give GROUP/ID as --list-locks shows it")
    return 0
