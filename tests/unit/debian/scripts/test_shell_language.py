"""The shell's language, as dash reads it: each script writes to /out what dash would have written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.debian.scripts.language.parser import parse
from builder.debian.scripts.language.words import ScriptSyntaxError
from builder.tree.node import make_file

from .conftest import Outcome

pytestmark = pytest.mark.unit

# (script, what it writes). Every case was run through dash 0.5.12 as well.
CASES = {
    "quotes": ("""echo 'a  b' "c  $HOME" d\\ e > /out""", "a  b c  /root d e\n"),
    "splitting": ("""x='a  b c'; set -- $x; echo $# "$2" > /out""", "3 b\n"),
    "all arguments": ("""set -- 'a b' c; for i in "$@"; do echo "<$i>"; done > /out""", "<a b>\n<c>\n"),
    "no arguments": ("""set --; for i in "$@"; do echo "<$i>"; done > /out; echo "$#" >> /out""", "0\n"),
    "defaults": ("""unset x; echo ${x:-a b} ${x-c} "${x:+d}" ${y:=e} $y > /out""", "a b c  e e\n"),
    "prefixes": ("""x=/usr/lib/a.tar.gz; echo ${x##*/} ${x#*/} ${x%.*} ${x%%.*} > /out""",
                 "a.tar.gz usr/lib/a.tar.gz /usr/lib/a.tar /usr/lib/a\n"),
    "length": ("""x=abc; echo ${#x} ${#} > /out""", "3 2\n"),
    "arithmetic": ("""x=7; echo $((x * 2 - 1)) $(( (1 + 2) * 3 )) $((7 / 2)) $((x > 3)) > /out""", "13 9 3 1\n"),
    "substitution": ("""echo "$(echo a; echo "b c")" `echo d` > /out""", "a\nb c d\n"),
    "nested substitution": ("""echo $(echo "$(echo ")")") > /out""", ")\n"),
    "case": ("""for i in a.c -x u; do case "$i" in *.c|b) echo 1;; -[a-z]) echo 2;; *) echo 3;; esac; done > /out""",
             "1\n2\n3\n"),
    "case with parentheses": ("""case b in (a) echo 1 ;; (b) echo 2 ;; esac > /out""", "2\n"),
    "functions": ("""f() { echo "$1-$#"; return 3; }; f a b > /out || echo $? >> /out""", "a-2\n3\n"),
    "and or": ("""false && echo a > /out || echo b > /out; true || echo c >> /out""", "b\n"),
    "negation": ("""if ! false; then echo yes; fi > /out""", "yes\n"),
    "pipelines": ("""printf 'b\\na\\n' | sort | while read x; do echo "<$x>"; done > /out""", "<a>\n<b>\n"),
    "subshells keep to themselves": ("""x=1; (x=2; cd /etc); echo $x $(pwd) > /out""", "1 /\n"),
    "loops": ("""i=0; while :; do i=$((i+1)); [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done > /out""",
              "1\n3\n"),
    "until": ("""i=0; until [ $i = 2 ]; do i=$((i+1)); done; echo $i > /out""", "2\n"),
    "a document": ("""x=1\ncat > /out <<EOF\na $x \\$x `echo b`\n\tc "d"\nEOF""", 'a 1 $x b\n\tc "d"\n'),
    "a quoted document": ("""cat > /out <<'EOF'\na $x\nEOF""", "a $x\n"),
    "a document without tabs": ("""cat <<-EOF > /out\n\ta\n\tEOF""", "a\n"),
    "a document into a pipe": ("""cat <<E | tr a-z A-Z > /out || echo no\nabc\nE""", "ABC\n"),
    "two documents": ("""{ cat; cat <<B; } <<A > /out\nb\nB\na\nA""", "a\nb\n"),
    "continued lines": ("""echo a \\\n  b > /out""", "a b\n"),
    "comments": ("""echo a#b # c\n# d\n> /out2\necho a#b > /out""", "a#b\n"),
    "variables for one command": ("""IFS=: read a b <<E\n1:2\nE\necho "$a-$b" > /out""", "1-2\n"),
    "separators": ("""IFS=:; x=a:b; set -- $x; echo "$1 $2" > /out""", "a b\n"),
    "patterns become names": ("""cd /etc; echo g*p p[a-b]sswd nothing* > /out""", "group passwd nothing*\n"),
    "eval": ("""n=x; eval "$n=5"; echo $x > /out""", "5\n"),
    "printf": ("""printf '%s=%03d\\n' a 7 b 8 > /out""", "a=007\nb=008\n"),
    "appending": ("""echo a > /out; echo b >> /out""", "a\nb\n"),
    "errors are nobody's": ("""{ echo a; echo b >&2; } > /out 2>/dev/null""", "a\n"),
    "tests": ("""[ a = a -a ! -e /none ] && [ -z "" -o x ] && test 3 -gt 2 && echo yes > /out""", "yes\n"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "expected"), CASES.values(), ids=CASES.keys())
