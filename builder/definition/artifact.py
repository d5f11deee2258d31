"""What a definition says of an artifact: a program, file or archive that is no Debian package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from builder.core.architecture import ARCHITECTURES, Arch
from builder.definition.scalars import ImageName, ImagePath, NotAccepted, RelativePath, User, Version
from firstboot.config.artifact import FORM, find_parts
from firstboot.config.located import Path, Problem

REGISTRY = "oci://"
# Directories whose files are programs by custom (hier(7)); what lies there is to be run.
PROGRAMS = ("bin", "sbin", "libexec")
# A machine's kernel, or its first moments, put something else there.
EMPTY_AT_RUN_TIME = ("/proc", "/sys", "/dev", "/run", "/tmp")
_ARCHITECTURES = " or ".join(f"`{arch}`" for arch in ARCHITECTURES)


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise NotAccepted("a sha256 is 64 hexadecimal digits, in lower case", "'sha256sum FILE' prints it")
    return value


def _text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise NotAccepted("a sha256 is text, and this reads as a number", "put it in quotes")
    return value


Sha256 = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_sha256),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class ArtifactSignature(_Model):
    """Who must have signed an artifact."""

    key: RelativePath = Field(
        description="The file with the public key, relative to this file: PEM (cosign, openssl), minisign or OpenPGP."
    )
    url: str | None = Field(
        None, description="Where the signature is. Default: the artifact's URL with `.sig`, `.minisig` or `.asc`."
    )
    file: RelativePath | None = Field(None, description="A file with the signature, relative to this file.")


class ArchiveContents(_Model):
    """What of an archive is placed."""

    strip: int = Field(0, ge=0, le=32, description="How many leading directories of each name are dropped.")
    select: tuple[str, ...] = Field(
        (), description="Names or globs of what is placed, after `strip`; `*` crosses `/`. Default: everything."
    )


class Artifact(_Model):
    """A program, file or archive that is no Debian package: by hash, like everything else."""

    name: ImageName = Field(description="What it is called in the lock, in messages and in the bill of materials.")
    version: Version | None = Field(None, description="Its version, for the bill of materials.")
    arch: Arch | None = Field(None, description=f"Only in images of this architecture: {_ARCHITECTURES}.")
    url: str | None = Field(
        None, description="Where it is: `https://...`, or `oci://HOST/NAME:TAG` in a registry. This or `file`."
    )
    file: RelativePath | None = Field(None, description="A file, relative to this one. This or `url`.")
    sha256: Sha256 | None = Field(
        None, description="Its hash. Required with `https://`; the others are locked without it."
    )
    path: ImagePath = Field(description="Where it is placed; of an archive, the directory.")
    mode: int | None = Field(
        None, ge=0, le=0o777, description="Permissions. Default: `0755` below `bin`, `sbin`, `libexec`; else `0644`."
    )
    owner: User = Field("root", description="`USER` or `USER:GROUP`, by name or number.")
    unpack: ArchiveContents | None = Field(
        None, description="It is an archive (tar, also compressed, or zip): `{strip: N, select: [...]}`, or `{}`."
    )
    signature: ArtifactSignature | None = Field(None, description="Who must have signed it.")


def choose_mode(path: str, mode: int | None) -> int:
    """The permissions of a file that is placed at ``path``."""
    if mode is not None:
        return mode
    return 0o755 if any(part in PROGRAMS for part in path.split("/")[1:-1]) else 0o644


def check_artifacts(artifacts: Sequence[Artifact]) -> Iterator[Problem]:
    """All that can be said about artifacts without looking at files."""
    for index, artifact in enumerate(artifacts):
        here: Path = ("artifacts", index)
        beside = [
            other for other in artifacts[:index] if other.arch == artifact.arch or None in (other.arch, artifact.arch)
        ]
        if any(other.name == artifact.name for other in beside):
            yield Problem((*here, "name"), f"'{artifact.name}' is listed twice")
        elif artifact.unpack is None:
            for other in beside:
                if other.unpack is None and other.path == artifact.path:
                    yield Problem((*here, "path"), f"'{other.name}' is placed at {artifact.path} as well")
        yield from _check_source(artifact, here)
        yield from _check_place(artifact, here)
        if artifact.signature is not None:
            yield from _check_signature(artifact, artifact.signature, (*here, "signature"))


def _check_source(artifact: Artifact, here: Path) -> Iterator[Problem]:
    if artifact.url is None and artifact.file is None:
        yield Problem((*here, "name"), "nothing says where the artifact is", "set url, or file")
    elif artifact.url is not None and artifact.file is not None:
        yield Problem((*here, "file"), "the artifact is in two places: url is set as well")
    elif artifact.url is not None:
        if not artifact.url.startswith(REGISTRY):
            yield from _check_url(artifact.url, (*here, "url"))
        elif find_parts(artifact.url) is None:
            yield Problem((*here, "url"), f"an artifact in a registry is named {FORM}")
        if artifact.sha256 is None and not artifact.url.startswith(REGISTRY):
            hint = "'sha256sum FILE' prints it; take it from where the file is announced, not from where it lies"
            yield Problem((*here, "url"), "what a URL leads to is only used by its hash, and sha256 is missing", hint)


def _check_url(url: str, where: Path) -> Iterator[Problem]:
    if not _is_web(url):
        yield Problem(where, "this is no URL that can be fetched; they start with https://, http:// or oci://")
    elif "@" in urlsplit(url).netloc:
        yield Problem(where, "a URL here cannot hold a password: everybody can read a definition")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and re.search(r"\s", url) is None


def _check_place(artifact: Artifact, here: Path) -> Iterator[Problem]:
    where = (*here, "path")
    path = artifact.path
    if ".." in path.split("/") or "//" in path:
        yield Problem(where, "a path has no '..' and no empty part")
    elif artifact.unpack is None and path.endswith("/"):
        yield Problem(where, "this is a directory, and the artifact is one file", "write the file's whole path")
    elif any(path == place or path.startswith(f"{place}/") for place in EMPTY_AT_RUN_TIME):
        yield Problem(where, f"a running machine does not show what its image has below /{path.split('/')[1]}")
    elif path == "/" and artifact.unpack is None:
        yield Problem(where, "this is the root of the image", "write the file's whole path")
    if artifact.unpack is not None:
        if artifact.mode is not None:
            hint = "what an archive brings keeps its permissions, without setuid bits"
            yield Problem((*here, "mode"), "an archive's files have modes of their own", hint)
        for number, glob in enumerate(artifact.unpack.select):
            if not glob or glob.startswith("/"):
                yield Problem(
                    (*here, "unpack", "select", number), "names in an archive are relative, like bin/tool or share/*"
                )


def _check_signature(artifact: Artifact, signature: ArtifactSignature, here: Path) -> Iterator[Problem]:
    if signature.url is not None and signature.file is not None:
        yield Problem((*here, "file"), "the signature is in two places: url is set as well")
    elif signature.url is not None:
        yield from _check_url(signature.url, (*here, "url"))
    elif signature.file is None and (artifact.url is None or artifact.url.startswith(REGISTRY)):
        yield Problem((*here, "key"), "nothing says where the signature is", "set signature.file, or signature.url")
