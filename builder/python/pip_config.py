"""Where wheels come from: what pip's own configuration says, so that nobody has to say it twice.

Source: pip's documentation, "Configuration": files for all users, for one user and for an environment, each overriding
the one before; ``PIP_CONFIG_FILE``; variables ``PIP_*`` override them all. Of a file the sections ``global`` and
``install`` count.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError

DEFAULT_INDEX = "https://pypi.org/simple"
SECTIONS = ("global", "install")
_YES = ("1", "yes", "true", "on", "y", "t")


@dataclass(frozen=True)
class PipConfig:
    """The part of pip's configuration that says where files are.

    Attributes:
        indexes: URLs of indexes, the main one first; empty where no index may be asked.
        find_links: directories, or URLs of pages with links.
        trusted_hosts: hosts whose certificate is not looked at.
        certificates: a file with certificates to trust, if not the usual ones.
        proxy: a proxy's URL.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    certificates: str = ""
    proxy: str = ""


def list_config_files(environ: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> list[Path]:
    """The files that pip reads, the weakest first."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    shared = [Path(part) / "pip" / "pip.conf" for part in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if part]
    files = [*shared, Path("/etc/pip.conf")]
    if home := environ.get("HOME"):
        base = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
        files += [Path(home) / ".pip" / "pip.conf", Path(base) / "pip" / "pip.conf"]
    files.append(prefix / "pip.conf")
    return [*files, Path(named)] if named else files


def read_pip_config(environ: Mapping[str, str], files: list[Path] | None = None) -> PipConfig:
    """What pip would use.

    Args:
        files: default: :func:`list_config_files`.

    Raises:
        InputError: a file cannot be read.
    """
    values: dict[str, str] = {}
    for path in list_config_files(environ) if files is None else files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise InputError(f"cannot read pip's configuration in {path}: {str(error).splitlines()[0]}") from error
        for section in SECTIONS:
            values |= dict(parser.items(section)) if parser.has_section(section) else {}
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            values[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    values = {name.replace("_", "-"): value for name, value in values.items()}
    indexes = (values.get("index-url") or DEFAULT_INDEX, *values.get("extra-index-url", "").split())
    return PipConfig(
        () if values.get("no-index", "").lower() in _YES else indexes,
        tuple(values.get("find-links", "").split()),
        tuple(values.get("trusted-host", "").split()),
        values.get("cert", ""),
        values.get("proxy", ""),
    )
