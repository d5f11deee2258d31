"""The bill of materials: what a scanner reads of an image. That it is CycloneDX is shown by real ones (tests/image)."""

from __future__ import annotations

import hashlib
import json

import pytest

from builder.debian.lock import LockedDecision, LockedPackage
from builder.oci.container_store import install_image
from builder.oci.image import ImageConfig, assemble
from builder.outputs.licences import find_declared_licences, find_identifier, list_identifiers
from builder.outputs.purl import make_deb_purl, make_pypi_purl
from builder.outputs.sbom import Base, Product, Root, make_sbom
from builder.outputs.sbom_contents import find_installed_packages, find_python_distributions
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

FORMAT = "Format: https://example.org/copyright-format/1.0/\n"
PRODUCT = Product("image", "mine", "1.0", "amd64", "trixie", 0, {"roothash": "ab"})


def package(name: str, version: str = "1.0-1", source: str = "") -> LockedPackage:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return LockedPackage(
        name, version, "amd64", digest, 10, f"pool/{name}.deb", source or f"{name} {version}", "trixie"
    )


def put(tree: Tree, path: str, text: str, origin: str = "package:a") -> None:
    tree.put(path, make_file(text, origin=origin))


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    put(tree, "/usr/lib/os-release", 'ID=debian\nVERSION_ID="13"\n')
    put(tree, "/usr/share/doc/a/copyright", f"{FORMAT}\nFiles: *\nLicense: GPL-2+\n text\n\nLicense: Expat\n")
    tree.put("/usr/share/doc/b", make_symlink("a", origin="package:b"))
    put(tree, "/usr/share/doc/c/copyright", "This is free.\nLicense: GPL-2+\n")
    return tree


def bill(
    tree: Tree, *packages: LockedPackage, roots: tuple[Root, ...] = (), decisions: tuple[LockedDecision, ...] = ()
) -> dict[str, dict]:
    """The components by name, and the whole as ``""``."""
    document = json.loads(make_sbom(PRODUCT, tree, [Root("image", packages), *roots], decisions))
    refs = [c["bom-ref"] for c in document["components"]]
    assert len(refs) == len(set(refs))
    assert {d["ref"] for d in document["dependencies"]} >= {*refs, "product"}
    return {"": document, **{c["name"]: c for c in document["components"]}}


def properties(component: dict) -> dict[str, str]:
    return {each["name"]: each["value"] for each in component["properties"]}


def needs(document: dict, ref: str) -> list[str]:
    return next(each["dependsOn"] for each in document["dependencies"] if each["ref"] == ref)


# --- packages --------------------------------------------------------------------------------------


