"""Metadata services: a config, and metadata with a URL for each value or as one document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import NotFound
from firstboot.fetch.settings import PROVIDER_SECONDS, Settings
from firstboot.fetch.web import Connect, Request, Web
from firstboot.log import Log
from firstboot.network import bring_up
from firstboot.places import Places
from firstboot.platforms import Fetched
from firstboot.platforms.shared.encodings import decode_base64
from firstboot.platforms.shared.metadata import (
    Metadata,
    MetadataProvider,
    find_attributes,
    find_text,
    parse_json,
    split_lines,
)

LINK_LOCAL = "http://169.254.169.254"


class Service:
    """A metadata service. All that is asked of it takes at most :data:`PROVIDER_SECONDS`.

    Args:
        network: whether it is reached through the network, which then is brought up.
    """

    def __init__(self, places: Places, log: Log, *, network: bool = True) -> None:
        if network:
            bring_up(places, log)
        self.deadline = Deadline(places.connector.clock, PROVIDER_SECONDS)
        self.web = Web(places.connector, Settings(), log.wait)

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, retried: tuple[int, ...] = ()) -> bytes:
        """What is at a URL.

        Args:
            retried: statuses that mean "not yet" here.

        Raises:
            NotFound, FetchError
        """
        return self.send(Request(url, headers or {}, retried=retried))

    def send(self, request: Request) -> bytes:
        """The answer to a request.

        Raises:
            NotFound, FetchError
        """
        return self.web.read(request, MAX_BYTES, self.deadline)


LogIn = Callable[[Service], Mapping[str, str]]
"""Gets a token and returns the headers that every request needs then. Raises FetchError."""


class UserData(NamedTuple):
    """A config at a URL of a metadata service.

    Attributes:
        headers: of the request.
        log_in: gets more headers from the service.
        retried: statuses that mean "not yet" here.
        is_required: whether 404 does not mean that there is none, but that something is wrong.
        in_base64: whether it is given encoded.
        connect: opens the connection, where that is not one to the URL's host.
        network: whether the service is reached through the network.
    """

    url: str
    headers: Mapping[str, str] = {}
    log_in: LogIn | None = None
    retried: tuple[int, ...] = ()
    is_required: bool = False
    in_base64: bool = False
    connect: Callable[[Places], Connect] | None = None
    network: bool = True

    def fetch(self, places: Places, log: Log) -> Fetched | None:
        """The config; ``None`` if there is none.

        Raises:
            FetchError
        """
        service = Service(places, log, network=self.network)
        headers = dict(self.headers) | ({} if self.log_in is None else dict(self.log_in(service)))
        connect = None if self.connect is None else self.connect(places)
        try:
            data = service.send(Request(self.url, headers, retried=self.retried, connect=connect))
        except NotFound:
            if self.is_required:
                raise
            return None
        return decode_base64(Fetched(self.url, data)) if self.in_base64 else Fetched(self.url, data)


class Values:
    """A service with a URL for each value."""

    def __init__(self, service: Service, base: str, headers: Mapping[str, str] | None = None) -> None:
        self._service = service
        self._base = base
        self._headers = headers

    def get(self, path: str) -> str:
        """A value; empty where there is none.

        Raises:
            FetchError
        """
        try:
            return self._service.get(f"{self._base}/{path}", self._headers).decode("utf-8", "replace").strip()
        except NotFound:
            return ""

    def get_lines(self, path: str) -> list[str]:
        """The lines of a value that have something in them."""
        return split_lines(self.get(path))

    def get_attributes(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Attributes by the paths of their values."""
        return {name: self.get(path) for name, path in paths.items()}


def read_indexed_keys(values: Values) -> Iterable[str]:
    """SSH keys that are listed as ``0=name`` or ``0/``, each at ``public-keys/0/openssh-key``, as EC2 has them."""
    numbers = [line.partition("=")[0].rstrip("/") for line in values.get_lines("public-keys/")]
    keys = [values.get(f"public-keys/{number}/openssh-key") for number in numbers]
    return dict.fromkeys(key for key in keys if key)


def describe_values(
    base: str,
    paths: Mapping[str, str],
    *,
    ssh_keys: str | Callable[[Values], Iterable[str]],
    hostname: str = "HOSTNAME",
    headers: Mapping[str, str] | None = None,
    log_in: LogIn | None = None,
    read_more: Callable[[Values], Mapping[str, str]] | None = None,
    more: tuple[str, ...] = (),
) -> MetadataProvider:
    """Metadata of a service with a URL for each value.

    Args:
        base: the URL above all of them.
        paths: attributes and their paths below it.
        ssh_keys: the path at which there is a key on each line, or what reads them.
        hostname: the attribute that is the machine's name.
        headers: of the requests.
        log_in: gets more headers from the service.
        read_more: reads attributes of another form, whose names are ``more``.
    """

    def read(places: Places, log: Log) -> Metadata:
        service = Service(places, log)
        values = Values(service, base, headers if log_in is None else {**(headers or {}), **log_in(service)})
        attributes = values.get_attributes(paths) | dict({} if read_more is None else read_more(values))
        keys = values.get_lines(ssh_keys) if isinstance(ssh_keys, str) else ssh_keys(values)
        return Metadata(attributes, attributes[hostname], tuple(keys))

    return MetadataProvider(read, (*paths, *more))


def describe_document(
    url: str,
    what: str,
    paths: Mapping[str, str],
    *,
    ssh_keys: Callable[[Any], Iterable[str]],
    hostname: str = "hostname",
    headers: Mapping[str, str] | None = None,
    retried: tuple[int, ...] = (),
    find_more: Callable[[Any], Mapping[str, str]] | None = None,
    more: tuple[str, ...] = (),
) -> MetadataProvider:
    """Metadata of a service that has all of it as one JSON object.

    Args:
        what: what the document is, for messages.
        paths: attributes and their paths in it.
        ssh_keys: finds the keys in it.
        hostname: the path of the machine's name.
        headers: of the request.
        retried: statuses that mean "not yet" here.
        find_more: finds attributes of another form, whose names are ``more``.
    """

    def read(places: Places, log: Log) -> Metadata:
        document = parse_json(Service(places, log).get(url, headers, retried=retried), what)
        attributes = find_attributes(document, paths) | dict({} if find_more is None else find_more(document))
        return Metadata(attributes, find_text(document, hostname), tuple(ssh_keys(document)))

    return MetadataProvider(read, (*paths, *more))
