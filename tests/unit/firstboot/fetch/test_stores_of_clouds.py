"""Objects in S3, Google Cloud Storage and Azure, with and without the identity of an instance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from firstboot.config.models import Resource
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.imds import Credentials
from firstboot.fetch.sigv4 import sign_headers
from firstboot.fetch.targets import parse_url

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
IMDS = "http://169.254.169.254"


def test_a_request_is_signed_as_the_documentation_of_aws_shows() -> None:
    # "Example: GET Object" of "Authenticating Requests: Using the Authorization Header".
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")
    moment = 1369353600.0  # 2013-05-24T00:00:00Z
    target = parse_url("https://examplebucket.s3.amazonaws.com/test.txt")
    headers = sign_headers(target, "us-east-1", credentials, moment, {"Range": "bytes=0-9"})
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def serve_buckets(outside: Any, answer: Any, region: str = "eu-west-1") -> tuple[list[Any], list[Any]]:
    """The bucket ``mine`` in a region, and the end point that knows where it is."""

    def where(request: Any) -> Any:
        if request.path not in ("/mine", "/a.b"):
            return 404
        return answer(301, b"", {"x-amz-bucket-region": region})

    located = outside.serve("https://s3.us-east-1.amazonaws.com", where)
    asked = outside.serve(f"https://mine.s3.{region}.amazonaws.com", lambda _: b"object")
    return located, asked


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://mine/dir/key", "/dir/key"),
        ("s3://mine/key?versionId=a+b", "/key?versionId=a%20b"),
        ("s3://mine/a%20b", "/a%20b"),
        ("arn:aws:s3:::mine/dir/key", "/dir/key"),
        ("arn:aws:s3:::mine/key?versionId=v1", "/key?versionId=v1"),
    ],
)
def test_an_object_anybody_may_read_is_found_in_its_region(
    outside: Any, resource: Make, answer: Any, authority: str, url: str, path: str
) -> None:
    located, asked = serve_buckets(outside, answer)
    assert outside.fetcher(authorities=(authority,)).fetch(resource(url)) == b"object"
    assert [each.method for each in located] == ["HEAD"]
    assert [(each.path, each.header("Authorization")) for each in asked] == [(path, None)]


def test_a_bucket_with_dots_is_in_the_path(outside: Any, resource: Make, answer: Any, authority: str) -> None:
    serve_buckets(outside, answer)
    asked = outside.serve("https://s3.eu-west-1.amazonaws.com", lambda _: b"object")
    assert outside.fetcher(authorities=(authority,)).fetch(resource("s3://a.b/key")) == b"object"
    assert asked[0].path == "/a.b/key"


def test_an_access_point_names_its_region_itself(outside: Any, resource: Make, authority: str) -> None:
    asked = outside.serve("https://point-123.s3-accesspoint.eu-west-1.amazonaws.com", lambda _: b"object")
    arn = "arn:aws:s3:eu-west-1:123:accesspoint/point/object/dir/key"
    assert outside.fetcher(authorities=(authority,)).fetch(resource(arn)) == b"object"
    assert asked[0].path == "/dir/key"


@pytest.mark.parametrize(
    "url",
    [
        "s3://mine",
        "s3:///key",
        "arn:aws:s3:::mine",
        "arn:aws:sqs:::mine/key",
        "arn:aws:s3:r:1:accesspoint/p/key",
        "arn:aws:s3:r:1:accesspoint/p/objects/key",
    ],
)
def test_what_names_no_object_is_refused(outside: Any, resource: Make, url: str) -> None:
    with pytest.raises(FetchError, match="names no S3 object"):
        outside.fetcher().fetch(resource(url))


def test_a_missing_bucket_fails_at_once(outside: Any, resource: Make, answer: Any, authority: str) -> None:
    serve_buckets(outside, answer)
    with pytest.raises(NotFound, match="there is no S3 bucket other"):
        outside.fetcher(authorities=(authority,)).fetch(resource("s3://other/key"))


class Instance:
    """Amazon's metadata service of an instance, with a role if a test wants one."""

    def __init__(self, role: str | None) -> None:
        self.role = role

    def __call__(self, request: Any) -> bytes | int:
        if request.path == "/latest/api/token":
            return b"session" if request.method == "PUT" else 405
        if request.header("X-aws-ec2-metadata-token") != "session":
            return 401
        base = "/2019-10-01/meta-data/"
        if request.path == f"{base}placement/region":
            return b"us-east-1"
        if request.path == f"{base}iam/security-credentials/" and self.role:
            return self.role.encode()
        if request.path == f"{base}iam/security-credentials/{self.role}":
            return json.dumps({"AccessKeyId": "AK", "SecretAccessKey": "secret", "Token": "T"}).encode()
        return 404


