"""Whether what is written makes sense: functions that yield problems at the exact place.

These look at one file at a time and touch no other; what needs the files it names is in
:mod:`builder.definition.load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from builder.core.releases import SUITES
from builder.definition.artifact import check_artifacts
from builder.definition.bases import REGISTRY, parse_base
from builder.definition.model import (
    Compression,
    ContainerDefinition,
    ContainerUse,
    Contents,
    Definition,
    Disk,
    ExtensionDefinition,
    Feature,
    Kernel,
    KernelAdditions,
    Root,
    Runtime,
)
from builder.definition.ports import Publish, parse_publish
from builder.definition.resolved import parse_package_name
from builder.definition.scalars import MIB, NotAccepted, Size
from builder.products.catalogue import CONTAINER_DEFAULT
from firstboot.config.kernel_words import find_objection, is_one_argument
from firstboot.config.located import Path, Problem, find_suggestion
from firstboot.config.unit_text import is_lost_by_podman

GPT_LABEL = 36  # UTF-16 units, UEFI specification 5.3.3
ESP_MINIMUM = Size(260 * MIB)
# Where a container's image is from: one of them.
IMAGE_KEYS = ("image", "definition", "archive", "oci_layout")
SLOT_MINIMUM = Size(64 * MIB)


def check_definition(definition: Definition) -> Iterator[Problem]:
    """All that can be said about a system's definition alone."""
    yield from check_label(definition.name, definition.version)
    yield from check_mirrors(definition.mirror)
    yield from check_suite(definition.suite)
    yield from check_duplicates(("features",), definition.features)
    yield from check_duplicates(("outputs",), definition.outputs)
    yield from check_duplicates(("credentials",), definition.credentials or ())
    yield from check_duplicates(("tools", "packages"), definition.tools.packages, parse_package_name)
    yield from check_contents(definition)
    yield from check_kernel(definition.kernel)
    yield from check_disk(definition.disk)
    yield from check_root(definition.root)
    yield from check_variables(definition.variables)
    yield from check_container_uses(definition.containers)


def check_feature(feature: Feature) -> Iterator[Problem]:
    """All that can be said about a feature alone."""
    yield from check_duplicates(("requires",), feature.requires)
    yield from check_contents(feature)
    yield from check_kernel(feature.kernel)


def check_container(container: ContainerDefinition) -> Iterator[Problem]:
    """All that can be said about a container's definition alone."""
    yield from check_suite(container.suite)
    yield from check_duplicates(("packages",), container.packages, parse_package_name)
    yield from check_duplicates(("exclude",), container.exclude)
    yield from check_duplicates(("overlays",), container.overlays)
    yield from check_duplicates(("ports",), container.ports)
    yield from check_duplicates(("outputs",), container.outputs)
    if not container.outputs:
        yield Problem(("outputs",), "nothing would be written", f"leave it out for [{CONTAINER_DEFAULT}]")
    yield from _check_exclude(container.packages, container.exclude)
    yield from check_artifacts(container.artifacts)
    yield from check_variables(container.variables)
    yield from _check_arguments(("entrypoint",), container.entrypoint)
    yield from _check_arguments(("command",), container.command)
    if container.base is None and not container.entrypoint and not container.command:
        yield Problem(("name",), "nothing says what this container runs", "set entrypoint, or command")
    if container.keys and (container.base is None or parse_base(container.base)[0] != REGISTRY):
        yield Problem(("keys",), "'keys' is for a base of a registry", "name it in 'from', or remove the keys")
    for index, port in enumerate(container.ports):
        if int(port.partition("/")[0]) > 65535:
            yield Problem(("ports", index), f"{port} is no port; ports are 1 to 65535")
    for name, value in container.environment.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("environment", name), f"'{name}' is no variable's name", on_key=True)
        if "\0" in value:
            yield Problem(("environment", name), "an environment variable cannot hold a NUL")


def check_extension(extension: ExtensionDefinition) -> Iterator[Problem]:
    """All that can be said about an extension's definition alone."""
    yield from check_duplicates(("features",), extension.features)
    yield from check_contents(extension)
    yield from check_variables(extension.variables)
    for index, _ in enumerate(extension.presets.mask):
        hint = "mask it in the system's definition, or on the machine"
        yield Problem(("presets", "mask", index), "an extension adds to a system, and takes nothing away", hint)


