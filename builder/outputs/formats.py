"""The raw disk as what virtual machines and clouds take.

Every artifact is made in two steps: the disk is converted to a *base* by qemu-img (or is the base itself),
and the base is *finished*: packed, or taken as it is. Formats that share a base share the conversion.

All artifacts are reproducible: the same disk, name, version and time give the same bytes.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import ConfigError
from builder.core.files import replacing
from builder.core.sparse import copy_sparse
from builder.core.tools import Tools
from builder.oci.image import ImageConfig, container_disk, gzip_writer, write_archive, write_layout
from builder.outputs.gce import write_disk_tar
from builder.outputs.ova import DISK, Appliance, write_ova
from builder.outputs.stamps import stamp_vhd, stamp_vhdx, stamp_vmdk

MIB, GIB = 1 << 20, 1 << 30
NAMESPACE = uuid.UUID("6d6d3c4c-54a5-4a0e-9a0b-0d6b4d2c8c5e")


@dataclass(frozen=True)
class Identity:
    """What artifacts say of themselves.

    Attributes:
        seed: what random fields are derived from; the disk's root hash makes them differ with the content.
        created: seconds since 1970.
    """

    name: str
    version: str
    architecture: str
    seed: str
    created: int = 0

    def uuid(self, purpose: str) -> uuid.UUID:
        """A UUID that depends on the seed and the purpose alone."""
        return uuid.uuid5(NAMESPACE, f"{self.seed}\0{purpose}")


@dataclass(frozen=True)
class Base:
    """A format of qemu-img.

    Attributes:
        options: of ``qemu-img convert``.
        stamp: replaces what it stamps on the image at random.
    """

    options: tuple[str, ...]
    stamp: Callable[[Path, Identity], None] | None = None


@dataclass(frozen=True)
class Job:
    """One artifact to be written to ``out``."""

    base: Path
    raw: Path
    out: Path
    tools: Tools
    identity: Identity


@dataclass(frozen=True)
class Format:
    """A kind of artifact.

    Attributes:
        suffix: of the file's name, with its dot.
        base: a key of :data:`BASES`, or ``raw``.
        finish: makes the artifact from the base; ``None`` if the base is the artifact.
        multiple: the virtual size must be a multiple of this many bytes.
        exactly: the virtual size must be this many bytes.
    """

    about: str
    suffix: str
    media_type: str
    base: str
    finish: Callable[[Job], None] | None = None
    multiple: int = MIB
    exactly: int | None = None


def _stamp_vmdk(path: Path, identity: Identity) -> None:
    # The top bit stays clear: ffffffff means "no parent".
    stamp_vmdk(path, identity.uuid("vmdk").int & 0x7FFFFFFF, DISK)


BASES: Mapping[str, Base] = {
    "qcow2": Base(("-O", "qcow2", "-o", "compat=1.1")),
    "qcow2-zlib": Base(("-O", "qcow2", "-o", "compat=1.1,compression_type=zlib", "-c")),
    "vmdk": Base(("-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic,compat6=on"), _stamp_vmdk),
    "vhd": Base(
        ("-O", "vpc", "-o", "subformat=fixed,force_size=on"),
        lambda path, identity: stamp_vhd(path, identity.uuid("vhd"), identity.created),
    ),
    "vhdx": Base(
        ("-O", "vhdx", "-o", "subformat=dynamic"),
        lambda path, identity: stamp_vhdx(path, identity.uuid("vhdx")),
    ),
}


def convert_argv(base: str, raw: Path, out: Path) -> tuple[str, ...]:
    """The command line that makes a base. Writes stay in order (no ``-W``), or the layout would be a race."""
    return ("qemu-img", "convert", "-f", "raw", *BASES[base].options, str(raw), str(out))


def _finish_gzip(job: Job) -> None:
    # Level 1: the root is compressed already, and zeros shrink at any level.
    with (
        replacing(job.out) as file,
        gzip_writer(job.tools, file, level=1) as packed,
        job.base.open("rb") as source,
    ):
        shutil.copyfileobj(source, packed, MIB)


def _finish_gce(job: Job) -> None:
    with replacing(job.out) as file, gzip_writer(job.tools, file, level=1) as packed:
        write_disk_tar(job.raw, packed, created=job.identity.created)


def _finish_ova(job: Job) -> None:
    sizes = job.raw.stat().st_size, job.base.stat().st_size
    appliance = Appliance(job.identity.name, job.identity.version, *sizes)
    with replacing(job.out) as file:
        write_ova(job.base, file, appliance, created=job.identity.created)


def _finish_kubevirt(job: Job) -> None:
    config = ImageConfig(
        job.identity.architecture, job.identity.name, job.identity.version, created=job.identity.created
    )
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".kubevirt-") as layout:
        write_layout(container_disk(job.base, job.identity.name), config, Path(layout))
        with replacing(job.out) as file:
            write_archive(Path(layout), file, created=job.identity.created)


def _copy(job: Job) -> None:
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".copy-") as scratch:
        copy = Path(scratch) / job.out.name
        copy_sparse(job.base, copy)
        copy.chmod(0o644)
        copy.replace(job.out)


_QCOW2 = "application/x-qemu-disk"
_RAW = "application/octet-stream"

FORMATS: Mapping[str, Format] = {
    "raw": Format("the disk itself, for metal, Hetzner and Vultr", ".raw", _RAW, "raw"),
    "qcow2": Format("QEMU, libvirt, Proxmox VE", ".qcow2", _QCOW2, "qcow2"),
    "aws": Format("Amazon EC2, for import-snapshot", ".vmdk", "application/x-vmdk", "vmdk"),
    "vsphere": Format("VMware vSphere", ".ova", "application/x-tar", "vmdk", _finish_ova),
    "azure": Format("Microsoft Azure and Azure Stack", ".vhd", "application/x-vhd", "vhd"),
    "hyperv": Format("Microsoft Hyper-V", ".vhdx", "application/x-vhdx", "vhdx"),
    "gce": Format("Google Compute Engine", ".tar.gz", "application/gzip", "raw", _finish_gce, multiple=GIB),
    "openstack": Format("OpenStack", ".qcow2", _QCOW2, "qcow2"),
    "alibaba": Format("Alibaba Cloud", ".qcow2", _QCOW2, "qcow2"),
    "oracle": Format("Oracle Cloud", ".qcow2", _QCOW2, "qcow2"),
    "exoscale": Format("Exoscale", ".qcow2", _QCOW2, "qcow2", exactly=10 * GIB),
    "nutanix": Format("Nutanix AHV, compressed inside", ".qcow2", _QCOW2, "qcow2-zlib"),
    "digitalocean": Format("DigitalOcean", ".qcow2.gz", "application/gzip", "qcow2", _finish_gzip),
    "akamai": Format("Akamai (Linode)", ".raw.gz", "application/gzip", "raw", _finish_gzip),
    "kubevirt": Format("KubeVirt containerDisk", ".oci.tar", "application/x-tar", "qcow2-zlib", _finish_kubevirt),
}


def require_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        raise ConfigError(
            f"there is no output format {name!r}",
            details=("there are: " + ", ".join(FORMATS),),
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    return FORMATS[name]


def size_problem(name: str, size: int) -> str | None:
    """Why a disk of this virtual size (bytes) cannot have this format, or ``None``.

    The disk is never padded to fit: the backup GPT must be at its very end (UEFI 2.10, section 5.3.2).
    """
    form = require_format(name)
    if form.exactly is not None and size != form.exactly:
        return f"{name} takes disks of exactly {form.exactly // GIB} GiB, and this one has {size / GIB:g}"
    if size % form.multiple:
        unit = "GiB" if form.multiple == GIB else "MiB"
        return f"{name} takes disks of whole {unit}, and this one has {size} bytes"
    return None


def require_sizes(names: Sequence[str], size: int) -> None:
    """Refuse a disk of this virtual size (bytes) that one of these formats cannot have.

    Raises:
        ConfigError: says which and why.
    """
    problems = [problem for name in names if (problem := size_problem(name, size)) is not None]
    if problems:
        raise ConfigError(problems[0], details=problems[1:], hint="change disk.size, or take the output out")


def file_name(name: str, stem: str) -> str:
    """``demo.qcow2``, ``demo-azure.vhd``."""
    form = require_format(name)
    return f"{stem}{form.suffix}" if name in ("raw", "qcow2") else f"{stem}-{name}{form.suffix}"


def make_artifacts(
    names: Sequence[str], raw: Path, directory: Path, tools: Tools, identity: Identity
) -> dict[str, Path]:
    """Write the artifacts of these formats into a directory, as many at a time as there are processors.

    Returns:
        Their paths, by format; each file appears under its name when it is whole.

    Raises:
        ConfigError: there is no such format, or the disk's size does not suit it.
        CapabilityError: the tools tree lacks qemu-img or pigz.
        ProgramError: one of them failed.
    """
    require_sizes(names, raw.stat().st_size)
    directory.mkdir(parents=True, exist_ok=True)
    artifacts = {name: directory / file_name(name, identity.name) for name in dict.fromkeys(names)}
    bases = dict.fromkeys(FORMATS[name].base for name in artifacts if FORMATS[name].base != "raw")
    # A base that is an artifact is moved; it is copied only where several formats are the same thing.
    moved = {FORMATS[name].base: name for name in artifacts if FORMATS[name].finish is None}
    moved.pop("raw", None)  # the caller's
    with tempfile.TemporaryDirectory(dir=directory, prefix=".formats-") as scratch:
        made = {base: Path(scratch) / f"disk.{base}" for base in bases} | {"raw": raw}
        jobs = {name: Job(made[FORMATS[name].base], raw, out, tools, identity) for name, out in artifacts.items()}
        others = [name for name in jobs if name not in moved.values()]
        # What needs no conversion is queued before what waits for one.
        others.sort(key=lambda name: FORMATS[name].base != "raw")
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            conversions = {
                base: pool.submit(copy_context().run, _make_base, base, raw, made[base], tools, identity)
                for base in bases
            }

            def finish(name: str) -> None:
                form = FORMATS[name]
                if form.base in conversions:
                    conversions[form.base].result()
                (form.finish or _copy)(jobs[name])

            try:
                list(pool.map(finish, others))
                for conversion in conversions.values():
                    conversion.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for base, name in moved.items():
            made[base].replace(artifacts[name])
    return artifacts


def _make_base(base: str, raw: Path, out: Path, tools: Tools, identity: Identity) -> None:
    tools.run(*convert_argv(base, raw, out))
    out.chmod(0o644)
    stamp = BASES[base].stamp
    if stamp is not None:
        stamp(out, identity)