def test_a_script_writes_what_dash_writes(run: Callable[..., Outcome], script: str, expected: str) -> None:
    outcome = run("set -e\nset -- a b\n" + script if "${#}" in script else "set -e\n" + script)
    assert outcome.unmodelled == []
    assert outcome.text("/out") == expected


@pytest.mark.parametrize(
    ("script", "line", "what"),
    [
        ("if true; then\necho a\n", 3, "'fi' is missing here"),
        ("echo 'a\n", 1, "a quote is not closed"),
        ("echo $(true\n", 2, "a parenthesis is not closed"),
        ("cat <<EOF\na\n", 3, "the here-document that ends with 'EOF' does not end"),
        ("a=(1 2\n", 2, "an array does not end"),
        ("echo a )\n", 1, "')\\n' was not expected here"),
        ("(" * 200, 1, "a subshell in a subshell, or arithmetic that does not end"),
        ("{ " * 200, 1, "it is nested too deeply"),
    ],
)
def test_what_is_no_script_is_refused_with_its_line(script: str, line: int, what: str) -> None:
    with pytest.raises(ScriptSyntaxError) as caught:
        parse(script)
    assert (caught.value.line, caught.value.what) == (line, what)


def test_a_failure_ends_the_script_under_set_e(run: Callable[..., Outcome]) -> None:
    outcome = run("set -e\nfalse || true\nif false; then :; fi\nrmdir /none\necho a > /out")
    assert outcome.unmodelled == [(5, "it would fail here, with status 1")]
    assert "/out" not in outcome.tree


def test_without_set_e_it_goes_on(run: Callable[..., Outcome]) -> None:
    outcome = run("rmdir /none\necho a > /out")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a\n"


def test_a_script_without_an_end_is_stopped(run: Callable[..., Outcome]) -> None:
    assert run("while true; do :; done").unmodelled == [(1, "it does not come to an end")]
    assert run("f() { f; }\nf").unmodelled == [(1, "it does not come to an end")]


@pytest.mark.parametrize("first", ["#!/usr/bin/perl -w", "#!/usr/bin/env python3", "\x7fELF"])
def test_a_script_in_another_language_is_nobodys(first: str) -> None:
    from builder.debian.scripts.evaluate import evaluate
    from builder.debian.scripts.target_system import Installation
    from builder.tree.tree import Tree
    from tests.support.filters import COMMANDS

    (found,) = evaluate(Tree(), "mine", {"postinst": f"{first}\nsystem('x')\n"}, Installation("amd64", {}), COMMANDS)
    assert [line.reason for line in found.unmodelled] == [
        "it is no script" if "ELF" in first else f"it is written in {'perl' if 'perl' in first else 'python3'}"
    ]


# --- what only a running machine knows --------------------------------------------------------------


def test_a_branch_that_changes_nothing_may_depend_on_anything(run: Callable[..., Outcome]) -> None:
    outcome = run('set -e\nif [ "$(uname -r)" = 6.1 ]; then echo old kernel; else echo new; fi\necho a > /out')
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a\n"


