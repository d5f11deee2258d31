"""Secrets and databases with an identity: what stands for them in scripts, and the unit that makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import ConfigError
from builder.debian.handlers.own_data import install_own_data
from builder.debian.handlers.scripts import evaluate_scripts
from builder.debian.handlers.work import Work
from builder.tree.node import Kind, file

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


def _made(work: Work) -> Work:
    evaluate_scripts(work)
    install_own_data(work)
    return work


def test_a_key_is_not_in_the_image_and_a_unit_makes_it_before_the_service(work_on: Callable[..., Work]) -> None:
    work = work_on(ACCOUNTS, bind9=BIND)
    work.tree.put(UNIT, file("", origin="package:bind9"))
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
        "Before=named.service",
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
        with pytest.raises(ConfigError) as refused:
            _made(work_on({**ACCOUNTS, UNIT: ""}, a=f"#!/bin/sh\nset -e\n{script}\n"))
        assert "each machine must run it" in str(refused.value.details)
