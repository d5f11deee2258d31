"""URLs of resources, judged as Ignition judges them: Go's ``net/url`` and the ``dataurl`` package.

Needed only to say whether a URL is well formed; fetching is another matter.
"""

from __future__ import annotations

import binascii
import re
from functools import cache

_compiled = cache(re.compile)  # when first used: most configs need two of these

# RFC 3986 as net/url reads it: a scheme is cut off first, the rest depends on how it begins.
_SCHEME = r"([a-zA-Z][a-zA-Z0-9+.-]*):"
_CONTROL = r"[\x00-\x1f\x7f]"
_BAD_ESCAPE = r"%(?![0-9a-fA-F]{2})"
_HOST = r"\[[0-9a-fA-F:.]+(?:%25[^\]]*)?\]|[^\s\[\]<>\"\\^`{|}/?#]*"
_USERINFO = r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*"

_TOKEN = r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+"  # RFC 2045: printable ASCII but no separators
_VALUE = rf"(?:{_TOKEN}|\"(?:[^\"\\]|\\.)*\")"
_MEDIA = rf"(?:{_TOKEN}/{_TOKEN})?(?:;(?!base64,){_TOKEN}={_VALUE})*"
_DATA = r"[A-Za-z0-9\-_.!~*'();/?:@&=+$,%]*"  # RFC 2396: reserved, unreserved and escaped
_BASE64 = r"[A-Za-z0-9+/=\n]*"

SCHEMES = ("http", "https", "tftp", "s3", "arn", "gs", "data")
_SINCE = {"gs": (3, 2), "arn": (3, 4)}


class BadUrl(ValueError):
    """A URL that cannot be used; the text says why."""


def parse_scheme(url: str) -> str:
    """The scheme in lower case, ``""`` if there is none.

    Raises:
        BadUrl: Go could not parse it.
    """
    if not url.isprintable() and _compiled(_CONTROL).search(url):
        raise BadUrl("the URL contains a control character")
    match = _compiled(_SCHEME).match(url)
    if match is None:
        if url.startswith(":"):
            raise BadUrl("the URL has no scheme")
        if ":" in url.split("/", maxsplit=1)[0]:
            raise BadUrl("the URL begins with neither a scheme nor a '/'")
    scheme = match[1].lower() if match else ""
    rest, _, fragment = url[match.end() if match else 0 :].partition("#")
    hierarchical = rest.partition("?")[0]
    if scheme and not hierarchical.startswith("/"):
        return scheme  # opaque, as in data:,x
    if hierarchical.startswith("//"):
        authority, slash, path = hierarchical[2:].partition("/")
        hierarchical = slash + path
        userinfo, at, host = authority.rpartition("@")
        name, port = _split_port(host)
        if port and not (port.isascii() and port.isdigit()):
            raise BadUrl("the port in the URL, after the host's ':', is not a number")
        if not _compiled(_HOST).fullmatch(name) or (at and not _compiled(_USERINFO).fullmatch(userinfo)):
            raise BadUrl("the host in the URL is not valid")
        if _compiled(_BAD_ESCAPE).search(host) or _compiled(_BAD_ESCAPE).search(userinfo):
            raise BadUrl("a '%' in the host of the URL is not followed by two hex digits")
    if _compiled(_BAD_ESCAPE).search(hierarchical) or _compiled(_BAD_ESCAPE).search(fragment):
        raise BadUrl("a '%' in the URL is not followed by two hex digits")
    return scheme


