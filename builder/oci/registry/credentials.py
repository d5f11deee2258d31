"""Names and passwords for registries, from where podman, skopeo and Docker keep them (containers-auth.json(5)).

A file that the command line or ``$REGISTRY_AUTH_FILE`` names is the only one that is read. Else the first file that
has something for the image counts: ``${XDG_RUNTIME_DIR}/containers/auth.json``, ``~/.config/containers/auth.json``,
``~/.docker/config.json``. Helpers (``docker-credential-NAME``) are the user's own programs, found by ``$PATH``: they
open the user's keyrings, which no program of the tools tree could.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError, SourceError
from builder.core.files import read_bounded
from firstboot.config.oci.reference import DEFAULT_REGISTRY, Reference

AUTH_FILE = "REGISTRY_AUTH_FILE"
DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
IDENTITY_USER = "<token>"
MAX_FILE = 16 << 20
HELPER_SECONDS = 60.0
FILES_ONLY = "containers-auth.json"  # in registries.conf: no helper, but the files
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Credentials:
    """What a registry is shown.

    Attributes:
        identity_token: an OAuth 2 refresh token, in place of a password.
        registry_token: a bearer token that the registry takes as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"

    def encode_basic(self) -> str:
        """The value of a header ``Authorization`` (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def list_auth_files(environment: Mapping[str, str], chosen: Path | None = None) -> list[Path]:
    """The files that may hold something, in the order in which they are asked."""
    if chosen is not None:
        return [chosen]
    if environment.get(AUTH_FILE):
        return [Path(environment[AUTH_FILE])]
    home = Path(environment.get("HOME") or Path.home())
    runtime = environment.get("XDG_RUNTIME_DIR")
    first = Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    return [first / "auth.json", config / "containers/auth.json", docker / "config.json"]


def find_credentials(
    reference: Reference,
    environment: Mapping[str, str],
    *,
    authfile: Path | None = None,
    helpers: Sequence[str] = (),
) -> Credentials | None:
    """What there is for a repository or its registry; ``None`` if there is nothing.

    Args:
        authfile: the only file to read.
        helpers: of ``credential-helpers`` in registries.conf, asked before the files' own.

    Raises:
        InputError: a file that should be there is not, or is no such file.
        SourceError: a helper failed.
    """
    for name in helpers:
        if name != FILES_ONLY and (credentials := ask_helper(name, reference.registry, environment)) is not None:
            return credentials
    for path in list_auth_files(environment, authfile):
        data = _read(path, required=authfile is not None or bool(environment.get(AUTH_FILE)))
        if data is None:
            continue
        file = parse_auth_file(data, str(path))
        helper = file.find_helper(reference)
        if helper is not None:
            server = DOCKER_HUB_KEYS[0] if reference.registry == DEFAULT_REGISTRY else reference.registry
            if (credentials := ask_helper(helper, server, environment)) is not None:
                return credentials
        if (credentials := file.find(reference)) is not None:
            return credentials
    return None


def _read(path: Path, *, required: bool) -> bytes | None:
    try:
        return read_bounded(path, MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise InputError(f"there is no file {path} with credentials") from None
        return None
    except OSError as error:
        if not required and isinstance(error, PermissionError):
            return None  # another user's runtime directory
        raise InputError(f"cannot read the credentials in {path}: {error.strerror}") from error


@dataclass(frozen=True)
class AuthFile:
    """The part of a file that matters.

    Attributes:
        entries: by host, or by host and the beginning of repositories, normalised.
        helpers: by host.
        store: the helper for all other hosts.
    """

    entries: Mapping[str, Credentials]
    helpers: Mapping[str, str]
    store: str | None = None

    def find(self, reference: Reference) -> Credentials | None:
        """The entry that says most about a repository."""
        for key in _list_keys(reference):
            if key in self.entries:
                return self.entries[key]
        return None

    def find_helper(self, reference: Reference) -> str | None:
        """The program that knows this registry."""
        keys = [reference.registry, *(DOCKER_HUB_KEYS if reference.registry == DEFAULT_REGISTRY else ())]
        return next((self.helpers[key] for key in keys if key in self.helpers), self.store)


def _list_keys(reference: Reference) -> Iterator[str]:
    """``HOST/a/b``, ``HOST/a``, ``HOST``."""
    parts = reference.name.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])


def parse_auth_file(data: bytes, origin: str) -> AuthFile:
    """auth.json, or Docker's config.json.

    Raises:
        InputError: it is none; ``origin`` names it. What is in it is never shown.
    """
    try:
        document = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise InputError(f"{origin} is no JSON, so no credentials can be read from it") from None
    if not isinstance(document, dict):
        raise InputError(f"{origin} is no file with credentials: it is no JSON object")
    auths = document.get("auths") or {}
    helpers = document.get("credHelpers") or {}
    store = document.get("credsStore") or None
    if not isinstance(auths, dict) or not isinstance(helpers, dict) or not isinstance(store, str | None):
        raise InputError(f"{origin} is no file with credentials: auths, credHelpers or credsStore is of another form")
    entries: dict[str, Credentials] = {}
    for key, value in auths.items():
        credentials = _parse_entry(value, f"{origin}: auths.{_clean(key)}")
        if credentials is not None:
            entries.setdefault(normalise_key(key), credentials)
    names = {}
    for key, value in helpers.items():
        if not isinstance(value, str):
            raise InputError(f"{origin}: credHelpers.{_clean(key)} is no name of a helper")
        if value:
            names[key] = value
    return AuthFile(entries, names, store)


def normalise_key(key: str) -> str:
    """A key of ``auths``: Docker wrote URLs with a path where now hosts stand."""
    if key in DOCKER_HUB_KEYS:
        return DEFAULT_REGISTRY
    scheme, mark, rest = key.partition("://")
    if not mark or scheme not in ("http", "https"):
        return key.rstrip("/")
    host, _, path = rest.partition("/")
    path = "" if path.strip("/") in ("v1", "v2", "") else path.rstrip("/")
    return f"{host}/{path}" if path else host


def _parse_entry(value: object, where: str) -> Credentials | None:
    if not isinstance(value, dict):
        raise InputError(f"{where} is no JSON object")
    texts = {key: value.get(key) or "" for key in ("auth", "username", "password", "identitytoken", "registrytoken")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{where} has a value that is no text")
    username, password = texts["username"], texts["password"]
    if texts["auth"]:
        try:
            decoded = base64.b64decode(texts["auth"], validate=True).decode()
        except (binascii.Error, ValueError):
            raise InputError(f"{where} has an auth that is no base64 of NAME:PASSWORD") from None
        username, colon, password = decoded.partition(":")
        if not colon:
            raise InputError(f"{where} has an auth that is no base64 of NAME:PASSWORD")
        password = password.rstrip("\0")
    if not (username or texts["identitytoken"] or texts["registrytoken"]):
        return None  # Docker leaves {} where a helper has it
    for text in (username, password, texts["identitytoken"], texts["registrytoken"]):
        if any(char in text for char in "\r\n\0"):
            raise InputError(f"{where} has a line break in a value")
    return Credentials(username, password, texts["identitytoken"], texts["registrytoken"])


def ask_helper(name: str, server: str, environment: Mapping[str, str]) -> Credentials | None:
    """What ``docker-credential-NAME get`` knows of a server (docker-credential-helpers, "Development").

    Raises:
        InputError: the name is none, or there is no such program.
        SourceError: it failed, or said what it should not.
    """
    if not _HELPER.fullmatch(name):
        raise InputError(f"{_clean(name)!r} is no name of a credential helper")
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=f"{server}\n".encode(),
            capture_output=True,
            timeout=HELPER_SECONDS,
            check=False,
            env=dict(environment),
        )
    except FileNotFoundError:
        raise InputError(
            f"{program} is not installed, and an auth file wants it for {server}",
            hint="install it, or give another file by --authfile or REGISTRY_AUTH_FILE",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{program} does not answer: {error}") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        if "credentials not found" in said:
            return None
        reason = said or done.stderr.decode("utf-8", "replace").strip()
        raise SourceError(f"{program} has no credentials for {server}", details=[_clean(reason)] if reason else [])
    return parse_helper_answer(done.stdout, program)


def parse_helper_answer(data: bytes, program: str) -> Credentials | None:
    """``{"ServerURL": ..., "Username": ..., "Secret": ...}``.

    Raises:
        SourceError: it is something else. What it is is not shown.
    """
    try:
        answer = json.loads(data)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise SourceError(f"{program} answered something that is no credentials") from None
    if not isinstance(username, str) or not isinstance(secret, str) or any(c in username + secret for c in "\r\n\0"):
        raise SourceError(f"{program} answered something that is no credentials")
    if username == IDENTITY_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret) if username or secret else None


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:200])