def check_label(name: str, version: str) -> Iterator[Problem]:
    """Slots are found by their partition's label, ``NAME_VERSION``."""
    label = f"{name}_{version}"
    if len(label) > GPT_LABEL:
        yield Problem(
            ("name",),
            f"name and version make the partition label '{label}' of {len(label)} characters; "
            f"a partition table has room for {GPT_LABEL}",
        )


def check_mirrors(mirrors: Sequence[str]) -> Iterator[Problem]:
    """Mirrors are asked over HTTP; what they send is verified by signature."""
    for index, mirror in enumerate(mirrors):
        where = ("mirror", index)
        try:
            url = urlsplit(mirror)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable or re.search(r"\s", mirror):
            yield Problem(where, "a mirror is a URL that starts with http:// or https://")
    yield from check_duplicates(("mirror",), mirrors)


def check_suite(suite: str | None) -> Iterator[Problem]:
    """Only suites whose keys are known can be verified; of any other a mirror would say that it is not there."""
    if suite is not None and suite not in SUITES:
        known = f"they are {', '.join(SUITES)}"
        hint = find_suggestion(suite, SUITES)
        yield Problem(("suite",), f"'{suite}' is no suite of Debian's that is known here", hint or known)


def check_contents(contents: Contents) -> Iterator[Problem]:
    """What features and systems have in common."""
    yield from check_duplicates(("packages",), contents.packages, parse_package_name)
    yield from check_duplicates(("exclude",), contents.exclude)
    yield from check_duplicates(("overlays",), contents.overlays)
    yield from check_duplicates(("units",), contents.units)
    yield from check_duplicates(("remove",), contents.remove)
    yield from check_duplicates(("keep",), contents.keep)
    yield from _check_exclude(contents.packages, contents.exclude)
    yield from check_artifacts(contents.artifacts)
    said: dict[str, str] = {}
    for verb in ("enable", "disable", "mask"):
        units: tuple[str, ...] = getattr(contents.presets, verb)
        yield from check_duplicates(("presets", verb), units)
        for index, unit in enumerate(units):
            if said.setdefault(unit, verb) != verb:
                yield Problem(("presets", verb, index), f"{unit} is already under '{said[unit]}'")


def check_kernel(kernel: KernelAdditions) -> Iterator[Problem]:
    """An argument is one argument, and not one that would undo the verified boot."""
    yield from check_duplicates(("kernel", "command_line"), kernel.command_line)
    yield from check_duplicates(("kernel", "modules"), kernel.modules)
    for index, argument in enumerate(kernel.command_line):
        where = ("kernel", "command_line", index)
        if not is_one_argument(argument):
            yield Problem(
                where,
                "a kernel argument has no spaces, quotes, backslashes or other special characters",
                "write one argument a list element" if " " in argument.strip() else None,
            )
        elif (reason := find_objection(argument)) is not None:
            yield Problem(where, f"'{argument}' cannot be set: {reason}")


def check_excluded_arguments(kernel: Kernel, features: Iterable[Contents]) -> Iterator[Problem]:
    """What is left out must be there to be left out: a misspelt name would leave it in."""
    yield from check_duplicates(("kernel", "exclude"), kernel.exclude)
    words = (word for feature in features if isinstance(feature, Feature) for word in feature.kernel.command_line)
    given = sorted({word.partition("=")[0] for word in words})
    for index, name in enumerate(kernel.exclude):
        if name not in given:
            message = f"no feature gives the kernel an argument '{name}'"
            yield Problem(("kernel", "exclude", index), message, find_suggestion(name, given))


def check_disk(disk: Disk) -> Iterator[Problem]:
    """The parts fit on the disk, and firmware can read the ESP."""
    if disk.esp < ESP_MINIMUM:
        yield Problem(
            ("disk", "esp"),
            f"{disk.esp} is too small for the ESP; it needs {ESP_MINIMUM}",
            "firmware does not read a FAT32 file system with so few clusters",
        )
    if disk.slot < SLOT_MINIMUM:
        yield Problem(("disk", "slot"), f"{disk.slot} holds no root file system; a slot needs {SLOT_MINIMUM}")
    if disk.size < disk.minimum:
        yield Problem(
            ("disk", "size"),
            f"{disk.size} is too small: the partitions need {disk.minimum}",
            f"esp {disk.esp}, twice (slot {disk.slot}, verity {disk.verity}, signature 16K), "
            f"state_minimum {disk.state_minimum}, partition tables 4M",
        )


