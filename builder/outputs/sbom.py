"""The bill of materials: every package in an image or container, as scanners and auditors read it.

CycloneDX 1.6 in JSON, because it is what most of them take: Grype and Trivy, OSV-Scanner, Dependency-Track. It says
nothing of the machine or the hour, nor which build-os it was, and is the same for the same image.

Packages are named by the lock, so their hashes are those of the debs. Licences are what the ``copyright`` files in the
tree declare for machines. The tools that built the image are not in it, and so not in its bill.

Source: CycloneDX 1.6 (ECMA-424), the JSON schema. Trivy knows source packages by its own properties only.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from builder.artifacts.locking import list_artifacts
from builder.debian.lock import Lock, LockedArtifact, LockedDecision, LockedPackage, LockedWheel
from builder.definition.extensions import ResolvedExtension
from builder.definition.resolved import OciLayout, RegistryImage, Resolved, ResolvedContainer
from builder.oci.registry.reference import parse_reference
from builder.outputs.licences import find_declared_licences, list_identifiers
from builder.outputs.purl import format_purl, make_deb_purl, make_pypi_purl
from builder.outputs.sbom_contents import (
    Carried,
    Contents,
    Release,
    find_carried_images,
    find_installed_packages,
    find_python_distributions,
    find_release,
)
from builder.tree.node import Kind
from builder.tree.tree import Tree, TreeError

SUFFIX = ".cdx.json"
FORMAT = "cyclonedx"
NAMESPACE = uuid.UUID("4a3c1d0e-6a5f-5b0e-9c1b-2d6c7f1d9b10")
OURS = "build-os"
TRIVYS = "aquasecurity:trivy"
# What a version of Debian is called where os-release does not say it.
RELEASES = {"bookworm": "12", "trixie": "13", "forky": "14"}
MAX_COPYRIGHT = 8 << 20
_DEBIAN = re.compile(r"(?:(?P<epoch>\d+):)?(?P<upstream>.*?)(?:-(?P<revision>[^-]*))?")
Json = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """What the bill is of.

    Attributes:
        kind: ``image`` or ``container``.
        created: seconds since 1970, 0 for no time.
        properties: what else identifies it, by name.
    """

    kind: str
    name: str
    version: str
    arch: str
    suite: str
    created: int
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Base:
    """An image from elsewhere that a root is made on: its name, its manifest's digest, its repository if it has one."""

    name: str
    digest: str
    repository: str = ""


@dataclass(frozen=True)
class Root:
    """Packages of one root: the product's own, ``image``, or that of a container in it, ``container:NAME``.

    Attributes:
        image: the name under which a container's image is in the tree's store; empty for the product's own.
        wheels: of its Python environments.
        below: what the lock has for the definitions that it is made on, by group.
        base: what the lowest of them is made on.
    """

    group: str
    packages: tuple[LockedPackage, ...]
    image: str = ""
    wheels: tuple[LockedWheel, ...] = ()
    below: tuple[tuple[str, tuple[LockedPackage, ...]], ...] = ()
    base: Base | None = None


def make_image_sbom(resolved: Resolved, lock: Lock, tree: Tree, roothash: str) -> bytes:
    """The bill of a system's image, whose finished root this is."""
    roots = [Root("image", lock.packages, wheels=_wheels_of(lock, "image"))]
    for container in resolved.containers:
        if isinstance(container.image, ResolvedContainer):
            group = container.image.package_set.name
            roots.append(
                Root(
                    group,
                    lock.sets[group],
                    f"localhost/{container.image.name}",
                    _wheels_of(lock, group),
                    _list_below(container.image, lock),
                    _find_base(container.image, lock),
                )
            )
    properties = {"roothash": roothash, "recipe_sha256": lock.recipe_sha256}
    created = resolved.source_date_epoch or 0
    product = Product("image", resolved.name, resolved.version, resolved.arch, resolved.suite, created, properties)
    return make_sbom(product, tree, roots, lock.decisions, lock.artifacts, _list_versions(resolved))


def make_container_sbom(resolved: ResolvedContainer, lock: Lock, tree: Tree, digest: str) -> bytes:
    """The bill of a container image, whose finished root this is; ``digest`` is its manifest's."""
    properties = {"digest": digest, "recipe_sha256": lock.recipe_sha256}
    product = Product("container", resolved.name, resolved.version, resolved.arch, resolved.suite, 0, properties)
    below, base = _list_below(resolved, lock), _find_base(resolved, lock)
    roots = [Root("image", lock.packages, wheels=_wheels_of(lock, "image"), below=below, base=base)]
    return make_sbom(product, tree, roots, lock.decisions, lock.artifacts, _list_versions(resolved))


