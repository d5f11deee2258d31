"""What a finished tree holds that no lock names: container images, and the packages in those that were brought along.

Everything read here comes out of other people's images. What is odd is passed over: a bill of materials is no gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from builder.oci.container_store import STORE
from builder.outputs.purl import format_purl, make_deb_purl, make_pypi_purl
from builder.tree.node import Kind, Node
from builder.tree.tree import Tree, TreeError

MAX_TEXT = 64 << 20  # bytes of a database of packages
MAX_METADATA = 1 << 20
MAX_FIELD = 500
METADATA = ".dist-info/METADATA"
# Where Debian's packages have their Python modules, and pip never does.
DEBIANS = "/usr/lib/python3/dist-packages/"
OS_RELEASE = ("usr/lib/os-release", "etc/os-release")


@dataclass(frozen=True)
class Release:
    """Which distribution a root is of: ``ID`` and ``VERSION_ID`` of ``os-release(5)``, empty where it has none."""

    id: str
    version: str

    @property
    def distro(self) -> str:
        """As package URLs name it: ``debian-13``."""
        return "-".join(filter(None, (self.id, self.version)))


@dataclass(frozen=True)
class Carried:
    """A container image in the tree's store: its name, its manifest's digest, its layers' files, the topmost first."""

    name: str
    tag: str
    digest: str
    roots: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """A package that was found by what it left behind.

    Attributes:
        licence: an SPDX expression as its own record has it, or empty.
        source: name and version of the source package.
    """

    name: str
    version: str
    purl: str
    licence: str = ""
    source: tuple[str, str] = ("", "")


def find_release(tree: Tree, roots: Sequence[str] = ("",)) -> Release:
    """The distribution of a root, whose files lie below the first of ``roots`` that has them."""
    text = _first(tree, roots, OS_RELEASE, MAX_METADATA)
    words = dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))
    return Release(*(words.get(key, "").strip("\"' ")[:MAX_FIELD] for key in ("ID", "VERSION_ID")))


def find_carried_images(tree: Tree) -> list[Carried]:
    """The container images in the tree's read-only store, by name."""
    try:
        images = json.loads(tree.read(f"{STORE}/overlay-images/images.json"))
        parents = {
            layer["id"]: layer.get("parent") for layer in json.loads(tree.read(f"{STORE}/overlay-layers/layers.json"))
        }
    except TreeError:
        return []
    carried = []
    for image in images:
        roots = []
        layer = image.get("layer")
        while layer is not None:
            roots.append(f"{STORE}/overlay/{layer}/diff")
            layer = parents[layer]
        for reference in image["names"]:
            whole = reference.partition("@")[0]
            name, _, tag = whole.rpartition(":")
            if not name or "/" in tag:  # the colon before a port
                name, tag = whole, ""
            carried.append(Carried(name, tag, image["digest"], tuple(roots)))
    return sorted(carried, key=lambda image: (image.name, image.tag))


def find_python_distributions(tree: Tree, roots: Sequence[str] = ("",)) -> list[Contents]:
    """What pip and the like unpacked below ``roots``; what Debian's packages bring is no find. By name."""
    distributions = {}
    for root in roots:
        for path, node in tree.walk(root or "/"):
            if not path.endswith(METADATA) or (not root and path.startswith(f"{STORE}/")):
                continue
            if node.kind is Kind.FILE and not _is_debians(path, node):
                fields = _fields(_text(node, MAX_METADATA).split("\n\n", 1)[0])
                name, version = fields.get("Name", ""), fields.get("Version", "")
                if name and version:
                    distributions[name, version] = Contents(
                        name, version, make_pypi_purl(name, version), _licence_of(fields)
                    )
    return [distributions[key] for key in sorted(distributions)]


def _licence_of(fields: Mapping[str, str]) -> str:
    """What core metadata says of the licence: an expression; or, before metadata 2.4, a short name."""
    expression = fields.get("License-Expression", "")
    old = fields.get("License", "")
    return expression or (old if old.upper() != "UNKNOWN" and len(old) < 100 else "")


def find_installed_packages(tree: Tree, roots: Sequence[str]) -> list[Contents]:
    """The packages that dpkg's or apk's database in a root records as installed, by name."""
    release = find_release(tree, roots)
    texts = [_first(tree, roots, ("var/lib/dpkg/status",), MAX_TEXT), *_status_files(tree, roots)]
    packages = [package for text in texts for stanza in text.split("\n\n") if (package := _deb(stanza, release))]
    apk = _first(tree, roots, ("usr/lib/apk/db/installed", "lib/apk/db/installed"), MAX_TEXT)
    packages += [package for stanza in apk.split("\n\n") if (package := _apk(stanza, release))]
    return [package for _, package in sorted({package.purl: package for package in packages}.items())]


def _status_files(tree: Tree, roots: Sequence[str]) -> Iterator[str]:
    """A file a package: how images without dpkg keep its records."""
    for root in roots:
        directory = f"{root}/var/lib/dpkg/status.d"
        node = tree.get(directory)
        for name in tree.list_children(directory) if node is not None and node.kind is Kind.DIRECTORY else ():
            if not name.endswith(".md5sums"):
                yield _first(tree, (directory,), (name,), MAX_METADATA)


def _deb(stanza: str, release: Release) -> Contents | None:
    fields = _fields(stanza)
    name, version, arch = (fields.get(key, "") for key in ("Package", "Version", "Architecture"))
    if not name or not version or fields.get("Status", "installed").split()[-1:] != ["installed"]:
        return None
    source, _, rest = fields.get("Source", name).partition(" ")
    source_version = rest.strip("() ") or version
    where = {"vendor": release.id or "debian", "distro": release.distro}
    url = make_deb_purl(name, version, arch, source=source, source_version=source_version, **where)
    return Contents(name, version, url, source=(source, source_version))


def _apk(stanza: str, release: Release) -> Contents | None:
    fields = dict(line.partition(":")[::2] for line in stanza.splitlines())
    name, version, source = (fields.get(key, "")[:MAX_FIELD] for key in "PVo")
    if not name or not version:
        return None
    vendor = release.id or "alpine"
    url = format_purl(
        "apk", vendor, name, version=version, arch=fields.get("A", "")[:MAX_FIELD], distro=release.distro,
        upstream="" if source == name else source,
    )  # fmt: skip
    return Contents(name, version, url, source=(source or name, version))


def _fields(stanza: str) -> Mapping[str, str]:
    """The one-line fields of a stanza; the first of a name counts."""
    fields: dict[str, str] = {}
    for line in stanza.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t")):
            fields.setdefault(name, value.strip()[:MAX_FIELD])
    return fields


def _is_debians(path: str, node: Node) -> bool:
    # In a container's store every file is the container's.
    return node.origin.startswith("package:") or (node.origin.startswith("container:") and DEBIANS in path)


def _first(tree: Tree, roots: Sequence[str], paths: Sequence[str], limit: int) -> str:
    """The text of the first of these files that there is; empty if there is none."""
    for root in roots:
        for path in paths:
            try:
                node = tree.get(f"{root}/{path}", follow=True)
            except TreeError:
                continue
            if node is not None and node.kind is Kind.FILE:
                return _text(node, limit)
    return ""


def _text(node: Node, limit: int) -> str:
    return node.content.read().decode("utf-8", errors="replace") if node.size <= limit else ""
