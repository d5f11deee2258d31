"""Extensions are published with the version that they were built for, and with no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.cli.publish import refuse_development_key
from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.image import Artifact, Extends, Image, read_image
from builder.outputs.signing import make_key_pair
from builder.publishing.channels import Offer
from builder.publishing.extensions import ExtensionOrigin, read_extension
from builder.publishing.publish import (
    Origin,
    change_repository,
    find_release,
    prune_releases,
    publish_build,
)
from builder.publishing.repository import open_repository
from tests.unit.publishing.conftest import NOW
from update.documents import make_catalogue_path, make_release_path

pytestmark = pytest.mark.unit

Build = Callable[..., Origin]


@pytest.fixture
def store(tmp_path: Path) -> Callable[[bytes], ExtensionOrigin]:
    def make(data: bytes) -> ExtensionOrigin:
        image = tmp_path / f"store-{len(list(tmp_path.iterdir()))}.raw"
        image.write_bytes(data)
        return ExtensionOrigin("store", "sysext", "Keys and values.", image)

    return make


def publish(directory: Path, keys: Path, origin: Origin, *, keep: int | None = None, for_release: bool = False) -> None:
    with change_repository(directory, keys, QuietConsole(), NOW) as repository:
        publish_build(repository, origin, "stable", Offer(), 0, QuietConsole(), NOW, for_release=for_release)
        if keep is not None:
            prune_releases(repository, origin.name, origin.arch, keep)


def read_catalogue(directory: Path) -> Any:
    return json.loads(open_repository(directory, None).read(make_catalogue_path("web", "amd64")))


def test_machines_find_it_beside_the_version(tmp_path: Path, keys: Path, build: Build, store: Any) -> None:
    directory = tmp_path / "repository"
    publish(directory, keys, replace(build("1"), extensions=(store(b"store of 1"),)))
    publish(directory, keys, replace(build("2"), extensions=(store(b"the store of 2"),)))
    repository = open_repository(directory, None)
    release = find_release(repository, "web", "amd64", "2")
    assert release is not None
    extension = release.find_extension("store")
    assert extension is not None
    assert repository.read(make_release_path("web", "amd64", "2", extension.part.files[0].name)) == b"the store of 2"
    (entry,) = read_catalogue(directory)["extensions"]
    assert [(row["version"], row["size"]) for row in entry["versions"]] == [("1", 10), ("2", 14)]


def test_the_catalogue_forgets_what_is_pruned(tmp_path: Path, keys: Path, build: Build, store: Any) -> None:
    directory = tmp_path / "repository"
    publish(directory, keys, replace(build("1"), extensions=(store(b"store of 1"),)))
    publish(directory, keys, replace(build("2"), extensions=(store(b"store of 2"),)), keep=1)
    (entry,) = read_catalogue(directory)["extensions"]
    assert [row["version"] for row in entry["versions"]] == ["2"]


def test_one_can_be_added_to_a_published_version_and_not_changed(
    tmp_path: Path, keys: Path, build: Build, store: Any
) -> None:
    directory, origin = tmp_path / "repository", build("1")
    publish(directory, keys, origin)
    assert make_catalogue_path("web", "amd64") not in open_repository(directory, None).files
    publish(directory, keys, replace(origin, extensions=(store(b"store"),)))
    assert [entry["name"] for entry in read_catalogue(directory)["extensions"]] == ["store"]
    # Publishing the version again, for its channel, does not take it away.
    publish(directory, keys, origin)
    assert [entry["name"] for entry in read_catalogue(directory)["extensions"]] == ["store"]
    with pytest.raises(InputError, match="'store' of 1 is published already, and is something else"):
        publish(directory, keys, replace(origin, extensions=(store(b"another"),)))


def test_a_release_has_no_extension_whose_signer_nobody_can_tell(
    tmp_path: Path, keys: Path, build: Build, store: Any
) -> None:
    directory, origin = tmp_path / "repository", build("1")
    named = replace(origin, extensions=(store(b"store"),))
    publish(directory, keys, named)
    with pytest.raises(InputError, match="which keys signed the extensions of 1 that are published already: store"):
        publish(directory, keys, origin, for_release=True)
    publish(directory, keys, named, for_release=True)


@pytest.fixture
def system(tmp_path: Path) -> Image:
    return Image("web", "1", "amd64", (), "", "", tmp_path, tmp_path, {}, tree="key")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"extends": None}, "is no extension"),
        ({"version": "2"}, "is for web 2 on amd64, and not for web 1 on amd64"),
        ({"extends": {"name": "other", "tree": "key", "type": "sysext", "description": ""}}, "is for other 1"),
        ({"extends": {"name": "web", "tree": "x", "type": "sysext", "description": ""}}, "another build of web 1"),
        ({"signed_by": ""}, "nobody signed the extension 'store'"),
    ],
)
def test_only_what_was_built_for_this_build_is_published(
    tmp_path: Path, system: Image, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "store_1.raw").write_bytes(b"store")
    data = {
        "schema": 1,
        "name": "store",
        "version": "1",
        "arch": "amd64",
        "tools": "/tools",
        "artifacts": {"extension": {"path": "store_1.raw", "size": 5, "sha256": "", "format": "raw"}},
        "signed_by": "a",
        "extends": {"name": "web", "tree": "key", "type": "sysext", "description": "Words."},
        **changes,
    }
    (tmp_path / "build.json").write_text(json.dumps(data))
    if not message:
        assert read_image(tmp_path).extends == Extends("web", "key", "sysext", "Words.")
        assert read_extension(tmp_path, system).image == tmp_path / "store_1.raw"
        return
    with pytest.raises(InputError) as caught:
        read_extension(tmp_path, system)
    assert message in str(caught.value)


@pytest.mark.parametrize("development", [False, True])
def test_a_release_has_no_extension_of_a_development_key(tmp_path: Path, system: Image, development: bool) -> None:
    refuse_development_key(system)  # nobody signed it
    pair = make_key_pair(tmp_path / "keys", "me", development=development)
    path = tmp_path / "store_1.cer"
    path.write_bytes(pair.der)
    certificate = Artifact(path, "cer", len(pair.der), pair.fingerprint)
    signed = replace(system, name="store", signed_by=pair.fingerprint, artifacts={"certificate": certificate})
    with pytest.raises(InputError, match="store 1 is signed by development keys") if development else nullcontext():
        refuse_development_key(signed)
    with pytest.raises(InputError, match="nobody can tell who signed store 1"):
        refuse_development_key(replace(signed, artifacts={}))
    with pytest.raises(InputError, match="nobody can tell who signed store 1"):
        refuse_development_key(replace(signed, signed_by="0" * 64))
