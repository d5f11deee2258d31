"""PAM's stacks as pam-auth-update(8) of Debian 13 writes them from the same profiles and templates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.debian.scripts.subjects.pam import FILES, install_profiles, parse, stack
from builder.debian.scripts.work import Work

pytestmark = pytest.mark.unit

UNIX = """\
Name: Unix authentication
Default: yes
Priority: 256
Auth-Type: Primary
Auth:
\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass
Auth-Initial:
\t[success=end default=ignore]\tpam_unix.so nullok
Account-Type: Primary
Account:
\t[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so
Account-Initial:
\t[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so
Session-Type: Additional
Session:
\trequired\tpam_unix.so
Session-Initial:
\trequired\tpam_unix.so
Password-Type: Primary
Password:
\t[success=end default=ignore]\tpam_unix.so obscure use_authtok try_first_pass yescrypt
Password-Initial:
\t[success=end default=ignore]\tpam_unix.so obscure yescrypt
"""
SYSTEMD = """\
Name: Register user sessions in the systemd control group hierarchy
Default: yes
Priority: 0
Session-Interactive-Only: yes
Session-Type: Additional
Session:
\toptional\tpam_systemd.so
"""
MKHOMEDIR = """\
Name: Create home directory on login
Default: no
Priority: 0
Session-Type: Additional
Session:
\toptional\t\t\tpam_mkhomedir.so
"""
CAPABILITY = """\
Name: Inheritable Capabilities Management
Default: yes
Priority: 0
Auth-Type: Additional
Auth-Final:
\toptional\t\t\tpam_cap.so
"""
SSS = """\
Name: SSS authentication
Default: yes
Priority: 128
Auth-Type: Primary
Auth:
\t[success=end default=ignore]\tpam_sss.so use_first_pass
Auth-Initial:
\t[success=end default=ignore]\tpam_sss.so forward_pass
"""


def template(kind: str) -> str:
    base = "session_nonint" if kind == "session-noninteractive" else kind
    word = kind.removesuffix("-noninteractive")
    return (
        "# /etc/pam.d/common-auth\n"
        '# here are the per-package modules (the "Primary" block)\n'
        f"${base}_primary\n"
        "# here's the fallback if no module succeeds\n"
        f"{word}\trequisite\t\t\tpam_deny.so\n"
        f"{word}\trequired\t\t\tpam_permit.so\n"
        '# and here are more per-package modules (the "Additional" block)\n'
        f"${base}_additional\n"
        "# end of pam-auth-update config\n"
    )


@pytest.fixture
def pam(work_on: Callable[..., Work]) -> Callable[..., dict[str, str]]:
    """The lines that are no comments, for each kind of stack."""

    def make(**profiles: str) -> dict[str, str]:
        files = {f"/usr/share/pam-configs/{name}": text for name, text in profiles.items()}
        files |= {f"/usr/share/pam/{name}": template(kind) for kind, name in FILES.items()}
        work = work_on(files)
        install_profiles(work)
        texts = {kind: work.tree.read_text(f"/etc/pam.d/{name}") for kind, name in FILES.items()}
        return {
            kind: "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
            for kind, text in texts.items()
        }

    return make


def test_unix_and_systemd_give_debians_own_files(pam: Callable[..., dict[str, str]]) -> None:
    found = pam(unix=UNIX, systemd=SYSTEMD, mkhomedir=MKHOMEDIR)
    fallback = "{0}\trequisite\t\t\tpam_deny.so\n{0}\trequired\t\t\tpam_permit.so\n"
    assert found == {
        "auth": "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n" + fallback.format("auth"),
        "account": "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n"
        + fallback.format("account"),
        "password": "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n"
        + fallback.format("password"),
        "session": "session\t[default=1]\t\t\tpam_permit.so\n"
        + fallback.format("session")
        + "session\trequired\tpam_unix.so \nsession\toptional\tpam_systemd.so \n",
        "session-noninteractive": "session\t[default=1]\t\t\tpam_permit.so\n"
        + fallback.format("session")
        + "session\trequired\tpam_unix.so \n",
    }


def test_comments_of_the_template_stay_and_its_marks_do_not(work_on: Callable[..., Work]) -> None:
    files = {f"/usr/share/pam/{name}": template(kind) for kind, name in FILES.items()}
    work = work_on(files | {"/usr/share/pam-configs/unix": UNIX})
    install_profiles(work)
    for name in FILES.values():
        text = work.tree.read_text(f"/etc/pam.d/{name}")
        assert "$" not in text
        assert text.startswith("# /etc/pam.d/common-auth\n")
        assert text.endswith("# end of pam-auth-update config\n")


def test_success_jumps_over_what_is_left_and_the_fallback(pam: Callable[..., dict[str, str]]) -> None:
    lines = pam(unix=UNIX, sss=SSS)["auth"].splitlines()
    assert lines[:3] == [
        "auth\t[success=2 default=ignore]\tpam_unix.so nullok",
        "auth\t[success=1 default=ignore]\tpam_sss.so use_first_pass",
        "auth\trequisite\t\t\tpam_deny.so",
    ]


def test_the_first_of_a_block_uses_its_initial_lines(pam: Callable[..., dict[str, str]]) -> None:
    first = SSS.replace("Priority: 128", "Priority: 300")
    lines = pam(unix=UNIX, sss=first)["auth"].splitlines()
    assert lines[:2] == [
        "auth\t[success=2 default=ignore]\tpam_sss.so forward_pass",
        "auth\t[success=1 default=ignore]\tpam_unix.so nullok try_first_pass",
    ]


def test_nothing_jumps_off_the_end_of_the_additional_block() -> None:
    profile = parse("a", "Auth-Type: Additional\nAuth:\n [success=end] pam_a.so\n [success=end default=bad] pam_b.so\n")
    expected = "auth\t[success=1] pam_a.so \nauth\t[success=0 default=bad] pam_b.so \n"
    assert stack([profile], "auth", "Additional") == expected
    assert stack([profile], "auth", "Primary") == ""


def test_final_is_an_old_name_for_the_same(pam: Callable[..., dict[str, str]]) -> None:
    assert pam(unix=UNIX, capability=CAPABILITY)["auth"].splitlines()[-1] == "auth\toptional\t\t\tpam_cap.so "


def test_profiles_of_one_priority_come_last_name_first(pam: Callable[..., dict[str, str]]) -> None:
    found = pam(unix=UNIX, systemd=SYSTEMD, alpha=SYSTEMD.replace("pam_systemd", "pam_alpha"))
    assert [line.split()[-1] for line in found["session"].splitlines()[-3:]] == [
        "pam_unix.so",
        "pam_systemd.so",
        "pam_alpha.so",
    ]


def test_a_profile_that_is_off_by_default_is_off(pam: Callable[..., dict[str, str]]) -> None:
    assert "mkhomedir" not in "".join(pam(mkhomedir=MKHOMEDIR).values())


def test_a_value_may_stand_on_the_line_of_its_field() -> None:
    profile = parse("a", "Session-Type: Primary\nSession: required pam_x.so\n\toptional pam_y.so\n")
    assert stack([profile], "session", "Primary") == "session\trequired pam_x.so \nsession\toptional pam_y.so \n"


def test_an_image_without_pam_gets_none(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/share/pam-configs/unix": UNIX})
    install_profiles(work)
    assert "/etc/pam.d" not in work.tree