def make_extension_sbom(extension: ResolvedExtension, lock: Lock, tree: Tree, roothash: str) -> bytes:
    """The bill of an extension's image, whose root this is.

    Args:
        lock: what the extension brings; what its system has is in the bill of that.
    """
    system = extension.system
    properties = {
        "roothash": roothash,
        "recipe_sha256": lock.recipe_sha256,
        "extends": f"{system.name} {system.version}",
    }
    created = system.source_date_epoch or 0
    product = Product("extension", extension.name, system.version, system.arch, system.suite, created, properties)
    roots = [Root("image", lock.packages, wheels=_wheels_of(lock, "image"))]
    return make_sbom(product, tree, roots, lock.decisions, lock.artifacts, _list_versions(extension.whole))


def _list_below(container: ResolvedContainer, lock: Lock) -> tuple[tuple[str, tuple[LockedPackage, ...]], ...]:
    groups = [image.package_set.name for image in container.list_below()]
    return tuple((group, lock.sets[group]) for group in groups)


def _find_base(container: ResolvedContainer, lock: Lock) -> Base | None:
    """The image from elsewhere that a container, or the lowest of those below it, is made on."""
    lowest = next(container.list_below(), container)
    rows = {row.name: row for row in lock.images}
    match lowest.base:
        case RegistryImage(reference):
            digest = rows[lowest.package_set.name].digest
            return Base(reference.partition("@")[0], digest, parse_reference(reference).name)
        case OciLayout(path):
            return Base(path.name, rows[lowest.package_set.name].digest)
        case _:
            return None


def _list_versions(resolved: Resolved | ResolvedContainer) -> dict[tuple[str, str], str]:
    """The versions that the definition gives artifacts, by the lock's group and their names."""
    artifacts = list_artifacts(resolved)
    return {(row.group, row.artifact.name): row.artifact.version for row in artifacts if row.artifact.version}


def make_sbom(
    product: Product,
    tree: Tree,
    roots: Sequence[Root],
    decisions: Sequence[LockedDecision],
    artifacts: Sequence[LockedArtifact] = (),
    versions: Mapping[tuple[str, str], str] | None = None,
) -> bytes:
    """The bill of a finished tree.

    Args:
        roots: what the lock has for it; images in the tree's store that are none of these were brought along, and
            are looked through.
        versions: of artifacts, by group and name.
    """
    carried = find_carried_images(tree)
    release = find_release(tree)
    if not release.version:
        release = Release("debian", RELEASES.get(product.suite, product.suite))
    bill = _Bill(product, release)
    assembled = {root.image: root.group for root in roots}
    for root in roots:
        places = [""] if not root.image else [r for image in carried if image.name == root.image for r in image.roots]
        owner = "os" if root.group == "image" else root.group
        for group, packages in ((root.group, root.packages), *root.below):
            bill.add_debs(group, owner, packages, tree, places)
        if root.base is not None:
            bill.add_base(root, owner, root.base, find_installed_packages(tree, places))
    bill.add_found("os", find_python_distributions(tree))
    bill.add_artifacts(artifacts, versions or {})
    bill.add_files(tree)
    for image in carried:
        bill.add_image(image, assembled.get(image.name), tree)
    bill.add_decisions(decisions)
    bill.add_wheels(wheel for root in roots for wheel in root.wheels)
    return bill.encode()