def test_a_package_is_there_with_the_hash_of_its_deb_its_source_and_its_licences(tree: Tree) -> None:
    found = bill(tree, package("a", "2:1.0-1+b2", "src 2:1.0-1"))["a"]
    assert found["purl"] == ("pkg:deb/debian/a@2:1.0-1%2Bb2?arch=amd64&distro=debian-13&upstream=src%402:1.0-1")
    assert found["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"a").hexdigest()}]
    assert found["licenses"] == [{"license": {"id": "GPL-2.0-or-later"}}, {"license": {"id": "MIT"}}]
    said = properties(found)
    assert said["build-os:source"] == "src 2:1.0-1"
    trivys = {key.rpartition(":")[2]: value for key, value in said.items() if key.startswith("aquasecurity:")}
    assert trivys == {"SrcName": "src", "SrcEpoch": "2", "SrcVersion": "1.0", "SrcRelease": "1"}


def test_licences_are_found_through_a_link_and_not_guessed_from_prose(tree: Tree) -> None:
    found = bill(tree, package("b"), package("c"), package("d"))
    assert "licenses" in found["b"]
    assert "licenses" not in found["c"]
    assert "licenses" not in found["d"]


def test_all_packages_belong_to_the_distribution_that_the_image_is_made_of(tree: Tree) -> None:
    found = bill(tree, package("a"), package("c"))
    assert (found["debian"]["type"], found["debian"]["version"]) == ("operating-system", "13")
    assert needs(found[""], "product") == ["os"]
    assert needs(found[""], "os") == sorted([found["a"]["purl"], found["c"]["purl"]])
    root = found[""]["metadata"]["component"]
    assert (root["name"], root["version"], properties(root)) == ("mine", "1.0", {"build-os:roothash": "ab"})


def test_a_root_that_does_not_say_what_it_is_is_of_its_suite() -> None:
    assert "distro=debian-13" in bill(Tree(), package("a"))["a"]["purl"]


def test_decisions_about_scripts_are_told_with_the_package(tree: Tree) -> None:
    decisions = (LockedDecision("image", "a", "ignore", "why not"), LockedDecision("image", "c", "sandbox"))
    found = bill(tree, package("a"), package("c"), package("d"), decisions=decisions)
    assert properties(found["a"])["build-os:scripts:image"] == "ignore: why not"
    assert properties(found["c"])["build-os:scripts:image"] == "sandbox"
    assert not [key for key in properties(found["d"]) if "scripts" in key]


def test_the_same_image_has_the_same_bill_and_another_one_another_number(tree: Tree) -> None:
    packages = (package("a"), package("c"))
    one = make_sbom(PRODUCT, tree, [Root("image", packages)], ())
    assert one == make_sbom(PRODUCT, tree.copy(), [Root("image", packages[::-1])], ())
    other = make_sbom(PRODUCT, tree, [Root("image", packages[:1])], ())
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    assert "timestamp" not in json.loads(one)["metadata"]


def test_what_a_base_brought_is_there_and_marked_as_of_the_base(tree: Tree) -> None:
    stanza = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: amd64\n\n"
    put(tree, "/var/lib/dpkg/status", stanza.format("a", "1.0-1") + stanza.format("libc6", "2.36-9"))
    base = Base("docker.io/library/debian:13", "sha256:" + "ab" * 32, "docker.io/library/debian")
    below = ("container:below", (package("c"),))
    root = Root("image", (package("a"),), below=(below,), base=base)
    document = json.loads(make_sbom(PRODUCT, tree, [root], [LockedDecision("container:below", "c", "ignore", "")]))
    found = {each["name"]: each for each in document["components"]}
    assert "hashes" not in found["libc6"], "nobody knows the deb that it came from"
    assert properties(found["libc6"])["build-os:base"] == f"docker.io/library/debian:13@{base.digest}"
    assert "build-os:base" not in properties(found["a"])
    assert properties(found["c"])["build-os:scripts:container:below"] == "ignore"
    image = found["docker.io/library/debian:13"]
    assert image["purl"] == (
        f"pkg:oci/debian@sha256:{'ab' * 32}?arch=amd64&repository_url=docker.io%2Flibrary%2Fdebian"
    )
    assert needs(document, image["bom-ref"]) == [found["libc6"]["purl"]]
    assert needs(document, "os") == sorted([found["a"]["purl"], found["c"]["purl"], image["bom-ref"]])


# --- what no package brought -----------------------------------------------------------------------


def test_files_of_overlays_are_named_by_path_and_hash_without_what_is_in_them(tree: Tree) -> None:
    put(tree, "/etc/app.key", "canary-7f3a", origin="overlay:app")
    found = bill(tree)
    assert found["/etc/app.key"]["hashes"][0]["content"] == hashlib.sha256(b"canary-7f3a").hexdigest()
    assert properties(found["/etc/app.key"]) == {"build-os:overlay": "app"}
    assert "canary" not in json.dumps(found[""])


def test_python_distributions_that_an_overlay_brings_are_found_and_debians_are_not(tree: Tree) -> None:
    text = "Metadata-Version: 2.4\nName: My_App.x\nVersion: 1.2\nLicense-Expression: MIT\n\nName: no\n"
    put(tree, "/usr/lib/app/My_App.x-1.2.dist-info/METADATA", text, origin="overlay:app")
    put(tree, "/usr/lib/python3/dist-packages/yaml-6.dist-info/METADATA", "Name: yaml\nVersion: 6\n")
    put(tree, "/usr/lib/app/odd-1.dist-info/METADATA", "no fields at all", origin="overlay:app")
    found = bill(tree)
    assert found["My_App.x"]["purl"] == "pkg:pypi/my-app-x@1.2"
    assert found["My_App.x"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert "yaml" not in found
    assert found["My_App.x"]["purl"] in needs(found[""], "os")
    assert len(find_python_distributions(tree)) == 1


# --- containers ------------------------------------------------------------------------------------


def with_container(tree: Tree, name: str, root: Tree) -> Tree:
    install_image(tree, assemble(root, ImageConfig("amd64", name, "2.0")), name=name)
    return tree


def test_a_container_that_was_assembled_needs_its_own_packages_each_told_once(tree: Tree) -> None:
    root = Tree()
    put(root, "/usr/share/doc/only/copyright", f"{FORMAT}\nFiles: *\nLicense: ISC\n")
    with_container(tree, "web", root)
    shared, only = package("a"), package("only")
    found = bill(tree, shared, roots=(Root("container:web", (shared, only), "localhost/web"),))
    web = found["localhost/web"]
    assert (web["type"], web["version"]) == ("container", "2.0")
    assert web["purl"].startswith("pkg:oci/web@sha256:")
    assert web["hashes"][0]["content"] in web["purl"]
    assert needs(found[""], web["bom-ref"]) == sorted([found["a"]["purl"], found["only"]["purl"]])
    assert web["bom-ref"] in needs(found[""], "product")
    assert found["only"]["licenses"] == [{"license": {"id": "ISC"}}]
    assert found["only"]["purl"] not in needs(found[""], "os")


STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u8

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install ok half-installed
Architecture: amd64
Version: 1
"""
APK = "C:Q1abc=\nP:musl\nV:1.2.5-r9\nA:x86_64\no:musl\n\nP:ssl_client\nV:1.37.0-r12\nA:x86_64\no:busybox\n\n"


def test_a_container_that_was_brought_along_is_looked_through_and_told_apart_from_the_system(tree: Tree) -> None:
    root = Tree()
    put(root, "/etc/os-release", "ID=debian\nVERSION_ID=12\n")
    put(root, "/var/lib/dpkg/status", STATUS)
    put(root, "/usr/local/lib/python3.12/site-packages/flask-3.dist-info/METADATA", "Name: Flask\nVersion: 3\n")
    with_container(tree, "cache", root)
    cache = bill(tree)["localhost/cache"]
    assert {each["name"]: each["purl"] for each in cache["components"]} == {
        "libc6": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
        "Flask": "pkg:pypi/flask@3",
    }
    assert "beside the definition" in properties(cache)["build-os:origin"]


def test_packages_of_alpine_and_of_images_without_dpkg_are_found() -> None:
    alpine = Tree()
    put(alpine, "/etc/os-release", "ID=alpine\nVERSION_ID=3.21.0\n")
    put(alpine, "/lib/apk/db/installed", APK)
    assert [each.purl for each in find_installed_packages(alpine, ("",))] == [
        "pkg:apk/alpine/musl@1.2.5-r9?arch=x86_64&distro=alpine-3.21.0",
        "pkg:apk/alpine/ssl_client@1.37.0-r12?arch=x86_64&distro=alpine-3.21.0&upstream=busybox",
    ]
    distroless = Tree()
    put(distroless, "/var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2025b-0\nArchitecture: all\n")
    put(distroless, "/var/lib/dpkg/status.d/tzdata.md5sums", "Package: not this\nVersion: 1\n")
    assert [each.name for each in find_installed_packages(distroless, ("",))] == ["tzdata"]


def test_odd_files_in_a_container_are_passed_over(tree: Tree) -> None:
    root = Tree()
    root.put("/etc/os-release", make_symlink("os-release", origin="x"))
    put(root, "/var/lib/dpkg/status", "\xff\x00Package\n:::\n\n\nPackage: x\n")
    put(root, "/var/lib/dpkg/status.d", "a file")
    put(root, "/lib/apk/db/installed", "\n\nP:\nV:1\n\nnothing")
    with_container(tree, "odd", root)
    assert bill(tree)["localhost/odd"]["components"] == []


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debians", "spdx"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("LGPL-2.1-or-later", "LGPL-2.1-or-later"),
        ("AGPL-3+", "AGPL-3.0-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("zlib", "Zlib"),
        ("GPL", None),
        ("GPL-4+", None),
        ("GPL-2.1", None),
        ("AGPL-2", None),
        ("GPL-2+ with OpenSSL exception", None),
        ("Artistic", None),
        ("public-domain", None),
    ],
)
def test_debians_names_of_licences_become_spdxs_only_where_they_mean_the_same(debians: str, spdx: str | None) -> None:
    assert find_identifier(debians) == spdx
    assert spdx is None or spdx in list_identifiers()


def test_a_copyright_file_declares_each_licence_once_in_the_words_that_it_has() -> None:
    text = (
        f"{FORMAT}Upstream-Name: x\n\nFiles: *\nLicense: GPL-2+ or Artistic\n\nFiles: b\nLicense:\n\nLicense: Expat\r\n"
    )
    assert find_declared_licences((text + "\nLicense: Expat\n free\n").encode()) == ("GPL-2+ or Artistic", "MIT")
    assert find_declared_licences(b"License: Expat\n") == ()
    assert find_declared_licences(FORMAT.encode() + b"\nLicense: \xff\xfe\nLicense: a\xff\n") == (
        "a\N{REPLACEMENT CHARACTER}",
    )


def test_names_in_package_urls_are_encoded_as_the_specification_says() -> None:
    url = make_deb_purl(
        "g++", "4:14.2~1-1+b1", "arm64", vendor="debian", distro="", source="g++", source_version="4:14.2~1-1+b1"
    )
    assert url == "pkg:deb/debian/g%2B%2B@4:14.2~1-1%2Bb1?arch=arm64"
    assert make_pypi_purl("Zope.Interface__x", "1!2.0+local") == "pkg:pypi/zope-interface-x@1%212.0%2Blocal"
