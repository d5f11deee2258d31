"""The single values of a definition: sizes, names, versions, package requests.

Each is a type that pydantic checks where it stands, so a bad one is complained about together with everything
else that is wrong in the file, and its pattern reaches the JSON schema that editors use.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import core_schema

from builder.core.platform_devices import PLATFORMS
from builder.definition.bases import parse_base
from builder.products.catalogue import CONTAINER_PRODUCTS, SYSTEM_PRODUCTS
from firstboot.config.oci.reference import BadReference, parse_name, parse_repository
from firstboot.config.update_words import VERSION_PATTERN, VERSION_WORDS

MIB = 1 << 20
_UNITS = {"M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"([1-9][0-9]{0,6})([MGT])")


class NotAccepted(ValueError):
    """A value is refused; ``hint`` is shown below the message."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Size(int):
    """A number of bytes, always whole MiB. Written ``512M``, ``2G`` or ``1T``; ``str()`` writes it so."""

    @classmethod
    def parse(cls, value: Any) -> Size:
        """Read ``512M``.

        Raises:
            NotAccepted: it is anything else.
        """
        if isinstance(value, cls):
            return value
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise NotAccepted("a size is a whole number and a unit, like 512M or 2G", "M, G and T are powers of 1024")
        return cls(int(match[1]) << _UNITS[match[2]])

    def __str__(self) -> str:
        for unit, shift in reversed(_UNITS.items()):
            if self and self % (1 << shift) == 0:
                return f"{self >> shift}{unit}"
        return f"{int(self)} bytes"

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["512M", "2G"]}


def make_text_type(pattern: str, message: str, hint: str | None = None) -> tuple[Any, Any]:
    """A validator and the schema for text that must match a pattern as a whole."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise NotAccepted(message, hint)
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})


def _version(value: Any) -> Any:
    # ``version: 1.10`` is the number 1.1 to every YAML reader; converting it back would lose the zero.
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise NotAccepted("a version is text, and this reads as a number", 'put it in quotes: version: "1.0"')
    return value


_name_check, _name_schema = make_text_type(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    "a name is lower-case letters, digits and inner '-', at most 63 of them, like demo or web-1",
)


def require_image_name(value: str) -> str:
    """The name itself.

    Raises:
        NotAccepted: it is none.
    """
    name: str = _name_check.func(value)
    return name


ImageName = Annotated[str, _name_check, _name_schema]
"""The name of an image or container. ``_`` separates it from the version in file names (UAPI.10)."""

_part_check, _part_schema = make_text_type(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "this names a directory or file in the search path: letters, digits, '.', '_' and '-' only",
)
PartName = Annotated[str, _part_check, _part_schema]
"""The name of a feature, an overlay or a directory of units."""

_version_check, _version_schema = make_text_type(
    VERSION_PATTERN,
    VERSION_WORDS,
    "'_' separates name and version in file names, and '+' the boot counter",
)
Version = Annotated[str, BeforeValidator(_version), _version_check, _version_schema]
"""A version as UAPI.10 compares it: ``~`` sorts lower, ``^`` higher."""

_PACKAGE = r"[a-z0-9][a-z0-9+.-]+"
_package_check, _package_schema = make_text_type(
    _PACKAGE, "a package's name is lower-case letters, digits, '+', '-' and '.', at least two of them"
)
PackageName = Annotated[str, _package_check, _package_schema]
"""The name of a Debian package (Debian policy 5.6.1)."""

_request_check, _request_schema = make_text_type(
    rf"{_PACKAGE}(?:=[A-Za-z0-9.+~:-]+)?", "write a package as its name, or as name=version"
)
PackageRequest = Annotated[str, _request_check, _request_schema]
"""``name`` or ``name=version``."""

_credential_check, _credential_schema = make_text_type(
    r"[A-Za-z0-9._~@*-]{1,255}", "a credential's name is letters, digits, '.', '_', '-', '~' and '@'; '*' is any text"
)
CredentialGlob = Annotated[str, _credential_check, _credential_schema]
"""The name of a credential, or a glob of such names."""

_suite_check, _suite_schema = make_text_type(
    r"[a-z][a-z0-9.-]*", "a suite is a Debian release's name in lower case, like trixie"
)
Suite = Annotated[str, _suite_check, _suite_schema]
"""A suite of the archive."""

UNIT_SUFFIXES = (
    "service",
    "socket",
    "target",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "device",
)
"""Units that can be files (systemd.unit(5)); scopes cannot."""

_unit_check, _unit_schema = make_text_type(
    rf"[A-Za-z0-9:_.@\\-]{{1,230}}\.(?:{'|'.join(UNIT_SUFFIXES)})",
    "this is no unit's name",
    f"a unit's name ends in one of .{', .'.join(UNIT_SUFFIXES)}",
)
UnitName = Annotated[str, _unit_check, _unit_schema]
"""A unit's full name, as systemctl prints it."""

_module_check, _module_schema = make_text_type(r"[A-Za-z0-9_-]+", "a module is named without path and '.ko'")
ModuleName = Annotated[str, _module_check, _module_schema]
"""A kernel module's name."""