def check_root(root: Root) -> Iterator[Problem]:
    """lz4 has no levels, and the others have different ones."""
    if root.level is None:
        return
    name, last = ("lz4hc", 12) if root.compression is Compression.LZ4HC else ("zstd", 22)
    if not 1 <= root.level <= last:
        yield Problem(("root", "level"), f"{root.level} is no level of {name}; they are 1 to {last}")
    if root.compression is Compression.LZ4:
        yield Problem(("root", "level"), "lz4 has no levels", "remove it, or set compression: zstd or lz4hc")


def check_variables(variables: dict[str, str | int | float | bool]) -> Iterator[Problem]:
    """Templates write ``variables.NAME``."""
    for name in variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("variables", name), "a variable's name is letters, digits and '_'", on_key=True)


def check_container_uses(containers: Sequence[ContainerUse]) -> Iterator[Problem]:
    """Each container has one source and a name and ports of its own."""
    yield from check_duplicates(("containers",), [container.name for container in containers], inner="name")
    taken: list[tuple[str, Publish]] = []
    for index, container in enumerate(containers):
        here: Path = ("containers", index)
        sources = [key for key in IMAGE_KEYS if getattr(container, key) is not None]
        if not sources:
            yield Problem((*here, "name"), "the container has no image", f"set one of {', '.join(IMAGE_KEYS)}")
        if len(sources) > 1:
            yield Problem((*here, sources[1]), f"the container has two images: {sources[0]} is set as well")
        if container.keys and "image" not in sources:
            yield Problem((*here, "keys"), "only an image of a registry has a signature that can be looked for")
        if container.runtime is Runtime.CRI:
            for key in ("publish", "command"):
                if getattr(container, key):
                    yield Problem(
                        (*here, key), "nothing runs a container of runtime 'cri' but who asks for it by the CRI"
                    )
        yield from _check_arguments((*here, "command"), container.command)
        for number, text in enumerate(container.publish):
            where = (*here, "publish", number)
            try:
                publish = parse_publish(text)
            except NotAccepted as error:
                yield Problem(where, str(error), error.hint)
                continue
            # Rules of CNI's portmap are for the container's addresses, and it has one of IPv4 alone.
            if container.runtime in (Runtime.CONTAINERD, Runtime.SYSTEMD) and ":" in (publish.address or ""):
                message = f"a container of runtime '{container.runtime}' has IPv4 alone, so {text} would lead nowhere"
                yield Problem(where, message, "leave the address out, or name one of IPv4")
            other = next((name for name, known in taken if known.has_conflict_with(publish)), None)
            if other is not None:
                yield Problem(where, f"port {publish.host}/{publish.protocol} is already taken by '{other}'")
            taken.append((container.name, publish))


def check_duplicates(
    path: Path, values: Sequence[str], key: Callable[[str], str] = str, *, inner: str | None = None
) -> Iterator[Problem]:
    """Nothing is listed twice; ``inner`` is the key that holds the value if the elements are mappings."""
    seen = set()
    for index, value in enumerate(values):
        if key(value) in seen:
            where = (*path, index) if inner is None else (*path, index, inner)
            yield Problem(where, f"'{key(value)}' is listed twice")
        seen.add(key(value))


def _check_exclude(packages: Sequence[str], exclude: Sequence[str]) -> Iterator[Problem]:
    wanted = {parse_package_name(request) for request in packages}
    for index, name in enumerate(exclude):
        if name in wanted:
            yield Problem(("exclude", index), f"'{name}' is under 'packages' as well")


def _check_arguments(path: Path, arguments: Sequence[str]) -> Iterator[Problem]:
    """Arguments end up on one line of a unit."""
    for index, argument in enumerate(arguments):
        if any(ord(char) < 32 or ord(char) == 127 for char in argument):
            yield Problem((*path, index), "an argument cannot hold line breaks or control characters")
        elif not argument:
            yield Problem((*path, index), "an argument is empty", "leave it out, or write what was meant")
        elif path[-1:] == ("command",) and is_lost_by_podman(argument) and len(path) > 1:
            hint = "put the arguments into a script in the container"
            yield Problem((*path, index), f"'{argument}' cannot be handed to a container by its unit", hint)
