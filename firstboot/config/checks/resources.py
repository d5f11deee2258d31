"""What is fetched, from where and how: resources, certificate authorities, proxies."""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.config.artifact import check_artifact, is_artifact
from firstboot.config.models import Ignition, Reference, Resource
from firstboot.config.text import Path, Problem
from firstboot.config.urls import BadUrl, check_url, parse_scheme

Version = tuple[int, int]

HASH_DIGITS = {"sha512": 128, "sha256": 64}


def check_ignition(ignition: Ignition, version: Version) -> Iterator[Problem]:
    path: Path = ("ignition",)
    for index, reference in enumerate(ignition.config.merge):
        here = (*path, "config", "merge", index)
        yield from _reference(reference, here, version, required=version > (3, 0))
    yield from _reference(ignition.config.replace, (*path, "config", "replace"), version, required=False)
    for index, reference in enumerate(ignition.security.tls.certificate_authorities):
        here = (*path, "security", "tls", "certificateAuthorities", index)
        if version == (3, 0) and not reference.source:
            yield Problem((*here, "source"), "a certificate authority needs a source")
        yield from _reference(reference, here, version, required=version > (3, 0))
    proxies = (("httpProxy", ignition.proxy.http_proxy), ("httpsProxy", ignition.proxy.https_proxy))
    for name, url in proxies:
        if url is not None:
            yield from _proxy(url, (*path, "proxy", name))


def _reference(reference: Reference, path: Path, version: Version, *, required: bool) -> Iterator[Problem]:
    if required and not reference.source:
        yield Problem(path, "a source is required")
    yield from check_resource(reference, path, version)


def _proxy(url: str, path: Path) -> Iterator[Problem]:
    try:
        scheme = parse_scheme(url)
    except BadUrl as error:
        yield Problem(path, str(error))
        return
    if scheme not in ("http", "https"):
        yield Problem(path, "a proxy's URL begins with http:// or https://")
    elif path[-1] == "httpsProxy" and scheme == "http":
        message = "requests over HTTPS go through an insecure HTTP proxy"
        yield Problem(path, message, severity="warning")


def check_resource(resource: Resource, path: Path, version: Version) -> Iterator[Problem]:
    if resource.compression not in (None, "", "gzip"):
        message = f"the compression '{resource.compression}' is not supported"
        yield Problem((*path, "compression"), message, "it may be gzip, or empty")
    yield from _hash(resource, (*path, "verification", "hash"), version)
    if is_artifact(resource.source):
        yield from check_artifact(resource, path)
        return
    if resource.source is not None:
        try:
            check_url(resource.source, version)
        except BadUrl as error:
            yield Problem((*path, "source"), str(error))
    yield from _headers(resource, (*path, "httpHeaders"))


def _hash(resource: Resource, path: Path, version: Version) -> Iterator[Problem]:
    text = resource.verification.hash
    if text is None:
        return
    if resource.source is None:
        yield Problem(path, "there is a hash but no source")
    function, dash, digest = text.partition("-")
    if not dash:
        yield Problem(path, "a hash is written sha256-HEX or sha512-HEX")
    elif function not in HASH_DIGITS or (function == "sha256" and version == (3, 0)):
        yield Problem(path, f"the hash function '{function}' is not supported", "use sha256 or sha512")
    elif len(digest) != HASH_DIGITS[function]:
        wanted = HASH_DIGITS[function]
        yield Problem(path, f"a {function} hash has {wanted} hex digits, this one {len(digest)}")


def _headers(resource: Resource, path: Path) -> Iterator[Problem]:
    if not resource.http_headers:
        return
    try:
        scheme = parse_scheme(resource.source or "")
    except BadUrl:
        scheme = ""
    if scheme not in ("http", "https"):
        yield Problem(path, "HTTP headers need an http:// or https:// source")
    for index, header in enumerate(resource.http_headers):
        if not header.name:
            yield Problem((*path, index, "name"), "a header needs a name")
        if header.value == "":
            message = "a header needs a value"
            yield Problem((*path, index, "value"), message, "leave 'value' out to remove a parent's header")
