"""The shape of what the user writes: a system, a container, a feature.

Only shape is checked here; whether the parts make sense together is :mod:`builder.definition.checks`. The
descriptions are the reference: the JSON schema is made from them, and ``docs/definition.md`` is tested to
have every key.
"""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.core.architecture import ARCHITECTURES, Arch
from builder.definition.app_models import App
from builder.definition.artifact import Artifact
from builder.definition.scalars import (
    MIB,
    AbsolutePath,
    BaseName,
    ContainerProductName,
    CredentialGlob,
    DottedName,
    ExposedPort,
    ImageName,
    ImageReference,
    Mirrors,
    ModuleName,
    PackageName,
    PackageRequest,
    PartName,
    PathGlob,
    PlatformName,
    ProductName,
    RegistryPrefix,
    RelativePath,
    Requirements,
    Size,
    Suite,
    UnitName,
    User,
    Variable,
    Version,
)
from builder.definition.scripts import Question, ScriptDecisions
from builder.definition.state import State
from builder.definition.update_models import Updates
from builder.products.catalogue import CONTAINER_DEFAULT, DEFAULT

DEFAULT_SUITE = "trixie"
SIGNATURE_SIZE = 16384  # UAPI.2: a signature is padded to a multiple of 4096; we leave room for several
_ARCHITECTURES = " or ".join(f"`{arch}`" for arch in Arch)
_KERNELS = " or ".join(f"`{facts.kernel_package}`" for facts in ARCHITECTURES.values())


class Compression(enum.StrEnum):
    """How the root file system is compressed."""

    LZ4 = "lz4"
    LZ4HC = "lz4hc"
    ZSTD = "zstd"


class Layers(enum.StrEnum):
    """How a container's files are divided into layers."""

    GROUPED = "grouped"
    ONE = "one"


class LayerCompression(enum.StrEnum):
    """How a container's layers are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class Model(BaseModel):
    """Strict, frozen, and closed to keys it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class Presets(Model):
    """Which units start by themselves."""

    enable: tuple[UnitName, ...] = Field((), description="Units that start at boot.")
    disable: tuple[UnitName, ...] = Field(
        (), description="Units that do not start at boot although their package would enable them."
    )
    mask: tuple[UnitName, ...] = Field((), description="Units that cannot be started at all.")


class KernelAdditions(Model):
    """What a feature may add to the kernel."""

    command_line: tuple[str, ...] = Field(
        (),
        description="Arguments added to the kernel's command line, one a list element, like `quiet`. Where none "
        "begins with `console=`, the architecture's own consoles are added.",
    )
    modules: tuple[ModuleName, ...] = Field(
        (), description="Modules the initrd carries besides those that build-os puts there."
    )


class Kernel(KernelAdditions):
    """The kernel and what it is told."""

    exclude: tuple[str, ...] = Field(
        (), description="Arguments left out although a feature gives them, by name, like `lockdown`."
    )
    package: PackageRequest | None = Field(
        None,
        description=f"The package the kernel comes from. Default, by `arch`: {_KERNELS}.",
    )
    platforms: tuple[PlatformName, ...] = Field(
        (),
        description="The platforms whose devices the image has drivers for, like `[qemu, aws]`; drivers of what none "
        "of them has are left out. Default: all.",
    )


