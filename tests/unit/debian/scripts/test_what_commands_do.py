"""What programs that scripts call do to a tree, by the cases that packages bring."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.subjects.capabilities import encode_capabilities
from builder.debian.scripts.target_system import Installation
from builder.tree.node import Kind, Node, make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

from .conftest import Outcome

pytestmark = pytest.mark.unit


# --- users and groups ------------------------------------------------------------------------------


def test_system_users_get_the_first_free_number_from_100_and_their_group_the_same(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\nadduser --system --group --home /var/lib/a --no-create-home --gecos 'A B' a\n"
        "adduser --system --quiet --ingroup adm b\naddgroup --system c\nadduser a adm\nadduser --system --group a"
    )
    assert outcome.unmodelled == []
    assert outcome.text("/etc/passwd").splitlines()[2:] == [
        "a:x:100:100:A B:/var/lib/a:/usr/sbin/nologin",
        "b:x:101:4::/nonexistent:/usr/sbin/nologin",
    ]
    assert outcome.text("/etc/group").splitlines()[2:] == ["adm:x:4:a", "nogroup:x:65534:", "a:x:100:", "c:x:101:"]
    assert outcome.text("/etc/shadow").splitlines() == ["a:!:::::::", "b:!:::::::"]


def test_useradd_and_groupadd_count_from_999_down(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\ngroupadd -r g\nuseradd -r -g g -d /srv/u -s /bin/false -M u\ngetent passwd u > /out\nid -gn u >> /out"
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "u:x:999:999::/srv/u:/bin/false\ng\n"


@pytest.mark.parametrize(
    ("command", "users", "groups", "gets"),
    [  # what passwd 1:4.17.4-2 did with these
        ("groupadd -r", "998 997", "999 998 995", "994"),
        ("groupadd -r", "998 101", "999 998 101", "997"),
        ("groupadd", "", "1000 60000", "1001"),
        ("groupadd -r -K SYS_GID_MIN=300 -K SYS_GID_MAX=310", "", "305", "304"),
        ("groupadd --key GID_MIN=5000", "", "5000", "5001"),
        ("useradd -M -r", "998 997", "999 998 995", "996:996"),
        ("useradd -M -r", "998 101", "999 101", "999:998"),
        ("useradd -M", "1000 1002", "1000", "1003:1003"),
        ("useradd -M -r -K UID_MIN=500 -K GID_MIN=500", "", "", "499:499"),
    ],
)
def test_numbers_are_given_as_shadow_gives_them(
    run: Callable[..., Outcome], command: str, users: str, groups: str, gets: str
) -> None:
    passwd = "".join(f"u{number}:x:{number}:1::/:/x\n" for number in users.split())
    group = "".join(f"g{number}:x:{number}:\n" for number in groups.split())
    outcome = run(f"{command} new", {"/etc/passwd": passwd, "/etc/group": group})
    assert outcome.unmodelled == []
    changed = outcome.text("/etc/passwd" if command.startswith("useradd") else "/etc/group")
    assert changed.splitlines()[-1].startswith(f"new:x:{gets}:")


def test_a_home_is_made_and_belongs_to_its_user(run: Callable[..., Outcome]) -> None:
    outcome = run("adduser --system --group --home /var/lib/a a")
    home = outcome.tree.require("/var/lib/a")
    assert (home.kind, home.uid, home.gid, home.mode) == (Kind.DIRECTORY, 100, 100, 0o755)


def test_a_file_given_to_nobody_is_nobodys_line(run: Callable[..., Outcome]) -> None:
    assert run("touch /a\nchown ghost: /a").unmodelled == [(3, "there is no user ghost")]


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("0640", 0o644, 0o640),
        ("u+s", 0o755, 0o4755),
        ("go-rwx", 0o755, 0o700),
        ("a+rX", 0o600, 0o644),
        ("o=,g=r", 0o666, 0o640),
        ("2755", 0o755, 0o2755),
        ("+x", 0o644, 0o755),
    ],
)
def test_modes_are_octal_or_in_words(run: Callable[..., Outcome], mode: str, before: int, after: int) -> None:
    outcome = run(f"chmod {mode} /f", {"/f": make_file("", before, origin="package:other")})
    assert outcome.unmodelled == []
    assert outcome.tree.require("/f").mode == after


def test_trees_are_copied_moved_and_removed(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\ncp -a /d /e\nmv /e/x /e/y\nrm -rf /d\nmkdir -p /n/m\nrmdir --ignore-fail-on-non-empty -p /n\n"
        "ln -sf ../e/y /l\ncat /l > /out\nreadlink -f /l >> /out\n[ ! -e /d ]",
        {"/d/x": "one\n", "/d/z": "two\n"},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "one\n/e/y\n"
    assert outcome.tree.list_children("/e") == ["y", "z"]


def test_install_makes_files_and_directories_with_mode_and_owner(run: Callable[..., Outcome]) -> None:
    outcome = run("set -e\ninstall -d -o daemon -g adm -m 2750 /v\ninstall -m 600 /src /v", {"/src": "x"})
    assert outcome.unmodelled == []
    made, copied = outcome.tree.require("/v"), outcome.tree.require("/v/src")
    assert (made.uid, made.gid, made.mode, copied.mode) == (1, 4, 0o2750, 0o600)


def test_what_a_script_leaves_in_tmp_is_gone(run: Callable[..., Outcome]) -> None:
    outcome = run('set -e\nt=$(mktemp)\necho a > "$t"\nmv "$t" /etc/a\nmktemp -d')
    assert outcome.text("/etc/a") == "a\n"
    assert outcome.tree.list_children("/tmp") == []


def test_files_are_found_by_what_they_are(run: Callable[..., Outcome]) -> None:
    files = {"/d/a.conf": "", "/d/b": "x", "/d/s/c.conf": "y", "/d/l": make_symlink("b", origin="package:other")}
    outcome = run(
        "find /d -name '*.conf' -type f > /out\nfind /d -maxdepth 1 ! -type f >> /out\n"
        "find /d -empty -delete\nfind /d -type f -exec chmod 600 {} +",
        files,
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "/d/a.conf\n/d/s/c.conf\n/d\n/d/l\n/d/s\n"
    assert outcome.tree.list_children("/d") == ["b", "l", "s"]
    assert outcome.tree.require("/d/s/c.conf").mode == 0o600


# --- text ------------------------------------------------------------------------------------------

# (command reading the standard input, input, output)
FILTERS = [
    ("sed 's/a\\(b*\\)/<\\1>/g'", "abb a\n", "<bb> <>\n"),
    ("sed -n '/^b/p'", "a\nb\nbc\n", "b\nbc\n"),
    ("sed -e '2d' -e 's,/,:,'", "a/b\nc\nd/e/f\n", "a:b\nd:e/f\n"),
    ("sed -E 's/(x|y)+/-/; /k/ i\\new'", "xyz\nk\n", "-z\nnew\nk\n"),
    ("sed '/s/,/e/c gone'", "a\ns\nm\ne\nb\n", "a\ngone\nb\n"),
    ("sed '$ a end'", "a\nb\n", "a\nb\nend\n"),
    ("grep -v '^#' | grep -c .", "#a\nb\n\nc\n", "2\n"),
    ("grep -o 'v[0-9]\\+'", "av12 v3\n", "v12\nv3\n"),
    ("grep -Ex 'a|bb'", "a\nab\nbb\n", "a\nbb\n"),
    ("cut -d: -f1,3", "a:b:c\nd:e:f\n", "a:c\nd:f\n"),
    ("cut -c2-3", "abcd\n", "bc\n"),
    ("tr -d '[:space:]'", "a b\nc\n", "abc"),
    ("tr -s ' ' '\\n'", "a  b\n", "a\nb\n"),
    ("awk '{print $2}'", "a b c\n", "b\n"),
    ("awk -F: '$3 == 100 {print $1, $NF}'", "a:x:100:/a\nb:x:1:/b\n", "a /a\n"),
    ('awk \'/^b/ { print "<" $1 ">" }\'', "a\nb c\n", "<b>\n"),
    ("head -n 1", "a\nb\n", "a\n"),
    ("tail -n +2", "a\nb\nc\n", "b\nc\n"),
    ("sort -u | tail -1", "b\na\nb\n", "b\n"),
    ("uniq -c", "a\na\nb\n", "      2 a\n      1 b\n"),
    ("xargs -n 1 basename", "/a/b /c\n", "b\nc\n"),
    ("md5sum | cut -d' ' -f1", "a\n", "60b725f10c9c85c70d97880dfe8191b3\n"),
    ("wc -l", "a\nb\n", "2\n"),
    ("base64", "ab\n", "YWIK\n"),
]


@pytest.mark.parametrize(("command", "given", "expected"), FILTERS)
def test_filters_do_what_the_programs_do(run: Callable[..., Outcome], command: str, given: str, expected: str) -> None:
    outcome = run(f"set -e\n{{ {command}; }} < /in > /out", {"/in": given})
    assert outcome.unmodelled == []
    assert outcome.text("/out") == expected


@pytest.mark.parametrize("command", ["sed e", "awk '{getline x <\"/f\"}'", "sort -R", "perl -ne print"])
def test_programs_that_are_not_understood_are_not_guessed_at(run: Callable[..., Outcome], command: str) -> None:
    outcome = run(f"echo a | {command} > /out")
    assert [line for line, _ in outcome.unmodelled] == [2]


@pytest.mark.parametrize("command", ["ln -s", "cp a", "mv", "install", "install a", "chown", "chgrp", "chmod"])
def test_too_few_operands_are_a_failure_and_nothing_worse(run: Callable[..., Outcome], command: str) -> None:
    outcome = run(f"{command} || echo refused > /out")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "refused\n"


# --- debconf ---------------------------------------------------------------------------------------

TEMPLATES = """\
Template: mine/mode
Type: select
Default: quiet
Description: How

