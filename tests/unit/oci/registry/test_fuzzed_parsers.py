"""Whatever the bytes: parsers of what registries and users say raise their own errors, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.core.errors import BuildError
from builder.core.http import TransferError
from builder.oci.registry.credentials import normalise_key, parse_auth_file, parse_helper_answer
from builder.oci.registry.listing import find_next
from builder.oci.registry.manifest import make_manifest
from builder.oci.registry.places import parse_place
from builder.oci.registry.push import read_range_end
from builder.oci.registry.reference import parse_reference
from builder.oci.registry.rules import parse_rules
from firstboot.config.oci.challenge import (
    BadChallenge,
    check_realm,
    choose_challenge,
    list_token_fields,
    parse_challenges,
)
from firstboot.config.oci.manifests import BadManifest, Platform, find_for_platform
from firstboot.config.oci.reference import BadReference, parse_repository
from tests.support.fuzz import examples, mutated, of_words
from tests.support.registry import ImageParts, make_index

pytestmark = pytest.mark.unit

many = examples(150)
quick = examples(60)
IMAGE = ImageParts.make(b"a", b"b", annotations={"a": "b"})
WORDS = (*"aB./:@-_é\n", "__", "localhost", "[::1]", "sha256:", "0" * 64, "docker.io", "5000")
HEADER = (*', ="\\\t', "Bearer", "Basic", "realm", "https://a/b", "service", "scope", "abc==")
TOML = ("[[registry]]\n", "prefix", "location", "=", '"', "a.b", "*.", "\n", "mirror", "true")


@many
@given(of_words(*WORDS, size=12))
@example("a:b:c@d@e")
@example("[::1:5000/a")
@example("]/a[:1")
def test_references(text: str) -> None:
    try:
        reference = parse_repository(text)
    except BadReference as error:
        assert str(error).isprintable()  # noqa: PT017
        with pytest.raises(BuildError):
            parse_reference(text)
        return
    assert parse_repository(str(reference)) == reference
    assert "\n" not in str(reference)
    assert not reference.repository.startswith(("/", "."))
    assert ".." not in reference.repository


@quick
@given(of_words("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "./", *WORDS, size=8))
def test_places(text: str) -> None:
    with contextlib.suppress(BuildError):
        parse_place(text)


@many
@given(
    of_words(
        "Bearer", "Basic", " ", ",", "=", '"', "\\", "realm", "https://a/b", "service", "scope", "\t", "abc==", size=30
    )
)
@example('Bearer realm="https://a/\\"b",service=x , Basic realm="y"')
@example("Basic")
@example("Negotiate abc==, Basic realm=x")
def test_challenges(header: str) -> None:
    try:
        challenges = parse_challenges(header)
        challenge = choose_challenge(challenges)
        realm = check_realm(challenge.parameters.get("realm", ""), secure=True)
    except BadChallenge:
        return
    assert realm.lower().startswith("https://")
    list_token_fields(challenge, ["repository:a:pull"])


@quick
@given(st.lists(st.sampled_from([*"Bearer realm=,\"'\\ \t", "x" * 5000]), max_size=2000).map("".join))
def test_long_challenges_take_no_longer(header: str) -> None:
    with contextlib.suppress(BadChallenge):
        parse_challenges(header)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda of: (
        st.lists(of, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("manifests", "layers", "config", "digest", "size", "mediaType", "platform", "schemaVersion"),
                    *("auths", "credHelpers", "credsStore", "auth", "username", "identitytoken", "Username", "Secret"),
                    *("annotations", "artifactType", "os", "architecture", "subject", "https://a/v1/", "a.b"),
                ]
            ),
            of,
            max_size=6,
        )
    ),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode())


@many
@given(JSON | st.binary(max_size=60) | mutated(IMAGE.manifest) | mutated(make_index((IMAGE, "linux/amd64"))))
def test_manifests_and_indexes(data: bytes) -> None:
    try:
        manifest = make_manifest(data)
        entries: Any = manifest.list_manifests() if manifest.is_index else manifest.list_blobs()
    except BadManifest as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    find_for_platform(entries, Platform("linux", "amd64"))
    for entry in entries:
        assert entry.size >= 0
        assert "/" not in entry.digest
    with pytest.raises(TransferError):
        make_manifest(data, digest="sha256:" + "0" * 64)


AUTH = json.dumps(
    {
        "auths": {"a.b/c": {"auth": "bWU6c2VjcmV0"}, "https://index.docker.io/v1/": {"identitytoken": "t"}},
        "credHelpers": {"d.e": "pass"},
        "credsStore": "x",
    }
).encode()


@many
@given(JSON | st.binary(max_size=60) | mutated(AUTH))
def test_auth_files(data: bytes) -> None:
    reference = parse_reference("a.b/c/d")
    try:
        file = parse_auth_file(data, "auth.json")
    except BuildError as error:
        assert "secret" not in str(error)  # noqa: PT017
        return
    file.find(reference)
    file.find_helper(reference)


@quick
@given(JSON | st.binary(max_size=60))
def test_answers_of_helpers(data: bytes) -> None:
    with contextlib.suppress(BuildError):
        parse_helper_answer(data, "docker-credential-x")


@quick
@given(of_words("https://", "http://", "/v1/", "/", "a.b", "index.docker.io", size=8))
def test_keys_of_auth_files(key: str) -> None:
    normalise_key(key)


RULES = b"""
unqualified-search-registries = ["a.b"]
credential-helpers = ["containers-auth.json"]
[[registry]]
prefix = "a.b/c"
location = "d.e:5000/f"
insecure = true
blocked = false
mirror-by-digest-only = true
[[registry.mirror]]
location = "g.h"
pull-from-mirror = "all"
[[registry]]
prefix = "*.example.com"
"""


@many
@given(mutated(RULES) | of_words(*TOML).map(str.encode))
def test_rules_of_registries(data: bytes) -> None:
    try:
        rules = parse_rules([("registries.conf", data.decode("utf-8", "replace"))])
    except BuildError as error:
        assert "registries.conf" in str(error)  # noqa: PT017
        return
    for name in ("a.b/c/d:1", "x.example.com/y", "a.b/cd"):
        with contextlib.suppress(BuildError):
            rules.list_places(parse_reference(name))


@quick
@given(of_words("<", ">", ";", "rel", "=", '"', "next", " ", ",", "/v2/x", size=30))
def test_links_to_the_next_page(header: str) -> None:
    find_next(header)


@quick
@given(of_words("0", "-", "bytes=", "9" * 30, " ", size=6))
def test_ranges_of_uploads(header: str) -> None:
    assert read_range_end(header) >= 0
