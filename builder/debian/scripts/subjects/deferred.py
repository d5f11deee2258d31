"""Programs of packages that make an index or compile something: they run, when all packages are in, over a copy of
what they read (:mod:`builder.debian.handlers.programs`). What a script does after such a call must not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from builder.debian.scripts.effects import Does
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.target_system import NotModelled

LIB = "{lib}"  # stands for /usr/lib/TRIPLET
LOCALES = ("/usr/lib/locale", f"{LIB}/gconv")
PERL = (*LOCALES, "/usr/share/perl", "/usr/share/perl5", f"{LIB}/perl-base", f"{LIB}/perl", f"{LIB}/perl5", "/etc/perl")
DICTIONARIES = (
    *PERL, "/etc/dictionaries-common", "/usr/lib/aspell", "/usr/lib/ispell", "/usr/share/aspell", "/usr/share/dict",
    "/usr/share/dictionaries-common", "/usr/share/hunspell", "/usr/share/ispell", "/usr/share/myspell",
    "/var/cache/dictionaries-common", "/var/lib/aspell", "/var/lib/dictionaries-common", "/var/lib/ispell",
)  # fmt: skip
DICTIONARIES_WRITTEN = (
    "/etc/dictionaries-common", "/usr/lib/aspell", "/usr/lib/ispell", "/usr/share/dict",
    "/var/cache/dictionaries-common", "/var/lib/aspell", "/var/lib/ispell",
)  # fmt: skip
ASPELL = ("sh", "basename", "zcat", "gzip", "precat", "prezip-bin", "aspell")
ISPELL = ("sh", "ln", "mktemp", "rm", "zcat", "gzip", "buildhash", "ispell")


@dataclass(frozen=True)
class Deferred:
    """One program.

    Attributes:
        reads: what it reads below these paths, besides its arguments that are paths.
        writes: what is taken over; empty for "below its arguments".
        starts: programs that it starts itself.
        whenever: something is in this directory, it runs, called or not: a trigger of its package does that.
        arguments: that it is run with, whatever a script gave; ``None`` for the script's.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    arguments: tuple[str, ...] | None = None
    whenever: str = ""


PYTHON = (*LOCALES, "/usr/lib/python3", "/usr/lib/python3.13")
EMACS = (*LOCALES, "/usr/share/emacs", "/usr/lib/emacs", "/etc/emacs", "/usr/share/emacsen-common",
         "/usr/share/dictionaries-common/site-elisp")  # fmt: skip

DEFERRED = {
    "python3": Deferred(PYTHON, ("/usr/lib/python3/dist-packages/twisted/plugins",)),
    "update-cracklib": Deferred(
        (
            *LOCALES,
            "/etc/cracklib",
            "/etc/magic",
            "/usr/lib/file",
            "/usr/share/cracklib",
            "/usr/share/dict",
            "/usr/share/misc",
            "/var/cache/cracklib",
        ),
        ("/var/cache/cracklib",),
        ("sh", "install", "find", "file", "grep", "cracklib-format", "cracklib-packer", "gzip", "tr", "env", "sort"),
        (),
    ),
    "dconf": Deferred((*LOCALES, "/etc/dconf"), ("/etc/dconf/db",)),
    "libgvc6-config-update": Deferred((*LOCALES, f"{LIB}/graphviz"), (f"{LIB}/graphviz",)),
    "dictdconfig": Deferred((*PERL, "/etc/dictd", "/usr/share/dictd", "/var/lib/dictd"), ("/var/lib/dictd",)),
    "gnome-menus-blacklist": Deferred(
        (*PYTHON, "/etc/gnome", "/usr/share/applications", "/usr/share/gnome/applications"),
        ("/usr/share/gnome/applications",),
    ),
    "update-info-dir": Deferred(
        ("/usr/share/info",),
        ("/usr/share/info",),
        ("sh", "cp", "rm", "find", "install-info", "gzip", "zcat"),
        (),
        whenever="/usr/share/info",
    ),
    "update-mime": Deferred(
        (*PERL, "/etc/mailcap", "/etc/mailcap.order", "/usr/lib/mime", "/usr/share/applications"),
        ("/etc",),
        arguments=(),
        whenever="/usr/lib/mime/packages",
    ),
    "emacs": Deferred(EMACS, ("/usr/share/emacs/site-lisp",)),
    "mkfontscale": Deferred(("/usr/share/fonts/X11/encodings",)),
    "update-dictcommon-aspell": Deferred(
        DICTIONARIES, DICTIONARIES_WRITTEN, (*ASPELL, "aspell-autobuildhash"), arguments=()
    ),
    "update-dictcommon-hunspell": Deferred(DICTIONARIES, DICTIONARIES_WRITTEN, arguments=()),
    "update-default-wordlist": Deferred(DICTIONARIES, DICTIONARIES_WRITTEN, ("sh", "ln"), ("--triggered",)),
    "update-default-ispell": Deferred(
        DICTIONARIES, DICTIONARIES_WRITTEN, (*ISPELL, "ispell-autobuildhash"), ("--triggered",)
    ),
    "aspell-autobuildhash": Deferred(DICTIONARIES, DICTIONARIES_WRITTEN, ASPELL, ("--triggered",)),
    "ispell-autobuildhash": Deferred(DICTIONARIES, DICTIONARIES_WRITTEN, ISPELL, ("--triggered",)),
}


def _defer(name: str) -> Callable[[Shell, list[str]], Status]:
    def run(shell: Shell, arguments: list[str]) -> Status:
        program = shell.find_program(name)
        if program is None:
            raise NotModelled(f"{name} is not in the image")
        fixed = DEFERRED[name].arguments
        words = [shell.path(word) if word.startswith("/") else word for word in arguments]
        shell.system.note(Does.PROGRAM, name, "", program, *(words if fixed is None else fixed))
        return 0

    return run


def emacs(shell: Shell, arguments: list[str]) -> Status:
    """``emacs -batch -f batch-byte-compile file ...``, from the directory of the files; ``emacs --version``."""
    if "--version" in arguments:
        found = [name for name in shell.system.children("/usr/share/emacs") if re.fullmatch(r"[0-9][0-9.]*", name)]
        if len(found) != 1:
            raise NotModelled("which Emacs it is")
        shell.say(f"GNU Emacs {found[0]}\n")
        return 0
    program = shell.find_program("emacs")
    if program is None or arguments[-1:] == ["batch-byte-compile"] or "batch-byte-compile" not in arguments:
        raise NotModelled("a program in Emacs Lisp")
    at = arguments.index("batch-byte-compile")
    options = arguments[: at - 1]
    while "-l" in options:  # a file that puts the directory on the load path, and that the script removes
        del options[options.index("-l") : options.index("-l") + 2]
    files = [shell.path(name) for name in arguments[at + 1 :]]
    if {*options} - {"--no-init-file", "--no-site-file", "-batch", "--batch", "-q", "--quick", "-Q"}:
        raise NotModelled("a program in Emacs Lisp")
    words = (program, *options, "-L", shell.path("."), "-f", "batch-byte-compile", *files)
    shell.system.note(Does.PROGRAM, "emacs", f"compiles {len(files)} files", *words)
    return 0


# For the others their own models say whether the image's program is to run.
COMMANDS = make_models({**{name: _defer(name) for name in DEFERRED if name != "python3"}, "emacs": emacs})
