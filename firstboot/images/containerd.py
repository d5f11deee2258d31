"""Images of the OS in containerd's store, by its own client: manifest and configuration are handed over, not layers.

A layer becomes a snapshot whose directory is replaced by a link into the verified root before it is committed, so
containerd finds the image unpacked and reads nothing. Its content stays incomplete: ``ctr images push`` and ``export``
of such an image fail.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from firstboot.apply.kernel.esp import sync_directory, write_file
from firstboot.images import OfferedImage
from firstboot.images.chain import list_chain_ids

ROOT = Path("/var/lib/containerd")
RECORD = "build-os-images.json"
NAMESPACES = {"containerd": "build-os", "cri": "k8s.io"}
SNAPSHOTTER = "overlayfs"
_DIRECTORY = re.compile(r"(/[^ ,:=]*/snapshots/[0-9]+/fs)(?![^ ,:])")
Ctr = Callable[[Sequence[str], bytes], str]


def run_ctr(arguments: Sequence[str], data: bytes) -> str:
    """``ctr`` with these arguments; returns what it says.

    Raises:
        OSError, subprocess.CalledProcessError: it is not there, or it failed.
    """
    done = subprocess.run(["/usr/bin/ctr", *arguments], input=data, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def offer_to_containerd(offers: Sequence[OfferedImage], ctr: Ctr = run_ctr, root: Path = ROOT) -> None:
    """Put the images in that are not there, and take out those of a former version of the OS. containerd must run.

    Raises:
        OSError, subprocess.CalledProcessError: containerd refused, or the record of what is done cannot be written.
    """
    record = root / RECORD
    known: dict[str, list[str]] = json.loads(record.read_bytes()) if record.exists() else {}
    wanted = {
        f"{NAMESPACES[runtime]} {name}": offer
        for offer in offers
        for runtime in offer.runtimes
        if runtime in NAMESPACES
        for name in offer.names
    }
    for key in [*known]:
        if key not in wanted or known[key] != describe(wanted[key]):
            namespace, name = key.split(" ", 1)
            ctr(["--namespace", namespace, "images", "remove", name], b"")
            del known[key]
            write_record(record, known)
    # What somebody or the kubelet's garbage collection removed comes back: nothing else brings it.
    there = {
        f"{namespace} {name}"
        for namespace in {key.partition(" ")[0] for key in wanted}
        for name in ctr(["--namespace", namespace, "images", "list", "--quiet"], b"").split()
    }
    for key, offer in wanted.items():
        if key not in known or key not in there:
            _put(offer, key.partition(" ")[0], ctr)
            known[key] = describe(offer)
            write_record(record, known)


def describe(offer: OfferedImage) -> list[str]:
    """What an image that was put in is known by: its digest, and where its layers are."""
    return [offer.digest, *(layer.path for layer in offer.layers)]


def write_record(path: Path, known: dict[str, list[str]]) -> None:
    write_file(path, json.dumps(known).encode())


def _put(offer: OfferedImage, namespace: str, ctr: Ctr) -> None:
    def run(*arguments: str, data: bytes = b"") -> str:
        return ctr(["--namespace", namespace, *arguments], data)

    # Snapshots first: nobody finds an image that is not unpacked.
    there = {line.split()[0] for line in run("snapshots", "--snapshotter", SNAPSHOTTER, "list").splitlines()[1:]}
    chains = list_chain_ids([layer.diff_id for layer in offer.layers])
    for layer, chain, parent in zip(offer.layers, chains, ["", *chains], strict=False):
        if chain in there:
            continue
        key = f"build-os {chain}"
        if key in there:  # what was begun when the power went
            run("snapshots", "--snapshotter", SNAPSHOTTER, "remove", key)
        prepare = ["snapshots", "--snapshotter", SNAPSHOTTER, "prepare", "--target", "/", key]
        _replace(find_directory(run(*prepare, *([parent] if parent else []))), layer.path)
        run("snapshots", "--snapshotter", SNAPSHOTTER, "commit", chain, key)
    run("images", "import", "--no-unpack", "-", data=make_archive(offer))
    if chains:
        reference = f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}={chains[-1]}"
        run("content", "label", f"sha256:{offer.id}", reference)
        # From now on the image keeps them.
        for chain in chains:
            run("snapshots", "--snapshotter", SNAPSHOTTER, "label", chain, "containerd.io/gc.root=")


def find_directory(mount: str) -> Path:
    """The directory of a snapshot's own files, of the mount command that ``ctr snapshots prepare`` prints.

    Raises:
        ValueError: there is none.
    """
    upper = mount.partition("upperdir=")[2] or mount
    match = _DIRECTORY.search(upper)
    if match is None:
        raise ValueError(f"'{mount.strip()}' names no snapshot of overlayfs")
    return Path(match[1])


def _replace(directory: Path, target: str) -> None:
    directory.rmdir()
    directory.symlink_to(target)
    # containerd's database is synced: after a power cut it must not name a layer that is not there.
    sync_directory(directory.parent)


def make_archive(offer: OfferedImage) -> bytes:
    """An image layout without its layers, as ``ctr images import`` reads it."""
    media_type = json.loads(offer.manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    entries = [
        {
            "mediaType": media_type,
            "digest": offer.digest,
            "size": len(offer.manifest),
            "annotations": {"io.containerd.image.name": name},
        }
        for name in offer.names
    ]
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
        f"blobs/{offer.digest.replace(':', '/')}": offer.manifest,
        f"blobs/sha256/{offer.id}": offer.config,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
