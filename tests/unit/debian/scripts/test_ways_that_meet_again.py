"""Where the course of a script depends on what only a running machine knows: what the shell knows where the ways meet.

Each script ends differently on two machines, so some line of it must be not modelled, and nothing may be guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = pytest.mark.unit

A = 'if [ "$(hostname)" = a ]; then {}; fi\n'
TEMPLATES = "Template: mine/a\nType: string\nDefault: x\n\nTemplate: mine/b\nType: string\nDefault: x\n\n"
TEMPLATES += "Template: mine/c\nType: string\nDescription: of ${choices}\n"

# What one way does, what follows, and the line of it that nobody can account for.
LEAKS = {
    "directory": ("cd /etc", "touch mark", 4),
    "directory and a test": ("cd /etc", "if [ -e passwd ]; then touch /mark; fi", 4),
    "directory and a pattern": ("cd /etc", "for f in pass*; do touch /mark-$f; done", 4),
    "function": ("f() { touch /a; }", "f", 4),
    "function of two": ("f() { touch /a; }; else f() { touch /b; }", "f", 4),
    "function unset": ("unset -f g", "g() { :; }\n" + A.format("g() { touch /a; }") + "g", 6),
    "alias": ("alias f='touch /a'", "f", 4),
    "arguments": ("set -- one two", 'touch "/a-$1"', 4),
    "number of arguments": ("set -- one two three", 'touch "/a-$#"', 4),
    "shift": ("shift", "shift", 4),
    "loop over arguments": ("set -- one two", "for a; do touch /a-$a; done", 4),
    "set -e": ("set +e", "false\ntouch /a", 4),
    "set -f": ("set -f", "touch /etc/pass*", 4),
    "umask": ("umask 077", "touch /a", 4),
    "umask of a directory": ("umask 077", "mkdir /a", 4),
    "debconf's value": ("db_set mine/a y", 'db_get mine/a\necho "$RET" > /a', 5),
    "debconf's flag": ("db_fset mine/a done true", 'db_fget mine/a done\necho "$RET" > /a', 5),
    "debconf's question": ("db_register mine/b mine/c", "db_get mine/c", 4),
    "variable": ("x=1", 'echo "$x" > /a', 4),
    "local variable": (":", "x=1\nf() { " + A.strip().format("local x=2") + '; }\nf\necho "$x" > /a', 7),
    "input": ("read x", 'read y\ntouch "/a-$y"', 4),
    "file for later": ("touch /tmp/flag", "if [ -e /tmp/flag ]; then touch /a; fi", 4),
    "diversion": ("dpkg-divert --local --rename --add /etc/a", ":", 3),
    "an alternative": (
        "update-alternatives --install /usr/bin/x x /etc/a 5",
        "update-alternatives --query x > /a",
        4,
    ),
    "a question's text": ("db_subst mine/c choices one", 'db_metaget mine/c Description\necho "$RET" > /a', 5),
    "override": ("dpkg-statoverride --add root root 0700 /etc/a", ":", 3),
}


@pytest.mark.parametrize(("way", "then", "line"), LEAKS.values(), ids=LEAKS.keys())
def test_what_one_way_leaves_is_not_taken_for_certain(
    run: Callable[..., Outcome], way: str, then: str, line: int
) -> None:
    body = "set -e\n" + A.format(way) + then
    if way == "read x":
        body = "set -e\n{\n" + A.format(way).strip() + "\n" + then + "\n} <<E\none\ntwo\nE"
        line = 5
    outcome = run(body, {"/etc/a": "text", "/tmp/x": ""}, templates=TEMPLATES)
    assert line in [first for first, _ in outcome.unmodelled], (outcome.unmodelled, outcome.effects)


@pytest.mark.parametrize(
    ("way", "then", "made"),
    [
        ("cd /etc", "cd /usr\nmkdir mark", "/usr/mark"),
        ("cd /etc", "mkdir /mark", "/mark"),
        ("f() { mkdir /a; }", "f() { mkdir /mark; }\nf", "/mark"),
        ("set -- one", "set -- two\nmkdir /$1", "/two"),
        ("umask 077", "umask 022\nmkdir /mark", "/mark"),
        ("set +e", "set -e\nmkdir /mark", "/mark"),
        ("(cd /etc; umask 077; set -- a)", "mkdir mark", "/mark"),
        ("x=$(cd /etc; pwd)", "mkdir mark", "/mark"),
        ("touch /tmp/flag", "rm -f /tmp/other\nmkdir /mark", "/mark"),
    ],
)
def test_what_is_said_again_is_known_again(run: Callable[..., Outcome], way: str, then: str, made: str) -> None:
    outcome = run("set -e\n" + A.format(way) + then, {"/usr/x": "", "/tmp/x": ""})
    assert outcome.unmodelled == []
    assert outcome.tree.require(made).mode == 0o755


def test_a_process_of_its_own_keeps_its_umask_to_itself(run: Callable[..., Outcome]) -> None:
    outcome = run("(umask 077; mkdir /mine)\nsh -c 'umask 027'\nmkdir /yours", {"/usr/bin/sh": ""})
    assert [outcome.tree.require(path).mode for path in ("/mine", "/yours")] == [0o700, 0o755]


def test_what_debconf_is_told_by_another_process_it_knows(run: Callable[..., Outcome]) -> None:
    outcome = run('(db_set mine/a y)\ndb_get mine/a\necho "$RET" > /a', templates=TEMPLATES)
    assert outcome.text("/a") == "y\n"


def test_a_guess_about_one_question_leaves_the_others_known(run: Callable[..., Outcome]) -> None:
    body = A.format("db_set mine/a y") + "db_get mine/b\necho $RET > /b\n"
    outcome = run(body, templates=TEMPLATES)
    assert outcome.unmodelled == []
    assert outcome.text("/b") == "x\n"