class _Bill:
    """A bill that is being written."""

    def __init__(self, product: Product, release: Release) -> None:
        self._product = product
        self._release = release
        self._components: dict[str, Json] = {}
        self._needs: dict[str, set[str]] = {"product": {"os"}, "os": set()}
        self._by_group: dict[tuple[str, str], str] = {}

    def add_debs(
        self, group: str, owner: str, packages: Iterable[LockedPackage], tree: Tree, roots: Sequence[str]
    ) -> None:
        """Packages of one of the lock's groups; one that several have is there once."""
        refs = self._needs.setdefault(owner, set())
        for package in packages:
            url = make_deb_purl(
                package.name,
                package.version,
                package.architecture,
                vendor=self._release.id,
                distro=self._release.distro,
                source=package.source_name,
                source_version=package.source_version,
            )
            component = self._components.setdefault(url, _deb(package, url))
            if "licenses" not in component and (names := _licences_of(tree, roots, package.name)):
                component["licenses"] = names
            refs.add(url)
            self._by_group[group, package.name] = url

    def add_base(self, root: Root, owner: str, base: Base, there: Iterable[Contents]) -> None:
        """The image that a root is made on, and what its own record says it brought; no lock has those packages."""
        short = (base.repository or base.name).rpartition("/")[2]
        url = format_purl("oci", short, version=base.digest, arch=self._product.arch, repository_url=base.repository)
        self._components[url] = {
            "type": "container",
            "bom-ref": url,
            "name": base.name,
            "version": base.digest,
            "hashes": [_sha256(base.digest.removeprefix("sha256:"))],
            "purl": url,
            "properties": [_property(f"{OURS}:origin", "the image that it is made on")],
        }
        self._needs.setdefault(owner, set()).add(url)
        refs = self._needs.setdefault(url, set())
        locked = {package.name for packages in (root.packages, *dict(root.below).values()) for package in packages}
        for content in there:
            if content.name not in locked:
                component = self._components.setdefault(content.purl, _found(content))
                mark = _property(f"{OURS}:base", f"{base.name}@{base.digest}")
                if mark not in (known := component.setdefault("properties", [])):
                    known.append(mark)
                refs.add(content.purl)

    def add_found(self, owner: str, contents: Iterable[Contents]) -> None:
        """Packages that no lock names."""
        for content in contents:
            self._components.setdefault(content.purl, _found(content))
            self._needs[owner].add(content.purl)

    def add_files(self, tree: Tree) -> None:
        """The files that overlays bring: nobody's packages, so their hashes are all there is to know of them."""
        for path, node in tree.walk():
            kind, _, overlay = node.origin.partition(":")
            if kind == "overlay" and node.kind is Kind.FILE:
                ref = f"file:{path}"
                self._components[ref] = {
                    "type": "file",
                    "bom-ref": ref,
                    "name": path,
                    "hashes": [_sha256(hashlib.sha256(node.content.read()).hexdigest())],
                    "properties": [_property(f"{OURS}:overlay", overlay)],
                }
                self._needs["product"].add(ref)

    def add_artifacts(self, artifacts: Iterable[LockedArtifact], versions: Mapping[tuple[str, str], str]) -> None:
        """Files that are no packages, by hash and by where they are from."""
        for row in artifacts:
            version = versions.get((row.group, row.artifact), "")
            url = format_purl("generic", row.artifact, version=version, checksum=f"sha256:{row.sha256}")
            component: Json = {"type": "file", "bom-ref": url, "name": row.artifact}
            if version:
                component["version"] = version
            component |= {"hashes": [_sha256(row.sha256)], "purl": url}
            if "://" in row.origin:
                component["externalReferences"] = [{"type": "distribution", "url": row.origin}]
            component["properties"] = [_property(f"{OURS}:artifact", row.origin)]
            if row.key:
                component["properties"].append(_property(f"{OURS}:signed-by", f"sha256:{row.key}"))
            self._components[url] = component
            self._needs["product" if row.group == "image" else row.group].add(url)

    def add_image(self, image: Carried, group: str | None, tree: Tree) -> None:
        """A container image. What is in one that was brought along is told inside of it, as it is of another system."""
        short = image.name.rpartition("/")[2]
        digest = image.digest.removeprefix("sha256:")
        where = "" if image.name.startswith("localhost/") else image.name
        arch = self._product.arch
        url = format_purl("oci", short, version=image.digest, arch=arch, tag=image.tag, repository_url=where)
        component: Json = {
            "type": "container",
            "bom-ref": url,
            "name": image.name,
            "version": image.tag or image.digest,
            "hashes": [_sha256(digest)],
            "purl": url,
        }
        if group is None:
            inside = [*find_installed_packages(tree, image.roots), *find_python_distributions(tree, image.roots)]
            component["components"] = [{**_found(content), "bom-ref": f"{url}#{content.purl}"} for content in inside]
            local = image.name.startswith("localhost/")
            origin = "an image beside the definition" if local else f"the registry's {image.name}"
            component["properties"] = [_property(f"{OURS}:origin", origin)]
        else:
            self._needs[url] = self._needs.pop(group)
            self.add_found(url, find_python_distributions(tree, image.roots))
        self._components[url] = component
        self._needs["product"].add(url)

    def add_wheels(self, wheels: Iterable[LockedWheel]) -> None:
        """What the lock knows of Python distributions that were found: the hash of the wheel, its file's name, and in
        which environments it is."""
        for wheel in wheels:
            component = self._components.get(make_pypi_purl(wheel.name, wheel.version))
            if component is not None:
                component["hashes"] = [_sha256(wheel.sha256)]
                known = component.setdefault("properties", [])
                place = wheel.environment if wheel.group == "image" else f"{wheel.group}/{wheel.environment}"
                known += [_property(f"{OURS}:wheel:{place}", wheel.file)]

    def add_decisions(self, decisions: Iterable[LockedDecision]) -> None:
        """What was decided about maintainer scripts instead of being understood."""
        for decision in decisions:
            component = self._components.get(self._by_group.get((decision.group, decision.package), ""))
            if component is not None:
                text = f"{decision.answer}: {decision.why}" if decision.why else decision.answer
                component["properties"].append(_property(f"{OURS}:scripts:{decision.group}", text))

    def encode(self) -> bytes:
        """The document."""
        product = self._product
        metadata: Json = {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": OURS}]},
            "component": {
                # Not "operating-system": that is the distribution it is made of, and scanners allow but one.
                "type": "platform" if product.kind == "image" else "container",
                "bom-ref": "product",
                "name": product.name,
                "version": product.version,
                "properties": [_property(f"{OURS}:{key}", value) for key, value in product.properties.items()],
            },
        }
        if product.created:
            metadata["timestamp"] = datetime.fromtimestamp(product.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        system = {"type": "operating-system", "bom-ref": "os", "name": self._release.id}
        document: Json = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": metadata,
            "components": [
                {**system, "version": self._release.version},
                *(self._components[ref] for ref in sorted(self._components)),
            ],
            "dependencies": [
                {"ref": ref, "dependsOn": sorted(self._needs.get(ref, ()))}
                for ref in sorted({"product", "os", *self._components})
            ],
        }
        body = json.dumps(document, sort_keys=True, ensure_ascii=False)
        document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, body)}"
        return format_lines(document).encode(errors="replace")


