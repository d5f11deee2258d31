"""The bills of materials of real images, read by CycloneDX's own schema and by others' code for package URLs."""

from __future__ import annotations

import json
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.debian.lock import Lock
from builder.outputs.licences import list_identifiers

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def container(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``build.json`` of the demo's container, built by itself. The packages are there since the demo is built."""
    place = tmp_path_factory.mktemp("container")
    definition = place / "web.yaml"
    definition.write_text((REPOSITORY / "configs/containers/web.yaml").read_text())
    with closing(QuietConsole(place / "build.log")) as console:
        return build_container(BuildRequest(definition, place / "out", Store.open(), console)).manifest


@pytest.fixture(params=["image", "container"])
def manifest(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("demo" if request.param == "image" else "container")


def read(manifest: Path) -> dict:
    artifact = json.loads(manifest.read_text())["artifacts"]["sbom"]
    assert artifact["format"] == "cyclonedx"
    return json.loads((manifest.parent / artifact["path"]).read_text())


def test_it_is_cyclonedx(manifest: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    path = manifest.parent / json.loads(manifest.read_text())["artifacts"]["sbom"]["path"]
    assert path.name.endswith(".cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None


def test_every_package_url_is_as_others_write_it(manifest: Path) -> None:
    from packageurl import PackageURL

    urls = [each["purl"] for each in read(manifest)["components"] if "purl" in each]
    assert urls
    assert [PackageURL.from_string(url).to_string() for url in urls] == urls


def test_it_names_every_package_of_the_lock_and_no_other(demo: Path) -> None:
    lock = Lock.load(REPOSITORY / "configs" / "demo.lock")
    ours = {(p.name, p.version, p.sha256) for p in (*lock.packages, *lock.sets["container:web"])}
    debs = [each for each in read(demo)["components"] if each.get("purl", "").startswith("pkg:deb/debian/")]
    assert {(each["name"], each["version"], each["hashes"][0]["content"]) for each in debs} == ours
    # Nearly all of Debian's copyright files are written for machines.
    assert sum("licenses" in each for each in debs) > len(debs) * 3 // 4


def test_what_is_called_an_identifier_of_spdx_is_one() -> None:
    known = json.loads(files("cyclonedx.schema").joinpath("_res/spdx.SNAPSHOT.schema.json").read_text())["enum"]
    assert list_identifiers() <= set(known)