class Disk(Model):
    """Sizes on the disk as it is written. First boot grows the `state` partition to the disk it finds."""

    size: Size = Field(Size.parse("8G"), description="The virtual size of the whole disk.")
    esp: Size = Field(
        Size.parse("1G"),
        description="The EFI system partition, which holds the kernels of both slots. At least 260M.",
    )
    slot: Size = Field(
        Size.parse("2G"),
        description="Each of the two slots for the root file system. Over 70 % full, the build fails.",
    )
    state_minimum: Size = Field(
        Size.parse("1G"),
        description="What must be left for the `state` partition (`/var` and changes to `/etc`).",
    )

    @property
    def verity(self) -> Size:
        """Room for a slot's hash tree: under 1 % of it for 4096-byte blocks, rounded up to 32 MiB."""
        return Size(-(-self.slot // (100 * 32 * MIB)) * 32 * MIB)

    @property
    def minimum(self) -> Size:
        """The least :attr:`size` that holds everything, partition tables included."""
        tables = 4 * MIB
        needed = tables + self.esp + 2 * (self.slot + self.verity + SIGNATURE_SIZE) + self.state_minimum
        return Size(-(-needed // MIB) * MIB)


class ExtensionBudget(Model):
    """How large an extension may become. A build that exceeds it fails, and names what takes the room."""

    image: Size | None = Field(None, description="Each disk or archive that `outputs` asks for; an extension's image.")
    root: Size | None = Field(None, description="The root file system, compressed.")


class Budget(ExtensionBudget):
    """How large what a build makes may become. A build that exceeds it fails, and names what takes the room."""

    boot: Size | None = Field(
        None, description="The unified kernel image: what firmware loads, and what a machine boots."
    )
    initrd: Size | None = Field(None, description="The initrd in it, compressed.")


class Root(Model):
    """The root file system (EROFS under dm-verity)."""

    compression: Compression = Field(
        Compression.LZ4,
        description="`lz4` builds and boots fastest; `lz4hc` is read as fast and about an eighth smaller, "
        "and packages take seven times as long to compress, once; `zstd` is smaller still, and slower to read.",
    )
    level: int | None = Field(
        None,
        description="The level of `zstd`, 1 to 22 (default: 3), or of `lz4hc`, 1 to 12 (default: 9).",
        json_schema_extra={"minimum": 1, "maximum": 22},
    )


class ToolPackages(Model):
    """The tools tree: programs that the build runs. Nothing of it gets into the image."""

    packages: tuple[PackageRequest, ...] = Field(
        (), description="Packages added to the tools tree, for programs that your own tests want."
    )


class ExtensionType(enum.StrEnum):
    """What an extension is laid over (UAPI.4)."""

    SYSEXT = "sysext"
    CONFEXT = "confext"


class Runtime(enum.StrEnum):
    """What runs a container of the image."""

    PODMAN = "podman"
    CONTAINERD = "containerd"
    DOCKER = "docker"
    CRI = "cri"
    SYSTEMD = "systemd"


class ContainerUse(Model):
    """A container image inside the OS image, and the unit that runs it."""

    name: ImageName = Field(description="The container's name, and its unit's: `NAME.service`.")
    image: ImageReference | None = Field(
        None,
        description="An image of a registry, like `docker.io/library/nginx:1.29`, or by `@sha256:DIGEST`. "
        "`os.lock` has its digest.",
    )
    definition: RelativePath | None = Field(
        None, description="A definition with `kind: container`, relative to this file."
    )
    archive: RelativePath | None = Field(
        None, description="An OCI archive, or what `docker save` or `podman save` wrote, relative to this file."
    )
    oci_layout: RelativePath | None = Field(
        None, description="A directory with an OCI image layout, relative to this file."
    )
    keys: tuple[RelativePath, ...] | None = Field(
        None,
        description="Public keys, relative to this file, one of which must have signed `image`. "
        "Default: by `image_keys`; `[]` is none.",
    )
    runtime: Runtime = Field(
        Runtime.PODMAN,
        description="What runs it: `podman`, `containerd`, `docker`; `systemd`, as a service with nothing between "
        "(feature `pods`); or `cri`, by which the image is there for the kubelet and nothing starts by itself.",
    )
    publish: tuple[str, ...] = Field(
        (), description='Ports of the machine that lead into the container: `"[ADDRESS:]PORT:PORT[/udp]"`.'
    )
    command: tuple[str, ...] = Field((), description="Replaces the image's own command.")
    enable: bool = Field(True, description="Whether it starts at boot.")


class PythonEnvironment(Model):
    """A Python environment made of wheels, for the image's own interpreter."""

    requirements: Requirements = Field(
        (),
        description="What is in it: a list of requirements, or a requirements file, relative to this file. "
        "Files with `--hash` are taken as they are.",
    )
    project: RelativePath | None = Field(
        None,
        description="A directory with a `pyproject.toml`, whose dependencies are in it. A `uv.lock` or `pylock.toml` "
        "beside that has decided.",
    )
    lock: RelativePath | None = Field(None, description="A `uv.lock` or `pylock.toml` (PEP 751) that has decided.")
    extras: tuple[str, ...] = Field((), description="Extras of the project.")
    find_links: tuple[RelativePath, ...] = Field(
        (), description="Directories with wheels that are no index's, relative to this file."
    )
    trim: tuple[Literal["tests", "stubs", "sources", "bytecode"], ...] = Field(
        (),
        description="What of the wheels is left out: `tests`, `stubs` (`*.pyi`), `sources` (`*.pyx`, `*.c` ...), "
        "`bytecode` of modules that `imports` does not bring in: they are compiled when they are imported.",
    )
    imports: tuple[DottedName, ...] = Field(
        (),
        description="Modules that the build imports, with all below them, to see that they can be. "
        "Not where the image is of another architecture than this machine.",
    )
    absent_libraries: tuple[str, ...] = Field(
        (), description="Shared libraries that wheels ask for and that may be missing, like `libcuda.so.1`."
    )


class Contents(Model):
    """What features and systems have in common: they are merged in order, features first."""

    packages: tuple[PackageRequest, ...] = Field(
        (),
        description="Debian packages, as `name` or `name=version`. Recommended packages are never pulled in.",
    )
    exclude: tuple[PackageName, ...] = Field(
        (),
        description="Packages left out although another package depends on them, or a feature asks for them.",
    )
    overlays: tuple[PartName, ...] = Field(
        (),
        description="Directories in `overlays/` that are laid over the root. `*.j2` files are filled in.",
    )
    units: tuple[PartName, ...] = Field(
        (), description="Directories in `units/` whose systemd units and presets are installed."
    )
    presets: Presets = Field(Presets(), description="Which units start by themselves.")
    remove: tuple[PathGlob, ...] = Field(
        (), description="Globs of files left out of the image, like `/usr/share/man/*`; `*` crosses `/`."
    )
    keep: tuple[PathGlob, ...] = Field((), description="Globs of files that stay although `remove` matches.")
    scripts: ScriptDecisions = Field(
        {},
        description="For packages with maintainer scripts that build-os does not model: `{ignore: REASON}`, "
        "`{effects: [...]}`, or `sandbox`, which runs the script in a copy of the tree; `default` stands for the rest.",
    )
    debconf: dict[Question, Variable] = Field(
        {}, description="Answers to the questions of packages, as `PACKAGE/QUESTION: ANSWER`."
    )
    apps: tuple[App, ...] = Field((), description="Programs in Python that are services of the image, in a sandbox.")
    python: dict[ImageName, PythonEnvironment] = Field(
        {},
        description="Python environments, `NAME: {requirements: [...]}`, made of wheels that are locked by hash. "
        "Each lies in `/usr/lib/python-environments/NAME`; `system` is the system's own.",
    )
    artifacts: tuple[Artifact, ...] = Field(
        (), description="Programs, files and archives that are no Debian packages, by URL or file, and by hash."
    )


class Feature(Contents):
    """A named bundle, `features/NAME.yaml` or `configs/features/NAME.yaml`."""

    description: str = Field(description="What an image gains by it, in one sentence.")
    requires: tuple[PartName, ...] = Field((), description="Features that this one builds on. They come first.")
    kernel: KernelAdditions = Field(KernelAdditions(), description="What the feature needs of the kernel.")


class Definition(Contents):
    """A system: an immutable operating system image."""

    kind: Literal["system"] = Field("system", description="`system` (the default), `container` or `extension`.")
    name: ImageName = Field(description="The image's name: lower-case letters, digits and `-`.")
    version: Version = Field(
        description="The image's version, compared as UAPI.10 says: letters, digits, `.`, `-`, `~`, `^`."
    )
    arch: Arch | None = Field(
        None,
        description=f"{_ARCHITECTURES}. Default: that of the machine that builds. No emulation is needed.",
    )
    suite: Suite = Field(DEFAULT_SUITE, description="The Debian suite the packages come from.")
    mirror: Mirrors = Field(
        (),
        description="Where the archive is: a URL or a list of them. Default: `BUILD_OS_MIRROR`, then "
        "the host's apt configuration. It is no part of the lock: any mirror has the same bytes.",
    )
    features: tuple[PartName, ...] = Field(("base",), description="Named bundles, merged in this order.")
    kernel: Kernel = Field(Kernel(), description="The kernel and what it is told.")
    disk: Disk = Field(
        Disk(), description="Sizes like `512M` or `2G`. The `state` partition is what they leave of `size`."
    )
    root: Root = Field(Root(), description="The root file system.")
    outputs: tuple[ProductName, ...] = Field(
        (DEFAULT,), description="Formats to write: for virtual machines, disks and clouds."
    )
    budget: Budget = Field(
        Budget(), description="How large `image`, `root`, `boot` and `initrd` may become, like `160M`."
    )
    firstboot: RelativePath | None = Field(
        None,
        description="A first-boot config baked into the image, relative to this file. What the platform "
        "hands over is merged on top.",
    )
    credentials: tuple[CredentialGlob, ...] | None = Field(
        None,
        description='Credentials that firmware and hypervisors may hand to services, by name or glob. `["*"]` is all, '
        "units for root among them. Default: all, and none where the build signs.",
    )
    state: State = Field(State(), description="What protects the `state` partition.")
    updates: Updates | None = Field(None, description="What machines do about new versions of this image.")
    containers: tuple[ContainerUse, ...] = Field(
        (), description="Containers inside the image, run without pulling anything."
    )
    image_keys: dict[RegistryPrefix, tuple[RelativePath, ...]] = Field(
        {},
        description="Who must have signed images of registries: `REGISTRY[/PATH]`, or `*` for all others, to files "
        "with public keys. The longest that fits counts; `[]` asks for no signature.",
    )
    variables: dict[str, Variable] = Field({}, description="Values for `*.j2` files, as `variables.NAME`.")
    tools: ToolPackages = Field(ToolPackages(), description="Additions to the tools tree.")
    source_date_epoch: int | None = Field(
        None,
        ge=0,
        le=0xFFFF_FFFF,
        description="The time all files get at most, in seconds since 1970. Default: 0.",
    )


class ContainerDefinition(Model):
    """A container image, assembled from Debian packages and written as an OCI image."""

    kind: Literal["container"] = Field(description="`container`.")
    name: ImageName = Field(description="The image's name: lower-case letters, digits and `-`.")
    version: Version = Field(description="The image's version, which becomes its tag.")
    arch: Arch | None = Field(
        None, description=f"{_ARCHITECTURES}. Default: that of the system it goes into, or of this machine."
    )
    suite: Suite | None = Field(
        None, description=f"The Debian suite. Default: that of the system it goes into, or `{DEFAULT_SUITE}`."
    )
    base: BaseName | None = Field(
        None,
        alias="from",
        description="The image it is made on: `REGISTRY/NAME:TAG` or `@sha256:...`, `oci:DIRECTORY`, "
        "`oci-archive:FILE`, `docker-archive:FILE` (each with `:TAG`, if there are several), or another definition, "
        "`NAME.yaml`. Its layers stay as they are.",
    )
    keys: tuple[RelativePath, ...] | None = Field(
        None,
        description="Public keys, relative to this file, one of which must have signed the image of a registry that "
        "`from` names. Default: by `image_keys` of the system it goes into; `[]` is none.",
    )
    packages: tuple[PackageRequest, ...] = Field((), description="Debian packages, as `name` or `name=version`.")
    exclude: tuple[PackageName, ...] = Field(
        (), description="Packages left out even where another package depends on them."
    )
    essential: bool = Field(
        False, description="Whether Debian's essential packages (a shell and its tools) are put in as well."
    )
    overlays: tuple[PartName, ...] = Field(
        (),
        description="Directories in `overlays/` that are laid over the root. `*.j2` files are filled in.",
    )
    scripts: ScriptDecisions = Field(
        {},
        description="For packages with maintainer scripts that build-os does not model: `{ignore: REASON}`, "
        "`{effects: [...]}`, or `sandbox`, which runs the script in a copy of the tree; `default` stands for the rest.",
    )
    debconf: dict[Question, Variable] = Field(
        {}, description="Answers to the questions of packages, as `PACKAGE/QUESTION: ANSWER`."
    )
    python: dict[ImageName, PythonEnvironment] = Field(
        {},
        description="Python environments, `NAME: {requirements: [...]}`, made of wheels that are locked by hash. "
        "Each lies in `/usr/lib/python-environments/NAME`; `system` is the system's own.",
    )
    artifacts: tuple[Artifact, ...] = Field(
        (), description="Programs, files and archives that are no Debian packages, by URL or file, and by hash."
    )
    variables: dict[str, Variable] = Field({}, description="Values for `*.j2` files, as `variables.NAME`.")
    entrypoint: tuple[str, ...] = Field((), description="The program and its fixed arguments.")
    command: tuple[str, ...] = Field((), description="Arguments that whoever runs the container may replace.")
    environment: dict[str, str] = Field({}, description="Environment variables.")
    user: User | None = Field(None, description="Who the program runs as: a name or number, `user` or `user:group`.")
    ports: tuple[ExposedPort, ...] = Field((), description='Ports the program listens on: `"8080"`, `"53/udp"`.')
    labels: dict[str, str] = Field({}, description="Labels, like `org.opencontainers.image.source`.")
    working_dir: AbsolutePath = Field("/", description="Where the program starts.")
    outputs: tuple[ContainerProductName, ...] = Field(
        (CONTAINER_DEFAULT,),
        description="What to write: `oci`, an image archive, and `bundle`, which runc and crun start as it is.",
    )
    layers: Layers = Field(
        Layers.GROUPED,
        description="`grouped` has what changes together in one layer, so that versions share layers; or `one`.",
    )
    compression: LayerCompression = Field(
        LayerCompression.NONE, description="Of the layers: `none`, `gzip`, or `zstd`."
    )


class ExtensionDefinition(Contents):
    """An extension of a system: an image of what the system lacks, which is laid over it on the machine."""

    kind: Literal["extension"] = Field(description="`extension`.")
    name: ImageName = Field(description="The extension's name: lower-case letters, digits and `-`.")
    of: RelativePath = Field(
        description="The definition of the system that it extends, relative to this file. Its version is that system's."
    )
    type: ExtensionType = Field(
        ExtensionType.SYSEXT,
        description="`sysext` is laid over `/usr`, by systemd-sysext; `confext` over `/etc`, by systemd-confext.",
    )
    description: str = Field("", description="What a machine gains by it, in one sentence, for the catalogue.")
    features: tuple[PartName, ...] = Field((), description="Named bundles besides the system's, merged in this order.")
    budget: ExtensionBudget = Field(
        ExtensionBudget(), description="How large its `image` and the `root` in it may become, like `20M`."
    )
    variables: dict[str, Variable] = Field({}, description="Values for `*.j2` files, as `variables.NAME`.")