Template: mine/flag
Type: boolean
Description: Whether
"""
ASKS = """\
. /usr/share/debconf/confmodule
set -e
db_get mine/mode
echo "$RET" > /out
db_get mine/flag
echo "$RET" >> /out
"""


def test_questions_have_their_defaults_or_the_definitions_answers(run: Callable[..., Outcome]) -> None:
    assert run(ASKS, templates=TEMPLATES).text("/out") == "quiet\nfalse\n"
    answered = run(ASKS, templates=TEMPLATES, answers={"mine/mode": "loud"})
    assert answered.text("/out") == "loud\nfalse\n"


# --- dpkg ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ('[ -z "$2" ]', True),
        ('dpkg --compare-versions "$2" lt 1.0', True),
        ('dpkg --compare-versions "$2" lt-nl 1.0', False),
        ("dpkg --compare-versions 1.0~rc1 lt 1.0", True),
        ('[ "$(dpkg --print-architecture)" = amd64 ]', True),
        ("[ \"$(dpkg-query -W -f '${Version}' other)\" = 2.0-1 ]", True),
        ("dpkg-query -W mine >/dev/null 2>&1", False),
        ("[ -d /run/systemd/system ]", False),
        ("[ -x /usr/bin/deb-systemd-helper ]", True),
        ("deb-systemd-helper debian-installed a.service", False),
        ("dpkg-statoverride --list /etc/passwd >/dev/null", False),
    ],
)
def test_the_facts_are_those_of_a_first_installation(run: Callable[..., Outcome], test: str, holds: bool) -> None:
    outcome = run(f"if {test}; then echo yes; else echo no; fi > /out")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == ("yes\n" if holds else "no\n")


def test_overrides_and_diversions_are_recorded_and_done(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\ndpkg-statoverride --update --add daemon adm 2750 /etc/d\n"
        "dpkg-divert --package mine --rename --divert /etc/f.distrib --add /etc/f",
        {"/etc/d/x": "", "/etc/f": "theirs"},
    )
    assert outcome.unmodelled == []
    node = outcome.tree.require("/etc/d")
    assert (node.uid, node.gid, node.mode) == (1, 4, 0o2750)
    assert outcome.text("/var/lib/dpkg/statoverride") == "daemon adm 2750 /etc/d\n"
    assert outcome.text("/var/lib/dpkg/diversions") == "/etc/f\n/etc/f.distrib\nmine\n"
    assert outcome.text("/etc/f.distrib") == "theirs"
    assert "/etc/f" not in outcome.tree


def test_a_configuration_file_is_copied_once_and_never_over_another(run: Callable[..., Outcome]) -> None:
    files = {"/usr/share/mine/a.conf": "new", "/etc/b.conf": "own", "/usr/share/mine/b.conf": "new"}
    outcome = run(
        "set -e\nucf --three-way /usr/share/mine/a.conf /etc/a.conf\nucf /usr/share/mine/b.conf /etc/b.conf", files
    )
    assert (outcome.text("/etc/a.conf"), outcome.text("/etc/b.conf")) == ("new", "own")


def test_capabilities_become_the_kernels_attribute(run: Callable[..., Outcome]) -> None:
    outcome = run("setcap cap_net_raw,cap_net_admin+ep /usr/bin/x", {"/usr/bin/x": ""})
    # setcap(8) of libcap 2.66 writes the same: getfattr -n security.capability -e hex
    assert outcome.tree.require("/usr/bin/x").xattrs == (
        ("security.capability", bytes.fromhex("0100000200300000000000000000000000000000")),
    )
    assert encode_capabilities("cap_bpf=ep")[12:16] == (1 << 7).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ("cap_net_raw-epi", "0000000200000000000000000000000000000000"),
        ("cap_net_raw+epi cap_net_raw-i", "0100000200200000000000000000000000000000"),
        ("cap_net_raw+ep-e", "0000000200200000000000000000000000000000"),
        ("cap_chown=i cap_chown=ep", "0100000201000000000000000000000000000000"),
        ("cap_chown+ep cap_chown=", "0000000200000000000000000000000000000000"),
    ],
)
def test_capabilities_are_added_and_taken_as_setcap_does(text: str, attribute: str) -> None:
    # What setcap(8) of libcap writes for the same text.
    assert encode_capabilities(text).hex() == attribute


@pytest.mark.parametrize("text", ["cap_chown+p cap_net_raw+ep", "cap_no_such+ep", "cap_chown*ep"])
def test_capabilities_that_no_file_can_have_are_not_modelled(run: Callable[..., Outcome], text: str) -> None:
    outcome = run(f'setcap "{text}" /usr/bin/x', {"/usr/bin/x": ""})
    assert [line for line, _ in outcome.unmodelled] == [2]
    assert outcome.tree.require("/usr/bin/x").xattrs == ()


def test_a_preinst_does_not_see_its_own_packages_files(run: Callable[..., Outcome]) -> None:
    files = {
        "/usr/bin/own": make_file("", origin="package:mine"),
        "/usr/bin/other": make_file("", origin="package:other"),
    }
    script = "for f in own other; do [ -e /usr/bin/$f ] && echo $f >> /out; done; true"
    assert run(script, files, name="preinst").text("/out") == "other\n"
    assert run(script, files).text("/out") == "own\nother\n"


def test_what_only_a_running_system_needs_is_dropped_with_the_reason(run: Callable[..., Outcome]) -> None:
    outcome = run("set -e\ninvoke-rc.d a start\ndeb-systemd-invoke restart a.service\nudevadm trigger\nldconfig\n")
    assert outcome.unmodelled == []
    assert [text.rpartition("(")[2] for text in outcome.effects] == [
        *["there is no running system)"] * 3,
        "the index of shared libraries is made when all packages are in)",
    ]


def test_modules_of_apache_come_with_what_they_depend_on(run: Callable[..., Outcome]) -> None:
    base = "/etc/apache2/mods-available"
    files = {f"{base}/a.load": "# Depends: b\nLoadModule a\n", f"{base}/b.load": "LoadModule b\n", f"{base}/b.conf": ""}
    outcome = run("set -e\na2enmod -m -q a", files)
    assert outcome.unmodelled == []
    assert outcome.tree.list_children("/etc/apache2/mods-enabled") == ["a.load", "b.conf", "b.load"]
    assert outcome.tree.require("/etc/apache2/mods-enabled/a.load", follow=False).target == "../mods-available/a.load"


def test_modules_get_bytecode_where_a_script_asks_for_it(run: Callable[..., Outcome]) -> None:
    mine, other = "package:mine", "package:other"
    files: dict[str, Node] = {
        path: make_file("", origin=origin)
        for path, origin in (
            ("/usr/lib/python3/dist-packages/mine/a.py", mine),
            ("/usr/lib/python3/dist-packages/other.py", other),
            ("/usr/lib/python3/dist-packages/mine/data.txt", mine),
            ("/usr/share/mine/private.py", mine),
            ("/usr/share/mine/template.py", mine),
            ("/usr/lib/python3.13/std.py", other),
        )
    }
    files["/usr/share/python3/bcep/mine"] = make_file("re|-|/usr/share/mine|templ.*\n", origin=mine)

    def compiled(script: str) -> list[object]:
        outcome = run(script, files)
        assert outcome.unmodelled == []
        return [
            path for each in outcome.found for e in each.effects if e.kind is EffectKind.BYTECODE for path in e.data
        ]

    assert compiled("py3compile -p mine") == ["/usr/lib/python3/dist-packages/mine/a.py"]
    assert compiled("py3compile -p mine /usr/share/mine -V 3.13-") == ["/usr/share/mine/private.py"]
    assert compiled("py3compile /usr/lib/python3/dist-packages/mine") == ["/usr/lib/python3/dist-packages/mine/a.py"]
    assert compiled(
        "python3.13 -E -S /usr/lib/python3.13/py_compile.py $(dpkg -L other | sed -n '/python3.13.*py$/p')"
    ) == ["/usr/lib/python3.13/std.py"]
    assert compiled("python3 -m compileall -q /usr/share/mine") == [
        "/usr/share/mine/private.py",
        "/usr/share/mine/template.py",
    ]


def test_what_is_made_as_somebody_belongs_to_them(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\nadduser --system --group a\n"
        "su -s /bin/sh a -c 'mkdir -p /var/a; test -O /var/a && exit 3' || echo $? > /out\n"
        "runuser -u a -- touch /var/a/x\nmkdir -p /root/y"
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "3\n"
    owners = [outcome.tree.require(path).uid for path in ("/var/a", "/var/a/x", "/root/y", "/out")]
    assert owners == [100, 100, 0, 0]


def test_a_shell_reads_its_commands_from_a_pipe(run: Callable[..., Outcome]) -> None:
    outcome = run("echo 'echo a > /out; exit 1' | sh || echo b >> /out")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a\nb\n"


def test_a_log_of_the_installation_is_not_written_and_an_unknown_file_goes_nowhere(run: Callable[..., Outcome]) -> None:
    assert run("date >> /var/log/a.log").unmodelled == []
    outcome = run("t=$(mktemp)\ndate > $t\ncp $t /etc/a")
    assert outcome.unmodelled == [(4, "a file is copied whose content only a running machine knows")]
    assert outcome.tree.get("/etc/a") is None


def test_a_user_alone_stands_for_their_login_group(run: Callable[..., Outcome]) -> None:
    outcome = run("adduser --system a\ntouch /x\nchown a: /x")
    assert outcome.unmodelled == []
    assert (outcome.tree.require("/x").uid, outcome.tree.require("/x").gid) == (100, 65534)


def test_files_in_order_of_their_versions(run: Callable[..., Outcome]) -> None:
    outcome = run("ls -v /opt/*/x | tail -n1 > /out", {"/opt/9/x": "", "/opt/17/x": ""})
    assert outcome.text("/out") == "/opt/17/x\n"


def test_a_question_without_a_default_needs_an_answer_where_nobody_understands_what_asks_it() -> None:
    scripts = {
        "config": "#!/usr/bin/perl -w\n",
        "templates": "Template: a/name\nType: string\n\nTemplate: a/size\nType: string\nDefault: 3\n",
        "postinst": "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get a/size\necho $RET > /size\n"
        "db_get a/name\necho $RET > /name\n",
    }
    evaluation = evaluate(Tree(), "a", scripts, Installation("amd64", {}), COMMANDS)[0]
    assert [(line.first, line.reason) for line in evaluation.unmodelled][:1] == [
        (6, "what the package's config answers to a/name is not known; 'debconf' in the definition can answer it")
    ]
    tree = Tree()
    evaluation = evaluate(tree, "a", scripts, Installation("amd64", {}, {"a/name": "x"}), COMMANDS)[0]
    assert evaluation.unmodelled == ()
    assert (tree.read_text("/size"), tree.read_text("/name")) == ("3\n", "x\n")


def test_a_flag_of_a_question_is_what_a_script_set(run: Callable[..., Outcome]) -> None:
    outcome = run(
        ". /usr/share/debconf/confmodule\ndb_fget a/b changed\necho $RET > /out\ndb_fset a/b changed true\n"
        "db_fget a/b changed\necho $RET >> /out"
    )
    assert outcome.text("/out") == "false\ntrue\n"


def test_postfix_is_configured_and_asks_the_machine_for_its_name(run: Callable[..., Outcome]) -> None:
    main = "# see postconf(5)\nmyorigin = /etc/mailname\nsmtpd_banner = $myhostname\n  ESMTP\nreadme_directory = no\n"
    outcome = run(
        'postconf -e "myhostname=$(hostname --fqdn)" smtpd_banner=x inet_interfaces=all\npostconf -# readme_directory\n'
        "postconf -hx default_transport myorigin > /out",
        {"/etc/postfix/main.cf": main},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/etc/postfix/main.cf") == (
        "# see postconf(5)\nmyorigin = /etc/mailname\nsmtpd_banner = x\n#readme_directory = no\ninet_interfaces = all\n"
    )
    assert outcome.text("/out") == "smtp\n/etc/mailname\n"
    assert "is dropped: postconf myhostname (where it is not set, Postfix asks the machine)" in outcome.effects


def test_getopt_takes_its_letters_as_the_first_word_where_no_option_has_them(run: Callable[..., Outcome]) -> None:
    outcome = run("eval set -- $(getopt -n x -l confdir: -- +o:v -v --confdir /d rest -o)\necho $* > /out")
    assert outcome.text("/out") == "-v --confdir /d -- rest -o\n"


def test_dpkg_finds_whose_files_match_a_pattern(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "dpkg -S '/etc/init.d/*' > /out", {"/etc/init.d/a": make_file("", origin="package:mine"), "/etc/b": ""}
    )
    assert outcome.text("/out") == "mine: /etc/init.d/a\n"


def test_the_best_alternative_so_far_is_known_to_who_asks(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "update-alternatives --query vi > /out || echo $? > /out\n"
        "update-alternatives --install /usr/bin/vi vi /usr/bin/nvi 10\n"
        "update-alternatives --install /usr/bin/vi vi /usr/bin/vim 30\n"
        "update-alternatives --install /usr/bin/vi vi /usr/bin/ed 5\n"
        "update-alternatives --query vi | grep Value >> /out\nreadlink -f /usr/bin/vi >> /out",
        {"/usr/bin/nvi": "", "/usr/bin/vim": "", "/usr/bin/ed": ""},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "2\nValue: /usr/bin/vim\n/usr/bin/vim\n"


def test_dpkg_lists_the_files_of_several_packages(run: Callable[..., Outcome]) -> None:
    files = {"/usr/a": make_file("", origin="package:mine"), "/usr/b": make_file("", origin="package:other")}
    outcome = run("dpkg -L mine other none > /out || echo $? >> /out", files)
    assert {"/usr/a", "/usr/b", "1"} <= set(outcome.text("/out").split())


def test_a_command_with_a_time_limit_is_that_command(run: Callable[..., Outcome]) -> None:
    outcome = run("timeout -k 5 --foreground 30 sh -c 'echo a > /out'\nucfq -w /out\ndropbearkey -t rsa -f /etc/key")
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "a\n"
    assert "leaves to each machine: /etc/key (dropbearkey -t rsa -f /etc/key)" in outcome.effects
