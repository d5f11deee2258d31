"""Commands that start others, and what they ask about users and files on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.tree.node import make_file
from tests.unit.debian.scripts.conftest import Outcome

pytestmark = pytest.mark.unit


def test_programs_of_a_directory_run_in_order(run: Callable[..., Outcome]) -> None:
    part = make_file('#!/bin/sh\necho "$0 $1" >> /out\n', 0o755, origin="package:other")
    files = {"/d/20-b": part, "/d/10-a": part, "/d/c.disabled": part, "/d/30-not": "#!/bin/sh\n"}
    outcome = run("run-parts --exit-on-error --arg=x /d\nrun-parts --list /d > /listed", files)
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "/d/10-a x\n/d/20-b x\n"
    assert outcome.text("/listed") == "/d/10-a\n/d/20-b\n/d/30-not\n"


def test_groups_of_a_user_begin_with_the_one_of_its_login(run: Callable[..., Outcome]) -> None:
    outcome = run("groups daemon > /out", {"/etc/group": "root:x:0:\nadm:x:4:daemon,root\ndaemon:x:1:\n"})
    assert outcome.text("/out") == "daemon : daemon adm\n"


def test_capabilities_are_written_as_people_write_them(run: Callable[..., Outcome]) -> None:
    body = "set -e\nsetcap -v CAP_SYS_NICE=+ep /p || setcap CAP_SYS_NICE=+ep /p\nsetcap -v cap_sys_nice+ep /p"
    outcome = run(body, {"/p": ""})
    assert outcome.unmodelled == []
    assert dict(outcome.tree.require("/p").xattrs)["security.capability"][4:8] == (1 << 23).to_bytes(4, "little")


def test_a_command_that_is_only_a_substitution_has_its_status(run: Callable[..., Outcome]) -> None:
    outcome = run("no() { return 1; }\nif $(no); then touch /yes; fi\n$(no) || touch /not")
    assert "/yes" not in outcome.tree
    assert "/not" in outcome.tree


def test_emacs_compiles_what_a_script_names_when_all_packages_are_in(run: Callable[..., Outcome]) -> None:
    emacs = make_file("", 0o755, origin="package:other")
    outcome = run(
        "cd /usr/share/emacs/site-lisp\nemacs --version > /out\nemacs -q -batch -l p.el -f batch-byte-compile a.el",
        {"/usr/bin/emacs": emacs, "/usr/share/emacs/30.1/x": "", "/usr/share/emacs/site-lisp/a.el": ""},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "GNU Emacs 30.1\n"
    assert outcome.effects[-1] == "runs, when all packages are in: emacs (compiles 1 files)"
    assert outcome.found[-1].effects[-1].data[-1] == "/usr/share/emacs/site-lisp/a.el"
    assert run("emacs -batch --eval '(x)'", {"/usr/bin/emacs": emacs}).unmodelled


def test_a_packages_own_program_is_not_the_one_of_the_same_name(run: Callable[..., Outcome]) -> None:
    own = make_file("#!/bin/sh\necho own > /out\n", 0o755, origin="package:mine")
    assert run("/usr/lib/mine/install -d /no", {"/usr/lib/mine/install": own}).text("/out") == "own\n"
    assert "/yes" in run("/usr/bin/install -d /yes", {"/usr/bin/install": own}).tree
