"""Secrets and databases with an identity: what stands for them in scripts, and the unit that makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.language.evaluator import Shell
from builder.debian.scripts.language.parser import parse
from builder.debian.scripts.subjects.own_data_units import install_own_data, make_unit
from builder.debian.scripts.target_system import Installation, TargetSystem
from builder.debian.scripts.work import Work
from builder.tree.node import Kind, make_file
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

pytestmark = pytest.mark.unit

ACCOUNTS = {
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nbind:x:101:102::/:/bin/sh\n",
    "/etc/group": "root:x:0:\nbind:x:102:\n",
}
UNIT = "/usr/lib/systemd/system/named.service"
KEY = "/etc/bind/rndc.key"
BIND = f"""#!/bin/sh
set -e
[ -s {KEY} ] || rndc-confgen -a
uid=$(ls -ln {KEY} | awk '{{print $3}}')
if [ "$uid" = 0 ]; then
    chown bind:bind {KEY}
    chmod 640 {KEY}
fi
named-checkconf /etc/bind/named.conf
"""


PROGRAMS = ("openssl", "rndc-confgen", "mv", "sed", "uuidgen", "cut")


@pytest.fixture
def run_shell() -> Callable[[str], dict[str, str]]:
    """The variables of a shell after a script, by our own evaluator: its functions come before our models."""

    def run(text: str) -> dict[str, str]:
        shell = Shell(TargetSystem(Tree(), Installation("amd64", {}), "a"), COMMANDS, text, (), {})
        shell.run(parse(text))
        assert shell.unmodelled == []
        return shell.state.variables

    return run


def _made(work: Work, *programs: str) -> Work:
    for name in programs or PROGRAMS:
        work.tree.put(f"/usr/bin/{name}", make_file("", 0o755, origin="package:other"))
    evaluate_scripts(work)
    install_own_data(work)
    return work


def test_a_key_is_not_in_the_image_and_a_unit_makes_it_before_the_service(work_on: Callable[..., Work]) -> None:
    work = work_on(ACCOUNTS, bind9=BIND)
    work.tree.put(UNIT, make_file("", origin="package:bind9"))
    tree = _made(work).tree
    assert tree.get(KEY) is None
    program = tree.require("/usr/lib/build-os/own-data/bind9")
    assert program.is_executable
    assert program.content.read().decode() == (
        "#!/bin/sh\n"
        "# What the scripts of bind9 make when it is installed, and no two machines may share.\n"
        "set -e\n"
        "export LANG=${LANG:-C.UTF-8}\n"
        f"[ -e {KEY} ] || {{\n"
        "    umask 077\n"
        "    rndc-confgen -a\n"
        f"    chown bind:bind {KEY}\n"
        f"    chmod 0640 {KEY}\n"
        "}\n"
        "umask 022\n"
        "mkdir -p /var/lib/build-os/own-data\n"
        ": >/var/lib/build-os/own-data/bind9\n"
    )
    unit = tree.read_text("/usr/lib/systemd/system/own-data-bind9.service").splitlines()
    assert {
        "ConditionPathExists=!/var/lib/build-os/own-data/bind9",
        f"X-Makes={KEY}",
        "Before=named.service shutdown.target",
        "ExecStart=/usr/lib/build-os/own-data/bind9",
    } <= set(unit)
    wanted = tree.require("/usr/lib/systemd/system/named.service.wants/own-data-bind9.service", follow=False)
    assert (wanted.kind, wanted.target) == (Kind.SYMLINK, "../own-data-bind9.service")


def test_a_package_without_a_service_has_its_key_before_any_service_starts(work_on: Callable[..., Work]) -> None:
    work = work_on({**ACCOUNTS, UNIT: ""}, cert="#!/bin/sh\nset -e\nopenssl genrsa -out /etc/a.key 2048\n")
    tree = _made(work).tree
    assert "/usr/lib/systemd/system/basic.target.wants/own-data-cert.service" in tree
    assert "Before=basic.target shutdown.target" in tree.read_text("/usr/lib/systemd/system/own-data-cert.service")


def test_other_packages_find_the_key_while_scripts_are_evaluated(work_on: Callable[..., Work]) -> None:
    work = work_on(
        {**ACCOUNTS, UNIT: ""},
        cert="#!/bin/sh\nset -e\nopenssl rand -hex -out /etc/a.key 20\n",
        other="#!/bin/sh\nset -e\nif [ -f /etc/a.key ]; then echo tls > /etc/other; fi\n",
    )
    tree = _made(work).tree
    assert tree.read_text("/etc/other") == "tls\n"
    assert tree.get("/etc/a.key") is None


def test_a_key_that_is_made_elsewhere_and_moved_is_moved_on_the_machine(work_on: Callable[..., Work]) -> None:
    script = "#!/bin/sh\nset -e\nt=$(mktemp)\nopenssl rand -hex -out $t 20\nmv $t /etc/a.key\nchmod 440 /etc/a.key\n"
    tree = _made(work_on({**ACCOUNTS, UNIT: ""}, a=script)).tree
    lines = [line.strip() for line in tree.read_text("/usr/lib/build-os/own-data/a").splitlines()]
    assert lines.index("openssl rand -hex -out /tmp/tmp.000000 20") < lines.index("mv /tmp/tmp.000000 /etc/a.key")
    assert lines.index("mv /tmp/tmp.000000 /etc/a.key") < lines.index("chmod 0440 /etc/a.key")
    assert "/tmp/tmp.000000" not in tree


def test_links_into_usr_are_the_programs_business_whatever_fits_the_machine(work_on: Callable[..., Work]) -> None:
    """Their owner would be that of what they lead to, which is read-only, and none of them need be there."""
    work = work_on(
        {**WITH_SYSTEMD, "/etc/munin/munin-node.conf": ""}, munin="#!/bin/sh\nmunin-node-configure --shell\n"
    )
    tree = _made(work, "munin-node-configure", "sh").tree
    assert tree.read_text("/usr/lib/build-os/own-data/munin").splitlines()[4:] == [
        "{",
        "    umask 022",
        "    munin-node-configure --shell | sh",
        "}",
        "umask 022",
        "mkdir -p /var/lib/build-os/own-data",
        ": >/var/lib/build-os/own-data/munin",
    ]


def test_an_image_without_systemd_says_what_nobody_makes(work_on: Callable[..., Work]) -> None:
    said: list[str] = []
    work = work_on(ACCOUNTS, bind9=BIND)
    console = work.tools.console
    assert isinstance(console, QuietConsole)
    console.warn = said.append  # type: ignore[method-assign]  # listens
    tree = _made(work).tree
    assert said == [f"bind9: nobody makes {KEY}: there is no systemd in the image"]
    assert tree.get(KEY) is None
    assert tree.get("/usr/lib/build-os") is None


def test_what_a_program_reads_goes_with_it_or_is_refused(work_on: Callable[..., Work]) -> None:
    request = "openssl req -x509 -nodes -out /etc/a.pem -keyout /etc/a.pem"
    tree = _made(work_on({**ACCOUNTS, UNIT: ""}, a=f"#!/bin/sh\nset -e\n{request} <<E\n.\nname\nE\n")).tree
    assert f"printf %s '.\nname\n' | {request}\n" in tree.read_text("/usr/lib/build-os/own-data/a")
    for script in (f"hostname | {request}", f"echo x > /tmp/conf\n{request} -config /tmp/conf"):
        with pytest.raises(InputError) as refused:
            _made(work_on({**ACCOUNTS, UNIT: ""}, a=f"#!/bin/sh\nset -e\n{script}\n"))
        assert "each machine must run it" in str(refused.value.details)


WITH_SYSTEMD = {**ACCOUNTS, "/usr/lib/systemd/system/other.service": ""}
MAKE_CERT = """#!/bin/bash -e
. /usr/share/debconf/confmodule
db_version 2.0
RET=
while [ "x$RET" = x ]; do
    db_input high make-cert/name || true
    db_go
    db_get make-cert/name