def test_an_instance_with_a_role_signs(outside: Any, resource: Make, answer: Any, authority: str) -> None:
    _, asked = serve_buckets(outside, answer)
    outside.serve(IMDS, Instance("reader"))
    assert outside.fetcher("aws", authorities=(authority,)).fetch(resource("s3://mine/key")) == b"object"
    assert "Credential=AK/" in asked[0].header("Authorization")
    assert "/eu-west-1/s3/aws4_request" in asked[0].header("Authorization")
    assert asked[0].header("x-amz-security-token") == "T"


def test_an_instance_without_a_role_asks_as_anybody(outside: Any, resource: Make, answer: Any, authority: str) -> None:
    _, asked = serve_buckets(outside, answer)
    outside.serve(IMDS, Instance(None))
    assert outside.fetcher("aws", authorities=(authority,)).fetch(resource("s3://mine/key")) == b"object"
    assert asked[0].header("Authorization") is None


def test_a_google_object_anybody_may_read(outside: Any, resource: Make, authority: str) -> None:
    asked = outside.serve("https://storage.googleapis.com", lambda _: b"object")
    assert outside.fetcher(authorities=(authority,)).fetch(resource("gs://bucket/dir/a b")) == b"object"
    assert asked[0].path == "/storage/v1/b/bucket/o/dir%2Fa%20b?alt=media"
    assert asked[0].header("Authorization") is None


@pytest.mark.parametrize("has_account", [True, False])
def test_a_google_instance_uses_its_service_account(
    outside: Any, resource: Make, authority: str, has_account: bool
) -> None:
    def metadata(request: Any) -> bytes | int:
        wanted = "/computeMetadata/v1/instance/service-accounts/default/token"
        if request.header("Metadata-Flavor") != "Google":
            return 403
        return b'{"access_token": "T"}' if request.path == wanted and has_account else 404

    outside.serve(IMDS, metadata)
    asked = outside.serve("https://storage.googleapis.com", lambda _: b"object")
    assert outside.fetcher("gcp", authorities=(authority,)).fetch(resource("gs://bucket/key")) == b"object"
    assert asked[0].header("Authorization") == ("Bearer T" if has_account else None)


@pytest.mark.parametrize(("platform", "identity"), [("azure", True), ("azure", False), ("metal", True)])
def test_an_azure_machine_shows_its_identity_to_blobs_only(
    outside: Any, resource: Make, authority: str, platform: str, identity: bool
) -> None:
    def metadata(request: Any) -> bytes | int:
        if request.header("Metadata") != "true":
            return 400
        return b'{"access_token": "T"}' if "/metadata/identity/oauth2/token" in request.path and identity else 404

    outside.serve(IMDS, metadata)
    blobs = outside.serve("https://mine.blob.core.windows.net", lambda _: b"blob")
    others = outside.serve("https://server.example.org", lambda _: b"other")
    fetcher = outside.fetcher(platform, authorities=(authority,))
    assert fetcher.fetch(resource("https://mine.blob.core.windows.net/c/b")) == b"blob"
    assert fetcher.fetch(resource("https://server.example.org/")) == b"other"
    shown = platform == "azure" and identity
    assert blobs[0].header("Authorization") == ("Bearer T" if shown else None)
    assert others[0].header("Authorization") is None
