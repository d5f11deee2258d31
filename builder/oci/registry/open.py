"""A client for an image's name: credentials, mirrors and rules of plain HTTP found where podman keeps them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.http import Patience
from builder.oci.registry.certificates import find_directory
from builder.oci.registry.client import Client, Source
from builder.oci.registry.connection import Connection, Server
from builder.oci.registry.credentials import find_credentials
from builder.oci.registry.reference import Reference, parse_reference
from builder.oci.registry.rules import PullSource, Rules, load_rules


@dataclass(frozen=True)
class RegistryOptions:
    """What a command line may say about registries.

    Attributes:
        authfile: the only file to look for credentials in.
        tls_verify: whether certificates must be right and TLS there; ``None``: as registries.conf says.
        cert_dir: authorities and client certificates, in place of certs.d.
        environment: where ``HOME`` and the like are.
        rules: in place of what registries.conf says.
    """

    authfile: Path | None = None
    tls_verify: bool | None = None
    cert_dir: Path | None = None
    patience: Patience = field(default_factory=Patience)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    rules: Rules | None = None


def open_client(
    reference: Reference | str,
    options: RegistryOptions | None = None,
    *,
    mirrors: bool = True,
    stop: threading.Event | None = None,
) -> Client:
    """A client for the repository of an image; nothing is asked yet.

    Args:
        mirrors: whether mirrors may answer: not where something is written.
        stop: what abandons all that is under way, if it is shared with another client.

    Raises:
        InputError: the name is none, the registry is blocked, or registries.conf is wrong.
    """
    name = parse_reference(reference) if isinstance(reference, str) else reference
    chosen = options or RegistryOptions()
    rules = chosen.rules if chosen.rules is not None else load_rules(chosen.environment)
    stop = stop or threading.Event()
    sources = [_make_source(place, chosen, rules, stop) for place in rules.list_places(name, mirrors=mirrors)]
    return Client(name, sources, chosen.patience, stop)


def _make_source(place: PullSource, options: RegistryOptions, rules: Rules, stop: threading.Event) -> Source:
    there = place.reference
    insecure = place.insecure if options.tls_verify is None or place.is_mirror else not options.tls_verify
    server = Server(
        there.registry,
        insecure,
        lambda: find_credentials(there, options.environment, authfile=options.authfile, helpers=rules.helpers),
        lambda: options.cert_dir or find_directory(there.registry, options.environment),
        strict=options.tls_verify is True,
    )
    return Source(Connection(server, options.patience, stop), there)