done
openssl req -subj "/CN=$RET" -keyout /etc/key -out /etc/cert
"""


def test_a_file_with_the_machines_word_in_it_is_there_whole_or_not_at_all(work_on: Callable[..., Work]) -> None:
    tree = _made(work_on(WITH_SYSTEMD, a="#!/bin/sh\nuuidgen | cut -c1-8 > /etc/id\nchmod 0600 /etc/id\n")).tree
    assert "/etc/id" not in tree
    assert tree.read_text("/usr/lib/build-os/own-data/a").splitlines()[4:] == [
        "[ -e /etc/id ] || {",
        "    umask 077",
        "    uuidgen | cut -c1-8 >/etc/id.new",
        "    mv /etc/id.new /etc/id",
        "    chown root:root /etc/id",
        "    chmod 0600 /etc/id",
        "}",
        "umask 022",
        "mkdir -p /var/lib/build-os/own-data",
        ": >/var/lib/build-os/own-data/a",
    ]


def test_a_file_that_is_written_in_several_goes_is_made_once(work_on: Callable[..., Work]) -> None:
    tree = _made(
        work_on(WITH_SYSTEMD, a="#!/bin/sh\necho '# id' > /etc/id\nuuidgen >> /etc/id\necho end >> /etc/id\n")
    ).tree
    program = tree.read_text("/usr/lib/build-os/own-data/a")
    assert program.count("[ -e /etc/id ]") == 1
    assert "    printf %s '# id\n'\"$(uuidgen)\"'\nend\n' >/etc/id.new\n" in program


@pytest.mark.parametrize(
    ("programs", "interpreter", "missing"),
    [
        (("sh",), "/bin/sh", "uuidgen is not in the image"),
        (("uuidgen",), "/usr/bin/perl", "/usr/bin/uuidgen is run by /usr/bin/perl, which is not in the image"),
        (("uuidgen", "sh"), "/usr/bin/sh", "/usr/bin/uuidgen reads /usr/share/a/lib, which is not in the image"),
    ],
)
def test_what_a_machine_could_not_run_is_refused_when_the_image_is_built(
    work_on: Callable[..., Work], programs: tuple[str, ...], interpreter: str, missing: str
) -> None:
    work = work_on(WITH_SYSTEMD, a="#!/bin/sh\nuuidgen > /etc/id\n")
    for name in programs:
        text = f"#!{interpreter}\n. /usr/share/a/lib\n[ -e /gone ] && . /gone\n" if name == "uuidgen" else ""
        work.tree.put(f"/usr/bin/{name}", make_file(text, 0o755, origin="package:other"))
    evaluate_scripts(work)
    with pytest.raises(InputError, match="what a makes when it is installed, and could not") as caught:
        install_own_data(work)
    assert list(caught.value.details) == [missing]


def test_a_program_that_asks_debconf_has_its_answers_where_there_is_none(
    work_on: Callable[..., Work], run_shell: Callable[[str], dict[str, str]]
) -> None:
    work = work_on(WITH_SYSTEMD, a="#!/bin/sh\nmake-ssl-cert /usr/share/t /etc/cert\n")
    templates = "Template: make-cert/name\nType: string\nDefault: local host\n\nTemplate: make-cert/other\nType: note\n"
    work = replace(work, scripts={**work.scripts, "cert": {"templates": templates}})
    for path, text in (("/usr/sbin/make-ssl-cert", MAKE_CERT), ("/bin/bash", "")):
        work.tree.put(path, make_file(text, 0o755, origin="package:other"))
    library = _made(work).tree.read_text("/usr/share/debconf/confmodule")
    found = run_shell(
        library + "db_version 2.0\ndb_get make-cert/name\nname=$RET\ndb_input high make-cert/name || asked=$?\n"
        "db_go\ndb_get gone/question || gone=$?\n"
    )
    assert (found["name"], found["asked"], found["gone"]) == ("local host", "30", "10")


def test_debconf_itself_is_left_as_it_is(work_on: Callable[..., Work]) -> None:
    work = work_on(WITH_SYSTEMD, a="#!/bin/sh\nmake-ssl-cert /usr/share/t /etc/cert\n")
    for path, text in (
        ("/usr/sbin/make-ssl-cert", MAKE_CERT),
        ("/bin/bash", ""),
        ("/usr/share/debconf/confmodule", "# debconf's own\n"),
    ):
        work.tree.put(path, make_file(text, 0o755, origin="package:other"))
    assert _made(work).tree.read_text("/usr/share/debconf/confmodule") == "# debconf's own\n"


@pytest.mark.parametrize(
    ("paths", "early", "after"),
    [
        (("/etc/munge/munge.key",), False, ["After=sysinit.target"]),
        (("/var/lib/app/key",), True, ["After=local-fs.target systemd-tmpfiles-setup.service"]),
        (("/etc/nvme/hostid",), True, []),
    ],
)
def test_a_unit_orders_itself_so_that_no_socket_or_early_service_waits_for_it_in_a_circle(
    paths: tuple[str, ...], early: bool, after: list[str]
) -> None:
    lines = make_unit("app", paths, ["app.socket"], early=early).splitlines()
    assert "DefaultDependencies=no" in lines
    assert [line for line in lines if line.startswith("After=")] == after
    assert "Before=app.socket shutdown.target" in lines
