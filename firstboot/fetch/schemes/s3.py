"""Objects in Amazon S3: ``s3://BUCKET/KEY[?versionId=ID]``, ARNs of objects, and of access points."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, unquote

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.clock import Deadline
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.imds import Credentials, Imds
from firstboot.fetch.sigv4 import escape, sign_headers
from firstboot.fetch.targets import parse_url, split_url
from firstboot.fetch.unpack import Sink
from firstboot.fetch.web import Buffer, Request, Web, make_web

DEFAULT_REGION = "us-east-1"
_DOMAINS = {"aws-cn": "amazonaws.com.cn"}


class S3Object(NamedTuple):
    """An object; ``region`` is known only from an access point's ARN. ``host_prefix`` begins the host's name."""

    partition: str
    region: str
    bucket: str
    access_point: str
    key: str
    version: str

    def make_url(self, region: str) -> str:
        """Where it is, if its bucket is in ``region``."""
        domain = _DOMAINS.get(self.partition, "amazonaws.com")
        path = "/" + escape(self.key, safe="/")
        if self.access_point:
            host = f"{self.access_point}.s3-accesspoint.{region}.{domain}"
        elif "." in self.bucket:  # no certificate is for names with more dots
            host, path = f"s3.{region}.{domain}", f"/{self.bucket}{path}"
        else:
            host = f"{self.bucket}.s3.{region}.{domain}"
        return f"https://{host}{path}{'?versionId=' + escape(self.version) if self.version else ''}"


def parse_s3(url: str) -> S3Object:
    """What a URL or an ARN names.

    Raises:
        FetchError: no object.
    """
    if url.startswith("arn:"):
        return _parse_arn(url)
    parts = split_url(url)
    key = unquote(parts.path).removeprefix("/")
    if not parts.netloc or not key:
        raise FetchError(f"{url} names no S3 object", "an object is s3://BUCKET/KEY")
    return S3Object("aws", "", parts.netloc, "", key, _version(parts.query))


def _parse_arn(arn: str) -> S3Object:
    """``arn:PARTITION:s3:::BUCKET/KEY`` or ``arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME/object/KEY``."""
    text, _, query = arn.partition("?")
    fields = text.split(":", 5)
    if len(fields) == 6 and fields[2] == "s3":
        _, partition, _, region, account, resource = fields
        if not region and not account:
            bucket, _, key = resource.partition("/")
            if bucket and key:
                return S3Object(partition, "", bucket, "", key, _version(query))
        parts = resource.split("/", 3)
        if region and account and len(parts) == 4 and parts[0] == "accesspoint" and parts[2] == "object":
            return S3Object(partition, region, "", f"{parts[1]}-{account}", parts[3], _version(query))
    hint = "an object is arn:aws:s3:::BUCKET/KEY, or arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/object/KEY"
    raise FetchError(f"{arn} names no S3 object", hint)


def _version(query: str) -> str:
    return parse_qs(query).get("versionId", [""])[0]


def download(download: Download, sink: Sink) -> None:
    """Put an object into ``sink``: with the role of the instance if it is one and has one, else as anybody may.

    Raises:
        NotFound, FetchError
    """
    url, deadline, web = download.url, download.deadline, make_web(download)
    imds = Imds(web, deadline) if download.platform == "aws" else None
    wanted = parse_s3(url)
    credentials = None if imds is None else imds.find_credentials()
    hint = (None if imds is None else imds.find_region()) or DEFAULT_REGION
    region = wanted.region or _region_of(wanted, hint, web, deadline)
    target = wanted.make_url(region)
    try:
        web.ask(Request(target, _headers(target, region, credentials, time.time())), sink, deadline)
    except NotFound:
        raise NotFound(f"{url}: there is no such object in S3") from None


def _headers(url: str, region: str, credentials: Credentials | None, now: float) -> dict[str, str]:
    return {} if credentials is None else sign_headers(parse_url(url), region, credentials, now)


def _region_of(wanted: S3Object, hint: str, web: Web, deadline: Deadline) -> str:
    """The region of the bucket, which any region tells to anybody."""
    domain = _DOMAINS.get(wanted.partition, "amazonaws.com")
    request = Request(f"https://s3.{hint}.{domain}/{wanted.bucket}", method="HEAD", answers=(301, 307, 400, 403))
    try:
        headers = web.ask(request, Buffer(0), deadline)
    except NotFound:
        raise NotFound(f"there is no S3 bucket {wanted.bucket}") from None
    return headers.get("x-amz-bucket-region", hint)