_path_check, _path_schema = make_text_type(
    r"[^/\x00-\x1f][^\x00-\x1f]*",
    "a path is written relative to this file, so that the directory can be cloned anywhere",
)
RelativePath = Annotated[str, _path_check, _path_schema]
"""A path relative to the file that names it."""


_dotted_check, _dotted_schema = make_text_type(
    r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", "a module is named as Python imports it, like shop.views"
)
DottedName = Annotated[str, _dotted_check, _dotted_schema]
"""The name of a Python module."""


def _file_or_many(value: Any) -> Any:
    match value:
        case list() if all(isinstance(item, str) for item in value):
            return tuple(value)
        case str() if value and not value.startswith("/") and value.isprintable():
            return value
        case str():
            raise NotAccepted("a path is written relative to this file, so that the directory can be cloned anywhere")
        case _:
            raise NotAccepted("write a list of requirements, or the name of a requirements file")


Requirements = Annotated[
    str | tuple[str, ...],
    PlainValidator(_file_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Requirements of a Python environment, or the file that has them."""


def _reference(value: str) -> str:
    try:
        return str(parse_name(value))
    except BadReference as error:
        raise NotAccepted(f"this names no image: {error}", "like docker.io/library/nginx:1.29") from None


ImageReference = Annotated[str, AfterValidator(_reference), WithJsonSchema({"type": "string"})]
"""The name of an image in a registry, in full: with the host, and with tag or digest."""


def _base(value: str) -> str:
    try:
        parse_base(value)
    except BadReference as error:
        raise NotAccepted(
            str(error),
            "an image is REGISTRY/NAME:TAG, oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE or NAME.yaml",
        ) from None
    except ValueError as error:
        raise NotAccepted(str(error)) from None
    return value


BaseName = Annotated[str, AfterValidator(_base), WithJsonSchema({"type": "string"})]
"""The image that a container is made on."""


def _prefix(value: str) -> str:
    if value == "*":
        return value
    try:
        repository = parse_repository(value if "/" in value else f"{value}/x")
    except BadReference as error:
        raise NotAccepted(f"this names no registry: {error}", "like registry.example.org/team, or '*'") from None
    if repository.tag is not None or repository.digest is not None:
        raise NotAccepted("images are signed by repository, not by tag or digest", "leave it out")
    if "/" not in value and repository.registry != value:
        hint = f"{repository.registry}/library/{value} is what Docker Hub calls {value}"
        raise NotAccepted("this names no registry: it has no dot and no port", hint)
    return repository.name if "/" in value else repository.registry


RegistryPrefix = Annotated[str, AfterValidator(_prefix), WithJsonSchema({"type": "string"})]
"""A registry, alone or with the beginning of a repository's name; ``*`` is all others."""

_user_check, _user_schema = make_text_type(
    r"(?:[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})(?::(?:[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}))?",
    "a user is a name or number, alone or as user:group",
)
User = Annotated[str, _user_check, _user_schema]
"""Who a container's program runs as (OCI image-spec, ``config.User``)."""

_absolute_check, _absolute_schema = make_text_type(
    r"/[^\x00-\x1f]*", "this is a path inside the container and starts with '/'"
)
AbsolutePath = Annotated[str, _absolute_check, _absolute_schema]
"""An absolute path inside a container."""

_image_path_check, _image_path_schema = make_text_type(
    r"/[^\x00-\x1f]*", "this is a path in the image and starts with '/'"
)
ImagePath = Annotated[str, _image_path_check, _image_path_schema]
"""An absolute path in a system's or a container's root."""

_glob_check, _glob_schema = make_text_type(
    r"/[^\x00-\x1f]*", "this is a glob over paths of the image and starts with '/'"
)
PathGlob = Annotated[str, _glob_check, _glob_schema]
"""A pattern of absolute paths (fnmatch(3) without FNM_PATHNAME)."""

_port_check, _port_schema = make_text_type(
    r"[1-9][0-9]{0,4}(?:/(?:tcp|udp|sctp))?",
    "a port is a number, or number/tcp or number/udp",
    "put it in quotes",
)
ExposedPort = Annotated[str, _port_check, _port_schema]
"""``8080`` or ``53/udp`` (OCI image-spec, ``config.ExposedPorts``)."""

Scalar = str | int | float | bool


def _scalar(value: Any) -> Scalar:
    if not isinstance(value, str | int | float | bool):
        raise NotAccepted("a variable is text, a number, or true or false")
    return value


Variable = Annotated[Scalar, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""A value for templates."""


def _one_or_many(value: Any) -> Any:
    match value:
        case str():
            return (value,)
        case list():
            return tuple(value)
        case _:
            return value


Mirrors = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""One URL or a list of them."""


class _ProductNames:
    """One of the names in the catalogue of products."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(SYSTEM_PRODUCTS))


ProductName = Annotated[str, _ProductNames]
"""What a system can be written as."""


class _PlatformNames:
    """One of the platforms of which it is known what devices they have."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(PLATFORMS))


PlatformName = Annotated[str, _PlatformNames]
"""A platform, by Ignition's name."""


class _ContainerProductNames:
    """One of the names in the catalogue that are for containers."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(CONTAINER_PRODUCTS))


ContainerProductName = Annotated[str, _ContainerProductNames]
"""What a container can be written as."""
