"""Differences from dpkg's own tree that were bugs of ours, each kept from coming back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.target_system import Installation
from builder.tree.node import Slice, make_file
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

from .conftest import Outcome

pytestmark = pytest.mark.unit


def test_a_copy_is_no_second_name_of_the_same_file(run: Callable[..., Outcome], tmp_path) -> None:
    pack = tmp_path / "pack"
    pack.write_text("text")
    shipped = make_file("", origin="package:a").copy_with(content=Slice(str(pack), 0, 4))
    outcome = run("cp /usr/share/x /etc/x; ln /usr/share/x /usr/share/y", {"/usr/share/x": shipped})
    assert outcome.text("/etc/x") == "text"
    assert outcome.tree.require("/etc/x").content != shipped.content
    assert outcome.tree.require("/usr/share/y").content == shipped.content


@pytest.mark.parametrize("command", ["touch /etc/x", "echo a > /etc/x", "cp /etc/passwd /etc/x"])
def test_what_a_script_makes_has_the_mode_of_its_umask(run: Callable[..., Outcome], command: str) -> None:
    outcome = run(f"umask 077; {command}; umask 022; mkdir /etc/d")
    assert outcome.tree.require("/etc/x").mode == 0o600
    assert outcome.tree.require("/etc/d").mode == 0o755


def test_a_preinst_keeps_all_of_its_diversions(run: Callable[..., Outcome]) -> None:
    outcome = run("for l in a b; do dpkg-divert --no-rename --divert /lib/$l.x --add /lib/$l; done", name="preinst")
    assert [line for line in outcome.text("/var/lib/dpkg/diversions").splitlines() if line.startswith("/")] == [
        "/lib/a",
        "/lib/a.x",
        "/lib/b",
        "/lib/b.x",
    ]


def test_the_table_of_overrides_has_modes_as_dpkg_writes_them(run: Callable[..., Outcome]) -> None:
    outcome = run("dpkg-statoverride --update --add root adm 0640 /etc/passwd")
    assert outcome.text("/var/lib/dpkg/statoverride") == "root adm 640 /etc/passwd\n"
    assert outcome.tree.require("/etc/passwd").mode == 0o640


TEMPLATES = "Template: a/place\nType: select\nChoices: here, there\nDefault: here\nDescription: where\n"
ASKS = ". /usr/share/debconf/confmodule\n"


@pytest.mark.parametrize(
    ("config", "answer"),
    [
        pytest.param("db_metaget a/place choices-c; for i in $RET; do :; done; db_set a/place $i", "there", id="asked"),
        pytest.param("a-program-of-its-own; db_set a/place there", "here", id="not understood"),
    ],
)
def test_a_config_script_answers_before_the_templates_default(config: str, answer: str) -> None:
    scripts = {
        "config": f"#!/bin/sh\nset -e\n{ASKS}{config}\n",
        "postinst": f'#!/bin/sh\nset -e\n{ASKS}db_get a/place; echo "$RET" > /out\n',
        "templates": TEMPLATES,
    }
    tree = Tree()
    found = evaluate(tree, "a", scripts, Installation("amd64", {}), COMMANDS)
    assert [each.unmodelled for each in found] == [()]
    assert tree.read_text("/out") == f"{answer}\n"


def test_what_a_script_leaves_in_run_is_gone_as_it_is_at_boot(run: Callable[..., Outcome]) -> None:
    outcome = run("mkdir -p /run/systemd/resolve /run/lock /etc/kept && echo a > /run/systemd/resolve/stub")
    assert [path for path in ("/run/systemd", "/run/lock", "/etc/kept") if path in outcome.tree] == [
        "/run/lock",
        "/etc/kept",
    ]


def test_a_bracket_hides_the_end_of_a_pattern_and_is_a_letter_in_what_replaces_it(run: Callable[..., Outcome]) -> None:
    outcome = run("echo 'a/b%c' | sed -e 's/[/]/-/' -e 's/%/[/g' > /out; echo 'x[y' | sed 's/\\[/]/' >> /out")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a-b[c\nx]y\n"


def test_scripts_are_run_in_the_language_that_every_debian_has(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "eval `locale`; echo $LC_CTYPE $(locale charmap) > /out; echo ä | iconv -t ISO-8859-1 | wc -c >> /out"
    )
    assert outcome.text("/out") == "C.UTF-8 UTF-8\n2\n"


def test_a_tilde_stands_for_the_home_of_whoever_is_named(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "adduser --system --home /srv/ftp ftp; who=ftp; "
        'echo ~ ~/a ~ftp ~ftp/b ~nobody-here/c ~$who ~ftp$who "~ftp" a~ftp > /out; [ -d ~ftp ] && echo there >> /out'
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "/root /root/a /srv/ftp /srv/ftp/b ~nobody-here/c ~ftp ~ftpftp ~ftp a~ftp\nthere\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("printf '%999999999d' 1", "characters"),
        ("awk 'BEGIN { printf \"%*d\", 999999999, 1 }'", "awk writes more than 4194304 bytes"),
    ],
)
def test_a_format_does_not_fill_the_memory(run: Callable[..., Outcome], script: str, reason: str) -> None:
    assert reason in run(script).unmodelled[0][1]


def test_owners_of_links_and_of_what_is_behind_them(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "mkdir -p /a/d /behind && touch /a/f /behind/f && ln -s ../f /a/d/link && ln -s /behind /a/way\n"
        "chown -R 5:6 /a\n"
        "touch /plain && ln -s plain /to-plain && ln -s plain /as-link && chown 7 /to-plain && chgrp -h 8 /as-link\n"
        "mkdir /through && touch /through/f && ln -s through /to-through && ln -s through /only-link\n"
        "chgrp -R -H 9 /to-through && chown -R 10 /only-link\n"
    )
    assert outcome.unmodelled == []
    paths = [
        "/a", "/a/f", "/a/d/link", "/a/way", "/behind", "/behind/f", "/plain", "/to-plain", "/as-link",
        "/through", "/through/f", "/to-through", "/only-link",
    ]  # fmt: skip
    owners = {path: (node.uid, node.gid) for path in paths if (node := outcome.tree.require(path, follow=False))}
    assert owners == {
        "/a": (5, 6),
        "/a/f": (5, 6),
        "/a/d/link": (5, 6),
        "/a/way": (5, 6),
        "/behind": (0, 0),
        "/behind/f": (0, 0),
        "/plain": (7, 0),
        "/to-plain": (0, 0),
        "/as-link": (0, 8),
        "/through": (0, 9),
        "/through/f": (0, 9),
        "/to-through": (0, 0),
        "/only-link": (10, 0),
    }
