"""What a repository has: its tags, and what refers to an image (distribution-spec, "Content Discovery")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from builder.core.http import TransferError
from builder.oci.registry.client import Client, Source
from builder.oci.registry.connection import RegistryError, is_same_origin
from firstboot.config.oci.manifests import (
    INDEXES,
    MAX_MANIFEST,
    BadManifest,
    Descriptor,
    list_descriptors,
    parse_document,
)

MAX_PAGES = 1000
MAX_TAGS = 1_000_000
MAX_LIST = 32 << 20  # bytes of one page of tags


def list_tags(client: Client, page: int = 0) -> list[str]:
    """All tags of the repository, page by page.

    Args:
        page: how many to ask for at a time; 0 leaves that to the registry.

    Raises:
        MissingImageError: there is no such repository.
        SourceError: the registry does not answer, or not with tags.
    """

    def attempt(source: Source) -> list[str]:
        tags: list[str] = []
        for document in _walk_pages(client, source, source.locate("tags", "list") + (f"?n={page}" if page else ""), {}):
            names = document.get("tags") or []
            if not isinstance(names, list) or not all(isinstance(tag, str) for tag in names):
                raise TransferError("the answer is no list of tags")
            tags += names
            if len(tags) > MAX_TAGS:
                raise TransferError(f"there are more than {MAX_TAGS} tags")
        return sorted({tag for tag in tags if tag.isprintable()})  # not every registry keeps an order

    return client.try_each(f"the tags of {client.reference.name}", attempt, by_tag=True)


def list_referrers(client: Client, digest: str, artifact_type: str | None = None) -> list[Descriptor]:
    """The manifests whose subject is this one: by the referrers API, else by the tag that stands in for it.

    Raises:
        SourceError: the registry does not answer, or not with an index.
    """

    def attempt(source: Source) -> list[Descriptor]:
        path = source.locate("referrers", digest)
        if artifact_type:
            path += f"?artifactType={quote(artifact_type, safe='')}"
        entries: list[Descriptor] = []
        try:
            for document in _walk_pages(client, source, path, {"Accept": INDEXES[0]}):
                entries += list_descriptors(document, "manifests")
        except BadManifest as error:
            raise TransferError(f"the list of referrers {error}") from None
        except RegistryError as error:
            if error.status not in (400, 404, 405):
                raise
            entries = _list_referrers_by_tag(client, source, digest)
        if artifact_type:
            entries = [entry for entry in entries if entry.artifact_type == artifact_type]
        return list({entry.digest: entry for entry in entries}.values())

    return client.try_each(f"the referrers of {client.reference.pin(digest)}", attempt, by_tag=False)


def make_referrers_tag(digest: str) -> str:
    """The tag under which a registry without the referrers API has them ("Referrers Tag Schema")."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def _list_referrers_by_tag(client: Client, source: Source, digest: str) -> list[Descriptor]:
    path = source.locate("manifests", make_referrers_tag(digest))
    with source.ask("GET", path, headers={"Accept": INDEXES[0]}, accept=(200, 404)) as response:
        if response.status_code == 404:
            return []
        try:
            document = parse_document(client.read_body(response, MAX_MANIFEST))
            return list_descriptors(document, "manifests")
        except BadManifest as error:
            raise TransferError(f"the list of referrers {error}") from None


def _walk_pages(client: Client, source: Source, path: str, headers: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The documents of a list that comes in pages (RFC 5988, ``Link: <...>; rel="next"``)."""
    seen = set()
    for _ in range(MAX_PAGES):
        seen.add(path)
        with source.ask("GET", path, headers=headers) as response:
            data = client.read_body(response, MAX_LIST)
            following = find_next(response.headers.get("Link", ""))
        try:
            yield parse_document(data)
        except BadManifest as error:
            raise TransferError(f"the answer {error}") from None
        if following is None:
            return
        target = urljoin(urljoin(source.connection.base, path), following)
        if not is_same_origin(target, source.connection.base):
            raise TransferError("the next page is at another host")
        parts = urlsplit(target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if path in seen:
            raise TransferError("the pages go round in a circle")
    raise TransferError(f"there are more than {MAX_PAGES} pages")


def find_next(header: str) -> str | None:
    """The target of ``rel=next`` in a header ``Link``."""
    for part in re.findall(r"<([^<>]{1,4096})>([^<]{0,4096})", header[:16384]):
        if re.search(r';\s*rel\s*=\s*"?next"?\s*(?:;|,|$)', part[1], re.IGNORECASE):
            return str(part[0])
    return None
