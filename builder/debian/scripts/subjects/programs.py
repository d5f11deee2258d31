"""Programs of packages that make an index or compile something: they run when all packages are in, once for all,
over a copy of what they read. What a script does after such a call must not depend on it.

They see a root that holds them, what they start, and the libraries of both: nothing of the machine that builds. They
must be of its architecture; an image of another one goes without, and the build says so.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.core.sandbox import Sandbox
from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.desktop.caches import find_library_directory, runs_here
from builder.debian.scripts.target_system import NotModelled
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.elf import find_closure
from builder.tree.materialise import Workdir, materialise
from builder.tree.node import Kind

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
        words = [shell.resolve_path(word) if word.startswith("/") else word for word in arguments]
        shell.system.record(EffectKind.PROGRAM, name, "", program, *(words if fixed is None else fixed))
        return 0

    return run


def emacs(shell: Shell, arguments: list[str]) -> Status:
    """``emacs -batch -f batch-byte-compile file ...``, from the directory of the files; ``emacs --version``."""
    if "--version" in arguments:
        versions = [
            name for name in shell.system.list_children("/usr/share/emacs") if re.fullmatch(r"[0-9][0-9.]*", name)
        ]
        if len(versions) != 1:
            raise NotModelled("which Emacs it is")
        shell.say(f"GNU Emacs {versions[0]}\n")
        return 0
    program = shell.find_program("emacs")
    if program is None or arguments[-1:] == ["batch-byte-compile"] or "batch-byte-compile" not in arguments:
        raise NotModelled("a program in Emacs Lisp")
    at = arguments.index("batch-byte-compile")
    options = arguments[: at - 1]
    while "-l" in options:  # a file that puts the directory on the load path, and that the script removes
        del options[options.index("-l") : options.index("-l") + 2]
    files = [shell.resolve_path(name) for name in arguments[at + 1 :]]
    if {*options} - {"--no-init-file", "--no-site-file", "-batch", "--batch", "-q", "--quick", "-Q"}:
        raise NotModelled("a program in Emacs Lisp")
    words = (program, *options, "-L", shell.resolve_path("."), "-f", "batch-byte-compile", *files)
    shell.system.record(EffectKind.PROGRAM, "emacs", f"compiles {len(files)} files", *words)
    return 0


# For the others their own models say whether the image's program is to run.


_OBJECT = re.compile(r"\.so(\.[0-9]+)*\Z")
# Emacs would compile to machine code what it loads, into a home that is not there.
# Bytecode is made by its own handler, and what Python writes must not depend on chance.
ENVIRONMENT = {
    "EMACS_INHIBIT_AUTOMATIC_NATIVE_COMPILATION": "t",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
# Stands for debconf in what runs here: what the definition answers, and what was set; nobody is asked.
DEBCONF = "/usr/share/perl5/Debconf/Client/ConfModule.pm"
STAND_IN = """package Debconf::Client::ConfModule;
use strict;
use base qw(Exporter);
my %answers = (ANSWERS);
our @EXPORT_OK = qw(version capb stop reset title settitle input beginblock endblock go unset set get register
    unregister clear subst fset fget previous_module exist visible purge metaget info progress data);
our %EXPORT_TAGS = (all => [@EXPORT_OK]);
no strict 'refs';
for my $name (@EXPORT_OK) { *{$name} = sub { return wantarray ? (0, '') : ''; }; }
no warnings 'redefine';
*set = sub { $answers{$_[0]} = $_[1]; return wantarray ? (0, $_[1]) : $_[1]; };
for my $name (NOTED) {
    my $does = \\&{$name};
    *{$name} = sub {
        if (open(my $notes, '>>', 'NOTES')) { print $notes map { "$_\\0" } "db_$name", scalar(@_), @_; close $notes; }
        return $does->(@_);
    };
}
*get = sub { my $value = $answers{$_[0]} // ''; return wantarray ? (0, $value) : $value; };
1;
"""


def run_programs(work: Work) -> None:
    """Run every program that a script called, each command line once, in the order of the calls; then those that a
    trigger would start."""
    commands = dict.fromkeys(tuple(map(str, effect.data)) for effect in work.list_effects(EffectKind.PROGRAM))
    for name, deferred in DEFERRED.items():
        program = _find(work, name) if deferred.whenever and work.has(deferred.whenever) else None
        if program is not None:
            commands.setdefault((program, *(deferred.arguments or ())))
    for program, *arguments in commands:
        name = program.rpartition("/")[2]
        interpreter = _interpreter(work, program)
        if interpreter is None:
            continue
        if not runs_here(work.tree.read(interpreter)):
            work.tools.console.warn(f"what {name} makes is not in the image: {interpreter} does not run here")
            continue
        _run(work, DEFERRED[name], program, interpreter, arguments)


def _interpreter(work: Work, program: str) -> str | None:
    """The ELF program that has to run: the program itself, or what its first line names."""
    node = work.tree.get(program, follow=True)
    if node is None or node.kind is not Kind.FILE:
        return None
    first = node.content.read().partition(b"\n")[0]
    path = first[2:].split()[0].decode() if first.startswith(b"#!") else program
    return path if work.has(path) else None


def _run(work: Work, deferred: Deferred, program: str, interpreter: str, arguments: list[str]) -> None:
    lib = find_library_directory(work)
    operands = [word for word in arguments if word.startswith("/")]
    reads = [path.replace(LIB, lib) for path in (*deferred.reads, *operands)]
    started = [path for name in deferred.starts if (path := _find(work, name)) is not None]
    interpreters = [path for program in started if (path := _interpreter(work, program)) is not None]
    objects = _shared_objects(work, reads)
    needed = find_closure(work.tree, [program, interpreter, *started, *interpreters, *objects])
    with tempfile.TemporaryDirectory(dir=work.scratch, prefix="program-") as place:
        part = materialise(work.tree, Path(place) / "root", [program, *needed, *reads])
        _stand_in(part, work.installation.answers)
        sandbox = Sandbox(work.tools, part.root, Path(place))
        sandbox.give_files()
        sandbox.run(program, *arguments, env=ENVIRONMENT, believes=False)
        for where in [path.replace(LIB, lib) for path in deferred.writes] or operands:
            part.absorb(work.tree, origin=ORIGIN, below=where)


def _find(work: Work, name: str) -> str | None:
    return next((path for path in (f"/usr/bin/{name}", f"/usr/sbin/{name}") if work.has(path)), None)


def _shared_objects(work: Work, paths: Iterable[str]) -> Iterator[str]:
    for start in paths:
        if work.has(start):
            for path, node in work.tree.walk(work.tree.resolve(start)):
                # Converters of character sets need each other and the C library, which is there.
                if _OBJECT.search(path) and node.kind is Kind.FILE and "/gconv/" not in path:
                    yield path


def _stand_in(part: Workdir, answers: Mapping[str, str]) -> None:
    where = part.root / DEBCONF[1:]
    if where.exists():
        where.write_text(make_perl_client(answers))


def make_perl_client(answers: Mapping[str, str], notes: str = "") -> str:
    """What stands for debconf's module of Perl, with these answers; what is set and asked it writes
    into the file ``notes``."""
    noted = "qw(set subst fset register input go)" if notes else ""
    rows = ", ".join(f"{_quoted(question)} => {_quoted(answer)}" for question, answer in answers.items())
    return STAND_IN.replace("NOTED", noted).replace("NOTES", notes).replace("ANSWERS", rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


COMMANDS = make_models({**{name: _defer(name) for name in DEFERRED if name != "python3"}, "emacs": emacs})
