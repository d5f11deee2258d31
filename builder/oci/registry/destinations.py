"""Where an image is copied to: a directory with an image layout, an archive. What is there is kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.files import open_replacement, read_bounded, write_file
from builder.core.store import Store
from builder.oci.bundle import CONFIG, format_config
from builder.oci.facts import LAYOUT_VERSION
from builder.oci.image import write_archive
from builder.oci.layout import read_image
from builder.oci.registry.ends import Origin
from builder.oci.registry.manifest import Manifest
from builder.oci.registry.push import Progress
from builder.oci.runtime_config import ROOT, Owner, make_runtime_config
from builder.tree.directory import write_directory
from builder.tree.node import Inline, Kind, Node, Slice
from builder.tree.tar import write_tar
from builder.tree.tree import Tree
from firstboot.config.oci.manifests import (
    INDEX,
    MAX_MANIFEST,
    REF_NAME,
    BadManifest,
    Descriptor,
    parse_document,
)

_REPOSITORY_FILE = "manifest.json"


class LayoutDestination:
    """A directory with an image layout, made if it is not there; other images in it stay.

    Attributes:
        ref_name: the image's name in it.
    """

    def __init__(self, directory: Path, ref_name: str) -> None:
        self.directory = directory
        self.ref_name = ref_name
        self.name = f"{directory}{':' if ref_name else ''}{ref_name}"
        self._require_layout()

    def _require_layout(self) -> None:
        there = self.directory
        if there.exists() and not there.is_dir():
            raise InputError(f"{there} is no directory, so no image layout can be made there")
        if there.is_dir() and any(there.iterdir()) and not (there / "oci-layout").is_file():
            raise InputError(f"{there} has something in it that is no OCI image layout", hint="name another directory")

    def _locate(self, blob: Descriptor) -> Path:
        algorithm, _, encoded = blob.digest.partition(":")
        return self.directory / "blobs" / algorithm / encoded

    def has_blob(self, blob: Descriptor) -> bool:
        """See :class:`Destination`."""
        path = self._locate(blob)
        if path.is_symlink() or not path.is_file() or path.stat().st_size != blob.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, blob.digest.partition(":")[0]).hexdigest() == blob.hex

    def write_blob(self, blob: Descriptor, origin: Origin, progress: Progress) -> bool:
        """See :class:`Destination`."""
        with open_replacement(self._locate(blob)) as file:
            for piece in origin.read_blob(blob, 0):
                file.write(piece)
                progress(len(piece))
        return False

    def write_manifest(self, manifest: Manifest) -> None:
        """See :class:`Destination`."""
        write_file(self._locate(manifest.descriptor), manifest.data)

    def finish(self, manifest: Manifest) -> None:
        """See :class:`Destination`."""
        self.write_manifest(manifest)
        entry: dict[str, Any] = {
            "mediaType": manifest.descriptor.media_type,
            "digest": manifest.digest,
            "size": manifest.descriptor.size,
        }
        if self.ref_name:
            entry["annotations"] = {REF_NAME: self.ref_name}
        write_file(self.directory / "oci-layout", json.dumps(LAYOUT_VERSION))
        with _hold(self.directory):
            others = [
                other
                for other in self._read_entries()
                if (other.get("annotations") or {}).get(REF_NAME, "") != self.ref_name
                and (self.ref_name or other.get("digest") != manifest.digest)
            ]
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
            write_file(self.directory / "index.json", json.dumps(index, sort_keys=True))

    def _read_entries(self) -> list[dict[str, Any]]:
        path = self.directory / "index.json"
        if not path.exists():
            return []
        try:
            entries = parse_document(read_bounded(path, MAX_MANIFEST)).get("manifests", [])
        except BadManifest as error:
            raise InputError(f"{path} {error}") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} has no list of manifests")
        return entries


class ArchiveDestination(LayoutDestination):
    """One file: a layout beside it becomes a tar at last.

    Attributes:
        docker: whether ``docker load`` is to take it.
    """

    def __init__(self, file: Path, ref_name: str, directory: Path, *, docker: bool) -> None:
        super().__init__(directory, ref_name)
        self.file = file
        self.docker = docker
        self.name = f"{file}{':' if ref_name else ''}{ref_name}"

    def finish(self, manifest: Manifest) -> None:
        """See :class:`Destination`."""
        if self.docker:
            with open_replacement(self.file) as out:
                write_tar(self._make_docker_tree(manifest), out, latest=0)
            return
        super().finish(manifest)
        with open_replacement(self.file) as out:
            write_archive(self.directory, out)

    def _make_docker_tree(self, manifest: Manifest) -> Tree:
        """Docker's image specification 1.2, "Combined Image JSON + Filesystem Changeset Format"."""
        if manifest.is_index:
            raise InputError("a docker-archive has images of one platform only", hint="leave --all out")
        try:
            config, *layers = manifest.list_blobs()
        except BadManifest as error:
            raise SourceError(f"{self.name}: the manifest {error}") from None
        tree = Tree()

        def put(name: str, blob: Descriptor) -> str:
            path = self._locate(blob)
            tree.put(f"/{name}", Node(Kind.FILE, 0o644, content=Slice(str(path), 0, blob.size), origin="copy"))
            return name

        entry = {
            "Config": put(f"{config.hex}.json", config),
            "RepoTags": [self.ref_name] if self.ref_name else [],
            "Layers": [put(f"{layer.hex}.tar", layer) for layer in layers],
        }
        text = json.dumps([entry], sort_keys=True).encode()
        tree.put(f"/{_REPOSITORY_FILE}", Node(Kind.FILE, 0o644, content=Inline(text), origin="copy"))
        return tree


