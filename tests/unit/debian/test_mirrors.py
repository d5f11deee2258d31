"""Where the archive is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.core.errors import CapabilityError, InputError
from builder.core.urls import redact_url
from builder.debian.mirror import (
    SNAPSHOT,
    Mirrors,
    find_apt_mirrors,
    find_mirrors,
    find_snapshots,
    list_default_suites,
    parse_mirrors,
)

pytestmark = pytest.mark.unit
SUITES = list_default_suites("trixie")


def apt(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_", ".")
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_suites_of_a_release_are_itself_its_updates_and_its_security_fixes() -> None:
    assert SUITES == ("trixie", "trixie-updates", "trixie-security")
    assert list_default_suites("sid") == ("sid",)


def test_the_definition_comes_before_the_environment_and_the_environment_before_apt(tmp_path: Path) -> None:
    directory = apt(tmp_path, sources_list="deb http://apt.example/debian trixie main\n")
    environment = {"BUILD_OS_MIRROR": "http://env.example/debian"}
    assert find_mirrors("http://def.example/debian", environment, SUITES, directory).main == (
        "http://def.example/debian",
    )
    assert find_mirrors(None, environment, SUITES, directory).main == ("http://env.example/debian",)
    assert find_mirrors(None, {}, SUITES, directory).main == ("http://apt.example/debian",)


def test_no_mirror_at_all_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="no mirror") as caught:
        find_mirrors(None, {"BUILD_OS_MIRROR": " "}, SUITES, tmp_path)
    assert "BUILD_OS_MIRROR=" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_a_main_mirror_alone_has_its_security_archive_beside_it() -> None:
    assert parse_mirrors("http://a.example/debian/", "x") == Mirrors(
        ("http://a.example/debian",), ("http://a.example/debian-security",), "x"
    )


def test_security_mirrors_are_told_by_their_path_or_by_the_word() -> None:
    mirrors = parse_mirrors(
        "https://a.example/debian http://b.example/debian security=http://c.example/s http://d.example/x-security",
        "x",
    )
    assert mirrors.main == ("https://a.example/debian", "http://b.example/debian")
    assert mirrors.list_for_suite("trixie-security") == ("http://c.example/s", "http://d.example/x-security")
    assert mirrors.list_for_suite("trixie-updates") == mirrors.main


def test_a_file_has_one_url_per_mirror_and_is_quoted() -> None:
    mirrors = parse_mirrors(["http://a.example/debian", "http://b.example/debian"], "x")
    assert mirrors.list_urls("trixie", "pool/main/g/g++_1:2+b1 ~x.deb") == (
        "http://a.example/debian/pool/main/g/g++_1:2+b1%20~x.deb",
        "http://b.example/debian/pool/main/g/g++_1:2+b1%20~x.deb",
    )


@pytest.mark.parametrize(
    "setting",
    ["ftp://a.example/debian", "a.example/debian", "http:///debian", "file:///srv", "http://a.example/?x",
     "http://a.example:port/", "security=http://a.example/s", "http://a.example/debian#x", "http://[::1/debian"],
)  # fmt: skip
def test_what_is_no_mirror_is_refused(setting: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_mirrors(setting, "the definition")
    assert "http://HOST/debian" in str(caught.value.hint)


def test_apt_s_deb822_sources_are_read(tmp_path: Path) -> None:
    directory = apt(
        tmp_path,
        sources_list_d__debian_sources="""# a comment
Types: deb deb-src
URIs: http://a.example/debian
Suites: trixie trixie-updates
Components: main
# inside
Signed-By: /usr/share/keyrings/x.pgp

Types: deb
URIs: http://s.example/debian-security/
Suites: trixie-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

Types: deb
URIs: file:/srv/debian http://flat.example/
Suites: ./
""",
    )
    assert find_apt_mirrors(directory, SUITES) == Mirrors(
        ("http://a.example/debian",), ("http://s.example/debian-security",), str(directory)
    )


def test_apt_s_one_line_sources_are_read(tmp_path: Path) -> None:
    directory = apt(
        tmp_path,
        sources_list="""
# deb http://comment.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] http://a.example/debian trixie main contrib
deb-src http://src.example/debian trixie main
deb cdrom:[Debian]/ trixie main
""",
        sources_list_d__more_list="deb\thttps://s.example/security trixie-security main\n",
        sources_list_d__ignored_txt="deb http://ignored.example/debian trixie main\n",
    )
    assert find_apt_mirrors(directory, SUITES) == Mirrors(
        ("http://a.example/debian",), ("https://s.example/security",), str(directory)
    )


def test_a_host_of_another_release_names_a_mirror_but_ubuntu_s_does_not(tmp_path: Path) -> None:
    directory = apt(
        tmp_path,
        sources_list="deb http://u.example/ubuntu noble main\ndeb http://d.example/debian bookworm main\n",
    )
    assert find_apt_mirrors(directory, SUITES) == Mirrors(
        ("http://d.example/debian",), ("http://d.example/debian-security",), str(directory)
    )


def test_apt_s_configuration_without_a_mirror_or_unreadable_is_passed_over(tmp_path: Path) -> None:
    directory = apt(
        tmp_path, sources_list="deb http://u.example/ubuntu noble main\n", sources_list_d__x_sources="%%%\n"
    )
    (directory / "sources.list.d" / "dir.list").mkdir()
    assert find_apt_mirrors(directory, SUITES) is None
    assert find_apt_mirrors(tmp_path / "absent", SUITES) is None


def test_a_password_is_not_shown() -> None:
    assert redact_url("https://me:secret@a.example:8080/x") == "https://***@a.example:8080/x"
    with pytest.raises(InputError) as caught:
        parse_mirrors("ftp://me:secret@a.example/x", "x")
    assert "secret" not in str(caught.value)


DATE = datetime(2026, 5, 1, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("setting", "main", "security"),
    [
        (
            "http://s/archive/debian/{timestamp}/",
            "http://s/archive/debian/20260502T083000Z",
            "http://s/archive/debian-security/20260502T083000Z",
        ),
        (
            "http://s/archive/debian/20250101T000000Z",
            "http://s/archive/debian/20250101T000000Z",
            "http://s/archive/debian-security/20250101T000000Z",
        ),
        (
            "http://s/d/{timestamp} security=http://t/sec/{timestamp}",
            "http://s/d/20260502T083000Z",
            "http://t/sec/20260502T083000Z",
        ),
    ],
)
def test_a_snapshot_is_of_the_time_of_the_lock(setting: str, main: str, security: str) -> None:
    found = find_snapshots({SNAPSHOT: setting}, [("trixie", DATE), ("trixie-security", DATE)])
    assert found == {"trixie": (main,), "trixie-security": (security,)}
    mirrors = replace(Mirrors(("http://m",), ("http://m-security",), "here"), snapshots=found)
    assert mirrors.list_urls("trixie", "pool/a.deb") == ("http://m/pool/a.deb", f"{main}/pool/a.deb")


def test_without_a_setting_there_is_no_snapshot_and_a_bad_one_is_refused() -> None:
    assert find_snapshots({}, [("trixie", DATE)]) == {"trixie": ()}
    with pytest.raises(InputError, match=SNAPSHOT):
        find_snapshots({SNAPSHOT: "file:///x"}, [])
