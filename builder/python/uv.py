"""uv, which resolves requirements for a machine that is not this one.

uv and not pip, because pip evaluates environment markers for the interpreter that it runs on. uv reads nothing of its
own configuration here: where indexes are, pip's says. What it answers is a lock file of PEP 751.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import Console
from builder.core.errors import CapabilityError, InputError, SourceError
from builder.python.pip_config import PipConfig
from builder.python.target import Target

_YANKED = re.compile(r"warning: `([^`=]+)==([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?")
_NO_WHEEL = re.compile(
    r"`?([A-Za-z0-9][\w.-]*)`?(?:==(\S+))? has no (?:usable )?wheels|Wheels are required for `([^`]+)`"
)
_NETWORK = re.compile(r"Failed to fetch|error sending request|Could not connect|dns error|Request failed", re.I)
_NO_ANSI = {"NO_COLOR": "1", "CLICOLOR": "0"}
OUTPUT = "pylock.environment.toml"


@dataclass(frozen=True)
class Yanked:
    """A file that was taken back by who published it."""

    name: str
    version: str
    reason: str


class IndexUnavailable(SourceError):
    """The index does not answer."""


class ResolveError(InputError):
    """There is no set of wheels that satisfies what is asked for.

    Attributes:
        without_wheel: the distribution that has no wheel for the target, if that is why.
        said: what uv said.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said)
        match = _NO_WHEEL.search(said)
        self.without_wheel = (match[1] or match[3]) if match else ""
        self.said = said


def find_uv() -> str:
    """The path of uv.

    Raises:
        CapabilityError: it is not there.
    """
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - only where something is resolved
    except ImportError:
        raise CapabilityError(
            "uv, which resolves Python requirements, is not installed", hint="pip install build-os brings it"
        ) from None
    try:
        return str(find_uv_bin())
    except FileNotFoundError as error:
        raise CapabilityError(
            f"uv is installed without its program: {error}", hint="pip install --force-reinstall uv"
        ) from None


def make_index_options(config: PipConfig, find_links: Sequence[Path]) -> list[str]:
    """The options that say where wheels are."""
    options = []
    if config.indexes:
        options += ["--default-index", config.indexes[0]]
        for extra in config.indexes[1:]:
            options += ["--index", extra]
        # As pip: the best version of all indexes.
        options += ["--index-strategy", "unsafe-best-match"] if len(config.indexes) > 1 else []
    else:
        options.append("--no-index")
    for place in (*map(str, find_links), *config.find_links):
        options += ["--find-links", place]
    for host in config.trusted_hosts:
        options += ["--allow-insecure-host", host]
    return options


def make_environment(config: PipConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What uv sees: the user's environment without uv's own settings."""
    variables = {
        name: value for name, value in environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV", "CONDA_"))
    }
    if config.certificates:
        variables["SSL_CERT_FILE"] = config.certificates
    if config.proxy:
        variables |= {"HTTP_PROXY": config.proxy, "HTTPS_PROXY": config.proxy}
    return variables | _NO_ANSI


@dataclass(frozen=True)
class Uv:
    """uv for one target.

    Attributes:
        cache: the directory where it keeps what indexes said.
    """

    target: Target
    config: PipConfig
    cache: Path
    console: Console

    def compile(
        self,
        requirements: str,
        constraints: str,
        find_links: Sequence[Path],
        scratch: Path,
        *,
        with_dependencies: bool = True,
        upgrade: Sequence[str] | None = (),
        any_platform: bool = False,
    ) -> tuple[str, list[Yanked]]:
        """Resolve requirements; returns a lock file's text, and which of its wheels are yanked.

        Args:
            scratch: an empty directory; an :data:`OUTPUT` in it has versions that are kept where they can be.
            upgrade: distributions whose version is not kept; ``None`` for all.
            any_platform: whether wheels of other platforms are listed as well.

        Raises:
            ResolveError: it cannot be done.
            IndexUnavailable: the index does not answer.
        """
        (scratch / "requirements.in").write_text(requirements, encoding="utf-8")
        (scratch / "constraints.in").write_text(constraints, encoding="utf-8")
        options = ["--constraints", "constraints.in"] if constraints else []
        options += [] if with_dependencies else ["--no-deps"]
        options += ["--upgrade"] if upgrade is None else [o for name in upgrade for o in ("--upgrade-package", name)]
        options += ["--universal"] if any_platform else ["--python-platform", self.target.uv_platform]
        said = self._run(
            scratch,
            *("pip", "compile", "requirements.in", "--output-file", OUTPUT, "--format", "pylock.toml"),
            *("--only-binary", ":all:", "--python-version", self.target.full_version, "--no-header", "--no-sources"),
            *options,
            *make_index_options(self.config, find_links),
        )
        yanked = [Yanked(match[1], match[2], match[3] or "") for match in _YANKED.finditer(said)]
        return (scratch / OUTPUT).read_text(encoding="utf-8"), yanked

    def export(self, lock: Path, extras: Sequence[str], scratch: Path) -> str:
        """A ``uv.lock`` as a lock file of PEP 751, without the project itself.

        Raises:
            ResolveError: it does not fit its project.
        """
        options = [option for extra in extras for option in ("--extra", extra)]
        self._run(
            scratch,
            *("export", "--frozen", "--no-emit-project", "--no-emit-workspace", "--no-dev", "--no-header"),
            *("--format", "pylock.toml", "--output-file", str(scratch / OUTPUT), "--project", str(lock.parent)),
            *options,
        )
        return (scratch / OUTPUT).read_text(encoding="utf-8")

    def _run(self, scratch: Path, *arguments: str) -> str:
        argv = [
            find_uv(),
            *arguments,
            *("--no-config", "--no-progress", "--color", "never", "--cache-dir", str(self.cache)),
            *("--no-python-downloads", "--python", sys.executable),
        ]
        with self.console.note_program("uv " + " ".join(arguments[:2])):
            done = subprocess.run(
                argv,
                cwd=scratch,
                env=make_environment(self.config, os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        for line in done.stderr.splitlines():
            self.console.log(line)
        if done.returncode:
            if _NETWORK.search(done.stderr):
                raise IndexUnavailable(
                    "the Python index does not answer",
                    details=[line for line in done.stderr.splitlines() if line.strip()][:12],
                    hint="pip's configuration says where the index is: 'pip config list' shows it",
                )
            raise ResolveError(done.stderr)
        return done.stderr
