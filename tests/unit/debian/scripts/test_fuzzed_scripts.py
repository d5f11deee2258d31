"""Whatever a maintainer script says, evaluating it ends soon, in effects and lines that are not modelled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings

from builder.core.errors import BuildError
from tests.support.fuzz import FACTOR, examples, of_words

pytestmark = pytest.mark.unit

WORDS = (
    "if ", "then ", "else ", "fi", "for i in ", "while ", "do ", "done", "case $1 in ", "esac", "configure) ", ";; ",
    "{ ", "}", "( ", ")", "f() ", "; ", "\n", "&& ", "|| ", "| ", "! ", "true ", "false ", "[ ", "-e ", "= ", "] ",
    "$1", "${1:-x}", "${a%%/*}", "$(", "`", "$((", "1+1", "))", '"', "'", "\\", "<<EOF\n", "EOF\n", "> /x ", "< /x ",
    "echo ", "printf %s ", "sed -i s/a/b/ ", "cat ", "rm -f ", "mkdir -p ", "ln -s ", "chown a:b ", "chmod 4755 ",
    "/etc/passwd ", "../x ", "exit 1", "set -e", "eval ", "exec ", "update-alternatives --install ", "adduser ",
    "deb-systemd-helper was-enabled ", "dpkg-divert --add ", "a=", "read x", "shift", "db_get x", ". /usr/share/x ",
)  # fmt: skip


# Generated ones only in 'make fuzz': the models of commands are young, and each find is a fix of its own.
@settings(examples(300), phases=tuple(Phase) if FACTOR > 1 else (Phase.explicit,))
@given(body=of_words(*WORDS))
@example("while true; do true; done")
@example("f() { f; }; f")
@example("a=x; while true; do a=$a$a; done")
@example("(" * 5000)
@example("$(" * 5000)
@example("if true; then " * 3000)
@example("echo $((" + "(" * 5000)
@example("case x in " + "x) case x in " * 2000)
@example("echo $((9**9**9**9))")
@example("sed 's/\\(a*\\)*b/x/' /etc/passwd")
@example("echo " + "a" * 40 + " | sed 's/\\(a*\\)*b/x/'")
@example("printf '%999999999d' 1")
@example("seq 1 999999999")
def test_any_script_comes_to_an_end(run: Callable[..., Any], body: str) -> None:
    with contextlib.suppress(BuildError):
        for each in run(body).found:
            assert each.script == "postinst"
