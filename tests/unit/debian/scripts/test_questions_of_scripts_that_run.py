"""What a package's ``config`` answers, where its other scripts are run in the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.decisions import Decision
from builder.debian.scripts.effects import Effect
from builder.debian.scripts.sandbox.helpers import read_calls
from builder.debian.scripts.state import Records
from builder.debian.scripts.work import Work

pytestmark = pytest.mark.unit

ASKS = "#!/bin/sh\n. /usr/share/debconf/confmodule\n"
NOT_KNOWN = "factor 12 >/dev/null\n"
DEPENDS_ON_THE_MACHINE = ASKS + "case $(uname -r) in [3-9]*) db_set odd/name yes;; *) db_set odd/name no;; esac\n"
TEMPLATES = "Template: odd/name\nType: string\nDefault: the default\n"


@pytest.mark.parametrize(
    ("config", "ran", "answer"),
    [
        (ASKS + "db_set odd/name evaluated\n", [], "evaluated"),
        (ASKS + NOT_KNOWN + "db_set odd/name evaluated\n", ["config"], "of the run"),
        (DEPENDS_ON_THE_MACHINE, ["config"], "of the run"),
        ("#!/usr/bin/perl\n", ["config"], "of the run"),
    ],
    ids=["understood", "not understood", "depends on the machine", "Perl"],
)
def test_config_is_run_where_its_answers_are_not_known_otherwise(
    work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, config: str, ran: list[str], answer: str
) -> None:
    runs: list[str] = []
    seen: list[str] = []

    def run_config(work: Work, installation: object, package: str, scripts: object, records: Records) -> bool:
        runs.append("config")
        records.answers["odd/name"] = "of the run"
        return True

    def run_script(
        work: Work, installation: object, package: str, scripts: Mapping[str, str], call: object, records: Records
    ) -> tuple[Effect, ...]:
        seen.append(records.answers["odd/name"])
        return ()

    monkeypatch.setattr("builder.debian.scripts.configure.run_config", run_config)
    monkeypatch.setattr("builder.debian.scripts.configure.run_script", run_script)
    work = work_on({})
    work.scripts["odd"] = {  # type: ignore[index]
        "config": config, "templates": TEMPLATES, "postinst": "#!/bin/sh\n" + NOT_KNOWN,
    }  # fmt: skip
    work.decisions["odd"] = Decision("sandbox")  # type: ignore[index]
    evaluate_scripts(work)
    assert runs == ran
    assert seen == [answer]


def test_what_debconf_s_clients_noted_is_read_back() -> None:
    noted = b"db_set\0002\0odd/name\0a b\0db_go\0000\0systemctl\0001\0daemon-reload\0db_stop\0000\0db_go\0000\0"
    assert list(read_calls(noted)) == [["db_set", "odd/name", "a b"], ["db_go"], ["systemctl", "daemon-reload"]]
