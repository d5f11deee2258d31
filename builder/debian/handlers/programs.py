"""Programs of the image that scripts leave their work to: run once for all, over a copy of what they read.

Which they are, and what they may read and write, :mod:`builder.debian.scripts.subjects.deferred` says. They see a root
that holds them, what they start, and the libraries of both: nothing of the machine that builds. Like the programs that
make caches they must be of its architecture; an image of another one goes without, and the build says so.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.core.sandbox import Sandbox
from builder.debian.handlers.caches import ORIGIN, runs_here, triplet_directory
from builder.debian.handlers.work import Work
from builder.debian.scripts.effects import Does
from builder.debian.scripts.subjects.deferred import DEFERRED, LIB, Deferred
from builder.tree.elf import find_closure
from builder.tree.materialise import Workdir, materialise
from builder.tree.node import Kind

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
    commands = dict.fromkeys(tuple(map(str, effect.data)) for effect in work.effects(Does.PROGRAM))
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
    lib = triplet_directory(work)
    operands = [word for word in arguments if word.startswith("/")]
    reads = [path.replace(LIB, lib) for path in (*deferred.reads, *operands)]
    started = [path for name in deferred.starts if (path := _find(work, name)) is not None]
    interpreters = [path for each in started if (path := _interpreter(work, each)) is not None]
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
        where.write_text(perl_client(answers))


def perl_client(answers: Mapping[str, str], notes: str = "") -> str:
    """What stands for debconf's module of Perl, with these answers; what is set and asked it writes
    into the file ``notes``."""
    noted = "qw(set subst fset register input go)" if notes else ""
    rows = ", ".join(f"{_quoted(question)} => {_quoted(answer)}" for question, answer in answers.items())
    return STAND_IN.replace("NOTED", noted).replace("NOTES", notes).replace("ANSWERS", rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