@contextmanager
def open_bundle(bundle: Path, console: Console) -> Iterator[BundleDestination]:
    """A bundle to unpack an image to, with a directory beside it for what comes until it is whole.

    Raises:
        InputError: there is something already.
    """
    if bundle.is_symlink() or bundle.exists():
        raise InputError(f"{bundle} is there already", hint="remove it, or name another directory")
    with _open_beside(bundle) as directory:
        yield BundleDestination(bundle, directory, console)


@contextmanager
def open_archive(file: Path, ref_name: str, *, docker: bool) -> Iterator[ArchiveDestination]:
    """An archive to copy to, with a directory beside it for what comes until it is whole.

    Raises:
        InputError: there is an archive already, which would lose its images.
    """
    if file.exists():
        raise InputError(f"{file} is there already", hint="remove it, or name another file")
    with _open_beside(file) as directory:
        yield ArchiveDestination(file, ref_name, directory, docker=docker)


@contextmanager
def _open_beside(place: Path) -> Iterator[Path]:
    """A directory beside a file or directory that is not there yet; gone afterwards.

    Raises:
        InputError: there is no directory in which both could be.
    """
    parent = place.absolute().parent
    if not parent.is_dir():
        raise InputError(f"there is no directory {parent}")
    directory = Path(tempfile.mkdtemp(prefix=f".{place.name[:50]}.", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class BundleDestination(LayoutDestination):
    """A directory with a bundle of the runtime-spec, for the user who makes it: root, or an ordinary one in a user
    namespace of its own.

    Attributes:
        bundle: the directory, made at last.
    """

    def __init__(self, bundle: Path, directory: Path, console: Console) -> None:
        super().__init__(directory, "")
        self.bundle = bundle
        self.name = str(bundle)
        self._console = console

    def finish(self, manifest: Manifest) -> None:
        """See :class:`Destination`.

        Raises:
            InputError: the image is for several platforms, is no sound one, or says nothing that could be run.
            SourceError: a layer is not what the configuration says, or in zstd.
        """
        if manifest.is_index:
            raise InputError("a bundle is of one platform's image", hint="leave --all out")
        super().finish(manifest)
        try:
            configuration = parse_document(self._locate(manifest.list_blobs()[0]).read_bytes())
        except BadManifest as error:
            raise SourceError(f"{self.name}: the image's configuration {error}") from None
        architecture = str(configuration.get("architecture", ""))
        store = Store(self.directory / "store")
        image = read_image(self.directory, store, architecture=architecture, name=self.bundle.name)
        owner = None if os.getuid() == 0 else Owner(os.getuid(), os.getgid())
        config = make_runtime_config(json.loads(image.config), image.tree, name=self.bundle.name, owner=owner)
        fresh = self.directory / "bundle"
        fresh.mkdir(mode=0o700)  # programs of the image with rights of their own are out of others' reach
        left_out = write_directory(image.tree, fresh / ROOT, as_root=owner is None)
        write_file(fresh / CONFIG, format_config(config))
        fresh.rename(self.bundle)
        if left_out:
            names = " ".join(left_out[:5])
            self._console.warn(f"{len(left_out)} devices, or attributes like file capabilities, left out: {names}")


_inside = threading.Lock()


@contextmanager
def _hold(directory: Path) -> Iterator[None]:
    """Let nobody else change the index of a layout meanwhile (flock(2) on the directory)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _inside:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
    finally:
        os.close(descriptor)
