"""Python that a config starts or writes, and the modules that the image does not have."""

from __future__ import annotations

import ast
import io
import posixpath
import re
import shlex
import zipfile
from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage, find_hint
from builder.provisioning.checks.own_texts import find_text, make_warning
from builder.provisioning.checks.units import EXEC
from firstboot.config.resource import BadResource, inline_bytes
from firstboot.config.text import Path, Problem

PACKAGES = "/usr/lib/python3/dist-packages"
ENVIRONMENTS = "/usr/lib/python-environments"
_PYTHON = re.compile(r"(?:/usr)?/bin/(?:env +)?python3(?:\.\d+)?")
_VERSION = re.compile(r"python3\.\d+")
# Modules that are inside the interpreter or in lib-dynload and have no file of their name: Python's own C modules.
# Those that begin with an underscore are taken for there.
COMPILED = frozenset(
    re.findall(
        r"\w+",
        "array atexit binascii builtins cmath errno faulthandler fcntl gc grp itertools marshal math mmap posix pwd "
        "pyexpat readline resource select sys syslog termios time unicodedata zlib",
    )
)


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """A warning for each module that would not be found."""
    if not image.has("/usr/bin/python3"):
        return  # that there is no Python is said of the unit that starts it
    modules = _Modules(image)
    if modules.may_be_elsewhere:
        return
    for unit in image.own_units:
        # Where python3 -m looks first.
        beside = tuple(image.locate(value) for _, value in unit.list_values("Service", "WorkingDirectory"))
        for setting, value in unit.list_values("Service", *EXEC):
            name = _started_module(value)
            if name is not None and not modules.has(name, beside):
                message, hint = modules.describe_missing("starts", name)
                yield unit.make_warning(setting, name, message, hint)
    for index, file in enumerate(image.config.storage.files):
        text = find_text(file)
        if text is not None and (file.path.endswith(".py") or _has_python_line(text)):
            at: Path = ("storage", "files", index, "contents")
            beside = (posixpath.dirname(image.locate(file.path)),)
            for name, line in _imports(text).items():
                if not modules.has(name, beside):
                    message, hint = modules.describe_missing("imports", name)
                    # The line is drawn: one that says more than what is imported may hold what nobody should see.
                    alone = ";" not in text.split("\n")[line - 1]
                    yield make_warning(at, text, line if alone else 0, f"{file.path}: {message}", hint)


class _Modules:
    """Which modules Python will find.

    Attributes:
        may_be_elsewhere: a unit of the config has Python look into a place that we do not know.
    """

    def __init__(self, image: ConfiguredImage) -> None:
        self._image = image
        root = image.root
        versions = [name for name in root.list_names("/usr/lib") if _VERSION.fullmatch(name)]
        own = [f"/usr/lib/{name}" for name in versions]
        local = [f"/usr/local/lib/{name}/dist-packages" for name in versions]
        wheels = [f"{directory}/dist-packages" for directory in own]
        # Who starts a script of the config is not known: it may be an environment's interpreter.
        places = [f"{ENVIRONMENTS}/{name}/lib" for name in root.list_names(ENVIRONMENTS)]
        wheels += [f"{directory}/{name}/site-packages" for directory in places for name in root.list_names(directory)]
        self._directories = (*own, *(f"{directory}/lib-dynload" for directory in own), PACKAGES, *local, *wheels)
        self.known = {
            stem
            for directory in self._directories
            for name in root.list_names(directory)
            if (stem := name.partition(".")[0])
        } - {"__pycache__"}
        self.may_be_elsewhere = False
        for unit in image.own_units:
            for _, value in unit.list_values("Service", "Environment"):
                for path in re.findall(r"PYTHONPATH=([^\s\"']+)", value):
                    self._take(path)

    def _take(self, path: str) -> None:
        """Know what is in a wheel of the config (PEP 427: it is a ZIP archive)."""
        files = [file for file in self._image.config.storage.files if file.path == path]
        try:
            names = zipfile.ZipFile(io.BytesIO(inline_bytes(files[0].contents))).namelist()
        except (IndexError, AssertionError, BadResource, zipfile.BadZipFile):
            self.may_be_elsewhere = True
            return
        self.known |= {name.partition("/")[0].partition(".")[0] for name in names}

    def has(self, name: str, beside: tuple[str, ...]) -> bool:
        """Whether there will be such a top-level module, also in one of the directories ``beside``."""
        top = name.partition(".")[0]
        if top in self.known or top in COMPILED or top.startswith("_"):
            return True
        return any(
            self._image.has(f"{directory}/{top}{end}") for directory in (*beside, PACKAGES) for end in ("", ".py")
        )

    def describe_missing(self, verb: str, name: str) -> tuple[str, str]:
        """Message and hint about one that will not be there."""
        top = name.partition(".")[0]
        hint = find_hint(top, self.known) or f"a package like python3-{top.replace('_', '-').lower()} may have it"
        return f"{verb} the Python module '{top}', which is not in the image", hint


def _started_module(value: str) -> str | None:
    """``MODULE`` of ``python3 ... -m MODULE``."""
    try:
        words = shlex.split(value.lstrip("@-:+!|"))
    except ValueError:
        return None
    if not words or not re.fullmatch(r"(?:/usr/bin/|/bin/)?python3(?:\.\d+)?", words[0]) or "-m" not in words:
        return None
    after = words[words.index("-m") + 1 :]
    return after[0] if after and re.fullmatch(r"[\w.]+", after[0]) else None


def _has_python_line(text: str) -> bool:
    first = text.partition("\n")[0]
    return first.startswith("#!") and _PYTHON.match(first[2:].strip()) is not None


def _imports(text: str) -> dict[str, int]:
    """Modules that are imported whenever the script runs, with their lines: not those in a function or a ``try``."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    imports: dict[str, int] = {}
    for statement in body:
        if isinstance(statement, ast.Import):
            imports |= dict.fromkeys((alias.name for alias in statement.names), statement.lineno)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            imports[statement.module] = statement.lineno
    return imports