def _split_port(host: str) -> tuple[str, str]:
    """What comes after the last colon is the port, unless it is inside the brackets of an IPv6 address."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and "]" not in port else (host, "")


def check_url(url: str, version: tuple[int, int]) -> None:
    """Whether a resource may have this URL in a spec version. ``""`` may always be.

    Raises:
        BadUrl
    """
    if not url:
        return
    scheme = parse_scheme(url)
    if scheme not in SCHEMES or _SINCE.get(scheme, (3, 0)) > version:
        known = [scheme for scheme in SCHEMES if _SINCE.get(scheme, (3, 0)) <= version]
        shown = f"'{scheme}'" if scheme else "without a scheme"
        raise BadUrl(f"a URL {shown} cannot be fetched; possible are {', '.join(known)}")
    match scheme:
        case "s3":
            _check_version_id(url)
        case "arn":
            _check_arn(url)
        case "data":
            decode_data_url(url)
        case _:
            pass


def _check_version_id(url: str) -> None:
    query = url.partition("#")[0].partition("?")[2]
    values = [pair.partition("=")[2] for pair in query.split("&") if pair.partition("=")[0] == "versionId"]
    if values and not values[0]:
        raise BadUrl("the versionId of this S3 object is empty")


def _check_arn(url: str) -> None:
    """``arn:PARTITION:s3:::BUCKET/KEY``, or an access point with region and account."""
    parts = url.partition("?")[0].split(":", 5)
    if len(parts) < 6 or parts[2] != "s3":
        raise BadUrl("this is not the ARN of an S3 object")
    region, resource = parts[3], parts[5]
    if not region and not parts[4]:
        # Ignition takes an empty KEY, which no object has: the machine says so when it is fetched.
        if not resource.partition("/")[0] or "/" not in resource:
            raise BadUrl("the ARN of an S3 object ends with BUCKET/KEY")
    elif not resource.startswith("accesspoint/") or resource.count("/") < 2:
        raise BadUrl("the ARN of an S3 access point ends with accesspoint/NAME/object/KEY")
    _check_version_id(url)


def decode_data_url(url: str) -> bytes:
    """The bytes of a data URL (RFC 2397), as strictly as Ignition: lower-case scheme, padded base64, no raw
    spaces or non-ASCII.

    Raises:
        BadUrl
    """
    if url.startswith("data:;base64,"):
        return _decode_base64(url, len("data:;base64,"))
    if not url.startswith("data:"):
        raise BadUrl("a data URL begins with 'data:', in lower case")
    media = _compiled(_MEDIA).match(url, len("data:"))
    assert media is not None
    position = media.end()
    is_base64 = url.startswith(";base64,", position)
    if is_base64:
        position += len(";base64")
    if not url.startswith(",", position):
        if "," not in url:
            raise BadUrl("the data URL has no comma before its data")
        raise BadUrl("the media type or a parameter before the comma of the data URL is not valid")
    position += 1
    if is_base64:
        return _decode_base64(url, position)
    if _compiled(_DATA).fullmatch(url, position) is None:
        wrong = next(char for char in url[position:] if not _compiled(_DATA).fullmatch(char))
        what = f"'{wrong}'" if wrong.isascii() and wrong.isprintable() and wrong != " " else "a space or a character"
        raise BadUrl(f"the data URL contains {what} that has to be escaped with '%', as in '%20'")
    return unescape(url[position:])


def _decode_base64(url: str, position: int) -> bytes:
    try:
        return binascii.a2b_base64(url[position:].replace("\n", ""), strict_mode=True)
    except ValueError:
        if _compiled(_BASE64).fullmatch(url, position) is None:
            raise BadUrl("the data URL contains a character that base64 has not") from None
        raise BadUrl("the base64 in the data URL is not complete: is its '=' padding missing?") from None


def unescape(text: str) -> bytes:
    """ASCII text with ``%XX`` turned into bytes.

    Raises:
        BadUrl: a ``%`` without two hex digits.
    """
    if _compiled(_BAD_ESCAPE).search(text):
        raise BadUrl("a '%' in the data URL is not followed by two hex digits")
    first, *rest = text.split("%")
    return first.encode("ascii") + b"".join(bytes.fromhex(part[:2]) + part[2:].encode("ascii") for part in rest)


def make_data_url(data: bytes) -> str:
    """A data URL that holds ``data``. Base64 whatever it is: fast both ways, and nobody reads it."""
    return "data:;base64," + binascii.b2a_base64(data, newline=False).decode("ascii")