def format_lines(document: Json) -> str:
    """JSON with a line for each member, and for each item of those that are lists: people look for a package in it.

    Only without indentation does Python write JSON in C.
    """
    encode = json.JSONEncoder(ensure_ascii=False).encode
    lines = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"  {encode(item)}" for item in value) + "\n ]"
        else:
            text = encode(value)
        lines.append(f" {encode(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _deb(package: LockedPackage, url: str) -> Json:
    source = package.source_name
    parts = _DEBIAN.fullmatch(package.source_version)
    assert parts is not None, "it matches everything"
    properties = [
        _property(f"{OURS}:source", package.source),
        _property(f"{OURS}:suite", package.suite),
        _property(f"{TRIVYS}:SrcName", source),
        _property(f"{TRIVYS}:SrcVersion", parts["upstream"]),
    ]
    if parts["revision"]:
        properties.append(_property(f"{TRIVYS}:SrcRelease", parts["revision"]))
    if parts["epoch"]:
        properties.append(_property(f"{TRIVYS}:SrcEpoch", parts["epoch"]))
    return {
        "type": "library",
        "bom-ref": url,
        "supplier": {"name": "Debian"},
        "name": package.name,
        "version": package.version,
        "hashes": [_sha256(package.sha256)],
        "purl": url,
        "properties": properties,
    }


def _found(contents: Contents) -> Json:
    component: Json = {
        "type": "library",
        "bom-ref": contents.purl,
        "name": contents.name,
        "version": contents.version,
        "purl": contents.purl,
    }
    if contents.licence:
        component["licenses"] = [_licence(contents.licence)]
    if contents.source[0]:
        component["properties"] = [_property(f"{OURS}:source", " ".join(contents.source))]
    return component


def _wheels_of(lock: Lock, group: str) -> tuple[LockedWheel, ...]:
    return tuple(wheel for wheel in lock.wheels if wheel.group == group)


def _licences_of(tree: Tree, roots: Sequence[str], package: str) -> list[Json]:
    for root in roots:
        try:
            node = tree.get(f"{root}/usr/share/doc/{package}/copyright", follow=True)
        except TreeError:
            continue
        if node is not None and node.kind is Kind.FILE and node.size <= MAX_COPYRIGHT:
            return [_licence(name) for name in find_declared_licences(node.content.read())]
    return []


def _licence(name: str) -> Json:
    return {"license": {"id": name} if name in list_identifiers() else {"name": name}}


def _property(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def _sha256(digest: str) -> Json:
    return {"alg": "SHA-256", "content": digest}
