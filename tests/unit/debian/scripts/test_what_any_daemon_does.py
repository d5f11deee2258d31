"""What recurs in scripts of daemons that are not popular: what is each machine's own, inetd, packed files, patterns."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial

import pytest

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.language import evaluator
from builder.debian.scripts.language.time_limit import limit_time
from builder.debian.scripts.state import Records
from builder.debian.scripts.target_system import Installation
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

from .conftest import Outcome

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("openssl rand -base64 24 > /etc/key", "openssl rand -base64 24 >/etc/key"),
        ("head -c 18 /dev/urandom | base64 > /etc/key", "head -c 18 /dev/urandom | base64 >/etc/key"),
        ("tr -dc a-z < /dev/urandom | head -c 9 > /etc/key", "cat /dev/urandom | tr -dc a-z | head -c 9 >/etc/key"),
        ("dd if=/dev/urandom bs=1 count=9 > /etc/key 2>/dev/null", "dd if=/dev/urandom bs=1 count=9 >/etc/key"),
        ("dd if=/dev/urandom of=/etc/key count=1", "dd if=/dev/urandom of=/etc/key count=1"),
        ("uuid=$(uuidgen)\necho id=$uuid > /etc/key", "printf %s id=\"$(uuidgen)\"'\n' >/etc/key"),
        ("echo a > /etc/key\nuuidgen >> /etc/key", "printf %s 'a\n'\"$(uuidgen)\"'\n' >/etc/key"),
        ("t=$(mktemp)\nuuidgen > $t\nmv $t /etc/key", "uuidgen >/etc/key"),
        ("db_set mine/a $(hostname -f)\ndb_get mine/a\necho $RET > /etc/key", "hostname -f >/etc/key"),
        ("nvme gen-hostnqn > /etc/key\nchmod 600 /etc/key", "nvme gen-hostnqn >/etc/key"),
        ("iptables-save > /etc/key", "iptables-save >/etc/key"),
        ("certtool --generate-dh-params --outfile /etc/key", "certtool --generate-dh-params --outfile /etc/key"),
    ],
)
def test_what_is_different_on_each_machine_is_written_by_each_machine(
    run: Callable[..., Outcome], script: str, command: str
) -> None:
    outcome = run(script, templates="Template: mine/a\nType: string\n")
    assert outcome.unmodelled == []
    effects = [e for each in outcome.found for e in each.effects if e.kind is EffectKind.OWN_DATA]
    assert effects[-1].data[0] == command


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("key=$(uuidgen)\necho $key > /etc/a\necho $key > /etc/b", 4),  # one key of two files
        ("echo $(uuidgen) >> /etc/other", 2),  # a file of another package
        ("mkdir /etc/$(uuidgen)", 2),
        ("echo $(uuidgen)$(date) > /etc/a", 2),
    ],
)
def test_a_secret_that_is_woven_into_something_else_is_not_made(
    run: Callable[..., Outcome], script: str, line: int
) -> None:
    outcome = run(script, {"/etc/other": "text\n"})
    assert [number for number, _ in outcome.unmodelled] == [line]
    assert outcome.text("/etc/other") == "text\n"


def test_two_secrets_are_two(run: Callable[..., Outcome]) -> None:
    assert run("a=$(uuidgen)\nb=$(uuidgen)\necho $a > /etc/a\necho $b > /etc/b").unmodelled == []


def test_what_debconf_has_of_another_package_is_asked_for(run: Callable[..., Outcome]) -> None:
    tree, installation, records = Tree(), Installation("amd64", {}), Records()
    templates = "Template: common/how\nType: select\nChoices: inetd, standalone\nDefault: standalone\n"
    evaluate(tree, "common", {"templates": templates, "postinst": "#!/bin/sh\n:\n"}, installation, COMMANDS, records)
    script = '#!/bin/sh\nset -e\ndb_get common/how\necho "$RET" > /how\n'
    (found,) = evaluate(tree, "server", {"postinst": script}, installation, COMMANDS, records)
    assert found.unmodelled == ()
    assert tree.read_text("/how") == "standalone\n"


INETD = "#:INTERNAL: Internal services\n#discard stream tcp\n\n#:MAIL: Mail\n\n#<off># finger stream tcp nowait\n"


@pytest.mark.parametrize(
    ("call", "now"),
    [
        ("--group MAIL --add 'pop stream\\ttcp'", INETD.replace("Mail\n", "Mail\npop stream\ttcp\n")),
        ("--add 'pop stream tcp'", INETD + "pop stream tcp\n"),
        ("--add 'finger stream tcp nowait'", INETD.replace("#<off># ", "")),
        ("--add 'discard stream tcp'", INETD),  # who commented it out has decided
        ("--enable finger", INETD.replace("#<off># ", "")),
        ("--enable finger --pattern wait$", INETD.replace("#<off># ", "")),
        ("--disable pop", INETD),
        ("--remove finger", INETD.replace("#<off># finger stream tcp nowait\n", "")),
    ],
)
def test_services_of_inetd_are_added_and_switched(run: Callable[..., Outcome], call: str, now: str) -> None:
    outcome = run(f"update-inetd {call}", {"/etc/inetd.conf": INETD})
    assert outcome.unmodelled == []
    assert outcome.text("/etc/inetd.conf") == now


def test_without_inetd_there_is_nothing_to_add_a_service_to(run: Callable[..., Outcome]) -> None:
    outcome = run("update-inetd --add 'pop stream tcp'\nupdate-inetd --disable pop")
    assert outcome.unmodelled == []
    assert "/etc/inetd.conf" not in outcome.tree


def test_the_cache_of_twisteds_plugins_is_left_to_the_images_python(run: Callable[..., Outcome]) -> None:
    files = {"/usr/bin/python3": make_file("", 0o755, origin="package:other")}
    call = "python3.13 -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'"
    outcome = run(f"{call}", files)
    assert outcome.unmodelled == []
    assert [str(e.data[0]) for each in outcome.found for e in each.effects] == ["/usr/bin/python3"]


def test_find_ends_where_it_is_told_to(run: Callable[..., Outcome]) -> None:
    files = {f"/d/{name}": "" for name in "abc"}
    assert run("find /d -type f -print -quit > /out", files).text("/out") == "/d/a\n"
    assert run("find /d -name b -quit > /out", files).text("/out") == ""


def test_grep_says_the_number_of_a_line(run: Callable[..., Outcome]) -> None:
    files = {"/in": "a\nb\nab\n"}
    assert run("grep -n b /in > /out", files).text("/out") == "2:b\n3:ab\n"
    assert run("grep -no b /in > /out", files).text("/out") == "2:b\n3:b\n"
    assert run("grep --color -c b /in > /out", files).text("/out") == "2\n"


def test_what_is_packed_is_unpacked(run: Callable[..., Outcome]) -> None:
    packed = make_file(gzip.compress(b"one\ntwo\n"), origin="package:other")
    assert run("zcat /in | tac > /out", {"/in": packed}).text("/out") == "two\none\n"
    assert run("gzip -dc < /in | base64 | base64 -d > /out", {"/in": packed}).text("/out") == "one\ntwo\n"
    assert [number for number, _ in run("gzip -9 /in", {"/in": packed}).unmodelled] == [2]


@pytest.mark.parametrize("command", ["grep -E '(a|a)*b' /in", "expr \"$(cat /in)\" : '\\(a\\|a\\)*b'"])
def test_the_programs_take_no_time_for_patterns_that_others_try_for_ever(
    run: Callable[..., Outcome], command: str
) -> None:
    outcome = run(f"{command} > /out || true", {"/in": "a" * 60 + "\n"})
    assert outcome.unmodelled == []


def test_bash_counts(run: Callable[..., Outcome]) -> None:
    script = "i=0\nwhile (( i < 3 )); do (( i++ )); done\n(( x = i * 2 ))\nlet y=x+1\n(( 0 )) || echo $i $x $y > /out"
    assert run(script, shell="bash").text("/out") == "3 6 7\n"


def test_what_the_machine_says_is_filtered_on_the_machine_and_used_once(run: Callable[..., Outcome]) -> None:
    def left(script: str) -> list[object]:
        outcome = run(script, {"/usr/share/a": "id=ID\n"})
        assert outcome.unmodelled == []
        return [e.data[0] for each in outcome.found for e in each.effects if e.kind is EffectKind.OWN_DATA]

    sed = 'id=$(uuidgen)\nsed "s/ID/$id/" /usr/share/a > /etc/a'
    assert left(sed) == ['sed s/ID/"$(uuidgen)"/ /usr/share/a >/etc/a']
    assert left(sed.replace("/usr/share/a", "< /usr/share/a")) == [
        "printf %s 'id=ID\n' | sed s/ID/\"$(uuidgen)\"/ >/etc/a"
    ]
    twice = "p=$(pwgen)\necho $p > /etc/a\necho $p | sha256sum > /etc/b"
    assert [line for line, _ in run(twice).unmodelled] == [4]
    both = "h=$(hostname -f)\necho $h > /etc/a\necho $h | cut -d. -f1 > /etc/b"
    assert left(both) == ["hostname -f >/etc/a", "hostname -f | cut -d. -f1 >/etc/b"]


def test_an_image_is_made_without_a_network(run: Callable[..., Outcome]) -> None:
    outcome = run(
        'set -e\nserver=$(getent hosts "ldap.$(dnsdomainname)") || true\necho "<$server>" > /out\nip addr show $x'
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "<>\n"


def test_a_user_gets_a_range_of_numbers(run: Callable[..., Outcome]) -> None:
    outcome = run("usermod --add-subuids 100000-165535 --add-subgids 1-2 daemon")
    assert outcome.unmodelled == []
    assert (outcome.text("/etc/subuid"), outcome.text("/etc/subgid")) == ("daemon:100000:65536\n", "daemon:1:2\n")


def test_a_part_of_a_file_is_read(run: Callable[..., Outcome]) -> None:
    assert run("dd if=/in bs=1 count=2 2>/dev/null > /out", {"/in": "abc"}).text("/out") == "ab"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("s/a/b/", "bxa\nb\n"),
        ("s/a/b/g; s{x}{[\\$0]}", None),
        ("s/(a)(x)/\\$2\\$1/", "xaa\na\n"),
        ("s'a'\\$b'", "$bxa\n$b\n"),
        ("s/A$/end/i", "axend\nend\n"),
        ("s{a}{b}g; s/b$/c/", "bxc\nc\n"),
        ("print", None),
        ("s/a/uc(x)/e", None),
        ("s/a/@b/", None),
    ],
)
def test_perl_substitutes_as_sed_does(run: Callable[..., Outcome], program: str, text: str | None) -> None:
    outcome = run(f'perl -p -e "{program}" < /in > /out', {"/in": "axa\na\n"})
    assert [line for line, _ in outcome.unmodelled] == ([2] if text is None else [])
    if text is not None:
        assert outcome.text("/out") == text
        assert run(f'perl -pi -e "{program}" /in', {"/in": "axa\na\n"}).text("/in") == text


def test_who_is_not_there_cannot_own_a_file(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\ntouch /a\nchgrp mine /a 2>/dev/null || addgroup --system mine\nchown nobody2 /a || echo no > /out"
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "no\n"


def test_an_excluded_package_is_installed_to_a_script(run: Callable[..., Outcome]) -> None:
    script = "#!/bin/sh\nset -e\nif command -v ucf >/dev/null; then ucf --three-way /usr/share/a.conf /etc/a.conf; fi\n"
    for excluded, there in ((frozenset({"ucf"}), True), (frozenset[str](), False)):
        tree = Tree()
        tree.put("/usr/share/a.conf", make_file("a\n", origin="package:a"))
        evaluate(tree, "a", {"postinst": script}, Installation("amd64", {}, {}, excluded), COMMANDS)
        assert ("/etc/a.conf" in tree) is there


def test_a_preinst_may_make_a_directory_that_its_package_brings(run: Callable[..., Outcome]) -> None:
    files = {
        "/etc/mine/conf": make_file("x", origin="package:mine"),
        "/etc/mine": make_directory(origin="package:mine"),
    }
    outcome = run("set -e\nmkdir -p /etc/mine\nchmod 750 /etc/mine\n[ ! -e /etc/mine/conf ]", files, name="preinst")
    assert outcome.unmodelled == []
    assert outcome.tree.require("/etc/mine").mode == 0o750


def test_a_failure_in_the_background_is_nobodys(run: Callable[..., Outcome]) -> None:
    outcome = run("set -e\nmkdir -f /a &> /dev/null || true\n{ cd /etc; false; } &\nmkdir b")
    assert outcome.unmodelled == []
    assert "/b" in outcome.tree


def test_a_person_gets_numbers_after_the_last_one_and_a_range_for_containers(run: Callable[..., Outcome]) -> None:
    files = {"/etc/subuid": "other:100000:65536\n", "/etc/subgid": ""}
    outcome = run("useradd -M ann\nuseradd -r -M daemon2\nuseradd -r -F -M worker", files)
    assert outcome.unmodelled == []
    assert outcome.text("/etc/subuid") == "other:100000:65536\nann:165536:65536\nworker:231072:65536\n"
    assert outcome.text("/etc/subgid") == "ann:100000:65536\nworker:165536:65536\n"
    assert "ann:x:1000:" in outcome.text("/etc/passwd")


def test_limits_of_numbers_that_a_call_gives_are_kept(run: Callable[..., Outcome]) -> None:
    script = "useradd -r -M -g 1 -u 300 a\nuseradd -M -g 1 -K PASS_MAX_DAYS=-1 -K UID_MIN=200 -K UID_MAX=400 b"
    assert "\nb:x:301:1:" in run(script).text("/etc/passwd")


@pytest.mark.parametrize(("given", "left"), [("1-4294967295", ""), ("1-99", "mine:100000:65536\n")])
def test_subordinate_ids_are_taken_away(run: Callable[..., Outcome], given: str, left: str) -> None:
    rows = {"/etc/subuid": "mine:100000:65536\nother:1:2\n"}
    outcome = run(f"useradd -r -M -g 1 mine\nusermod --del-subuids {given} mine", rows)
    assert outcome.unmodelled == []
    assert outcome.text("/etc/subuid") == f"{left}other:1:2\n"


def test_subordinate_ids_that_overlap_are_not_guessed_at(run: Callable[..., Outcome]) -> None:
    outcome = run("useradd -r -M -g 1 mine\nusermod -V 100001-200000 mine", {"/etc/subuid": "mine:100000:65536\n"})
    assert [line for line, _ in outcome.unmodelled] == [3]


def test_a_password_that_nobody_can_type_may_be_set_and_no_other(run: Callable[..., Outcome]) -> None:
    shadow = {"/etc/shadow": "mine:!:::::::\n"}
    outcome = run("useradd -r -M -g 1 mine\nusermod -p '*' mine", shadow)
    assert outcome.unmodelled == []
    assert "mine:*:::::::\n" in outcome.text("/etc/shadow")
    outcome = run("useradd -r -M -g 1 mine\nusermod -p '$6$a$b' mine", shadow)
    assert [line for line, _ in outcome.unmodelled] == [3]


def test_getent_reads_the_files_of_the_image_for_several_names(run: Callable[..., Outcome]) -> None:
    outcome = run("getent -s files group daemon nobody-has-it root > /out || echo $? >> /out")
    assert outcome.text("/out").splitlines()[-1] == "2"
    assert [line.split(":")[0] for line in outcome.text("/out").splitlines()[:-1]] == ["daemon", "root"]
    assert run("getent -s sss passwd root").unmodelled != []


@pytest.mark.parametrize(
    ("question", "said", "status"),
    [
        ("-m a", "a (enabled by site administrator)\n", 0),
        ("-m a.load", "a (enabled by site administrator)\n", 0),
        ("-c on", "on (enabled by maintainer script)\n", 0),
        ("-q -c on", "", 0),
        ("-m b", "", 33),
        ("-c off", "", 32),
        ("-s never", "", 1),
        ("-M", "event\n", 0),
    ],
)
def test_apache_is_asked_what_is_enabled(run: Callable[..., Outcome], question: str, said: str, status: int) -> None:
    enabled = ("mods-enabled/a.load", "mods-enabled/mpm_event.load", "conf-enabled/on.conf", "sites-enabled/x.conf")
    marks = ("module/enabled_by_admin/a", "conf/enabled_by_maint/on", "module/disabled_by_maint/b")
    files = {f"/etc/apache2/{path}": "" for path in enabled}
    files |= {f"/var/lib/apache2/{path}": "" for path in (*marks, "conf/disabled_by_admin/off")}
    outcome = run(f"a2query {question} > /out && status=$? || status=$?\necho $status > /status", files)
    assert outcome.unmodelled == []
    assert (outcome.text("/out"), outcome.text("/status")) == (said, f"{status}\n")


def test_the_users_of_sasl_are_each_machines_own(run: Callable[..., Outcome]) -> None:
    script = "echo '!' | saslpasswd2 -c no:user\nchmod 660 /etc/sasldb2\nsaslpasswd2 -d no:user"
    outcome = run(script)
    assert outcome.unmodelled == []
    commands = [e.data[0] for each in outcome.found for e in each.effects if e.kind is EffectKind.OWN_DATA]
    assert commands == ["printf %s '!\n' | saslpasswd2 -c no:user", "saslpasswd2 -d no:user"]
    assert outcome.tree.get("/etc/sasldb2").mode == 0o660


def test_the_keys_of_cfengine_are_each_machines_own(run: Callable[..., Outcome]) -> None:
    outcome = run("[ -f /var/lib/cfengine3/ppkeys/localhost.priv ] || cf-key")
    assert outcome.unmodelled == []
    assert [e.data[0] for each in outcome.found for e in each.effects if e.kind is EffectKind.OWN_DATA] == ["cf-key"]


def test_what_bash_compares_with_may_have_parentheses_in_it(run: Callable[..., Outcome]) -> None:
    script = "f() {\n  [[ $1 =~ kernel_(pre|post(in st|rm)) && -e /x ]] && return 1\n}\ntouch /yes"
    outcome = run(script, shell="bash")
    assert outcome.unmodelled == []
    assert outcome.tree.get("/yes") is not None


def test_a_pattern_that_takes_for_ever_is_given_up(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "limit_time", partial(limit_time, seconds=0.2))
    outcome = run("perl -pe 's/(a|a)*b/x/' /in", {"/in": "a" * 60 + "\n"})
    assert [number for number, _ in outcome.unmodelled] == [2]
    assert "longer for its pattern" in outcome.unmodelled[0][1]


def test_a_file_that_is_edited_to_say_who_the_machine_is_is_edited_by_each_machine(run: Callable[..., Outcome]) -> None:
    script = """printf "A=1\\nNAME=\\n" > /etc/default/mine
name=$(hostname)
sed -i -e "s/^NAME=.*/NAME=$name/" /etc/default/mine
chmod 640 /etc/default/mine"""
    outcome = run(script)
    assert outcome.unmodelled == []
    effects = [e for each in outcome.found for e in each.effects if e.kind is EffectKind.OWN_DATA]
    assert effects[-1].data[0] == (
        "printf %s 'A=1\nNAME=\n' | sed -e 's/^NAME=.*/NAME='\"$(hostname)\"/ >/etc/default/mine"
    )
    assert outcome.tree.get("/etc/default/mine").mode == 0o640