def test_ways_with_different_effects_are_nobodys(run: Callable[..., Outcome]) -> None:
    outcome = run('set -e\nif [ "$(hostname)" = a ]; then\n  touch /etc/a\nfi\n')
    assert outcome.unmodelled == [(3, "what happens here depends on something that only a running machine knows")]


def test_ways_with_the_same_effects_are_one(run: Callable[..., Outcome]) -> None:
    outcome = run('case "$(hostname)" in a*) echo x > /out ;; *) echo x > /out ;; esac')
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "x\n"


def test_what_is_not_known_is_never_written(run: Callable[..., Outcome]) -> None:
    outcome = run("date > /etc/built\n")
    assert outcome.unmodelled == [(2, "what would be written to /etc/built is not known")]
    assert "/etc/built" not in outcome.tree


def test_a_command_that_nobody_knows_is_named_with_its_lines(run: Callable[..., Outcome]) -> None:
    outcome = run("set -e\nfrobnicate \\\n  --all\n")
    (found,) = outcome.found[0].unmodelled
    assert (found.first, found.last, found.reason) == (3, 4, "frobnicate is not known to build-os")
    assert found.text == "frobnicate \\\n  --all"


def test_a_program_of_the_image_that_is_a_script_is_evaluated(run: Callable[..., Outcome]) -> None:
    from builder.tree.node import make_file

    program = make_file("#!/bin/sh\necho $1 > /out\n", 0o755, origin="package:other")
    outcome = run("update-things now", {"/usr/sbin/update-things": program})
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "now\n"


def test_a_guarded_program_that_is_not_there_is_passed_over(run: Callable[..., Outcome]) -> None:
    assert run("set -e\nif [ -x /usr/bin/update-menus ]; then update-menus; fi\nfoo || true").unmodelled == []


def test_an_assignment_sees_the_status_of_the_command_before_it(run: Callable[..., Outcome]) -> None:
    outcome = run("f() { return 3; }\nf || ret=$?\nother=$(f) || echo $? > /other\necho $ret > /ret")
    assert outcome.unmodelled == []
    assert (outcome.text("/ret"), outcome.text("/other")) == ("3\n", "3\n")


def test_a_functions_variables_are_as_they_were_when_it_ends(run: Callable[..., Outcome]) -> None:
    outcome = run('a=1\nf() { local a; echo "<$a>" > /in; a=2; local b=3; }\nf\necho "$a$b" > /out')
    assert outcome.unmodelled == []
    assert (outcome.text("/in"), outcome.text("/out")) == ("<1>\n", "1\n")


def test_a_script_that_is_called_reads_its_own_options(run: Callable[..., Outcome]) -> None:
    inner = make_file("#!/bin/sh\nwhile getopts a: o; do echo $o$OPTARG >> /out; done\n", 0o755, origin="package:other")
    outcome = run("while getopts x o; do :; done\nset -- -x\ngetopts x o\ninner -a 1", {"/usr/bin/inner": inner})
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a1\n"


def test_what_a_running_machine_says_can_be_ruled_out_by_how_it_begins(run: Callable[..., Outcome]) -> None:
    body = "f() { case $(uname -r) in 2.*|3.*) return 1;; esac; touch /recent; }\nf"
    assert "/recent" in run(body).tree
    either = run("case $(uname -r) in *cloud*) touch /cloud;; esac")
    assert [line for line, _ in either.unmodelled] == [2]
    assert "/cloud" not in run("case $(uname -r) in *cloud*) : ;; *) : ;; esac").tree


def test_a_pattern_may_have_two_slashes_or_one_at_its_end(run: Callable[..., Outcome]) -> None:
    outcome = run("D=/d/\necho $D/*.conf > /two\ncd /d\necho */ /d/*/ > /end", {"/d/a.conf": "", "/d/s/x": ""})
    assert outcome.unmodelled == []
    assert outcome.text("/two") == "/d/a.conf\n"
    assert outcome.text("/end") == "s/ /d/s/\n"
