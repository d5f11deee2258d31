"""Alternatives and services, from the scripts that call for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.core.errors import InputError
from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.subjects.alternatives import install_alternatives
from builder.debian.scripts.subjects.services import install_presets
from builder.debian.scripts.work import Work

pytestmark = pytest.mark.unit

# --- update-alternatives ---------------------------------------------------------------------------

SHELL = "#!/bin/sh\n"
MAWK = """\
#!/bin/sh
set -e
if [ "$1" = "configure" ]; then
    update-alternatives \\
      --quiet \\
      --install /usr/bin/awk awk /usr/bin/mawk 5 \\
      --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\
      --slave /usr/bin/nawk nawk /usr/bin/mawk || true
fi
"""


def choose(work_on: Callable[..., Work], **scripts: str) -> Work:
    work = work_on({f"/usr/bin/{name}": "" for name in ("mawk", "gawk", "original-awk")}, **scripts)
    evaluate_scripts(work)
    install_alternatives(work)
    return work


def links(work: Work) -> dict[str, str]:
    return {path: node.target for path, node in work.tree.walk() if node.target}


def test_the_best_choice_is_linked_twice_as_the_program_does(work_on: Callable[..., Work]) -> None:
    gawk = SHELL + "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10\n"
    assert links(choose(work_on, mawk=MAWK, gawk=gawk)) == {
        "/etc/alternatives/awk": "/usr/bin/gawk",
        "/usr/bin/awk": "/etc/alternatives/awk",
    }


def test_slaves_are_linked_if_they_are_there(work_on: Callable[..., Work]) -> None:
    assert links(choose(work_on, mawk=MAWK)) == {
        "/etc/alternatives/awk": "/usr/bin/mawk",
        "/etc/alternatives/nawk": "/usr/bin/mawk",
        "/usr/bin/awk": "/etc/alternatives/awk",
        "/usr/bin/nawk": "/etc/alternatives/nawk",
    }


def test_of_equal_choices_the_first_that_was_offered_is_taken(work_on: Callable[..., Work]) -> None:
    other = SHELL + "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 5\n"
    assert links(choose(work_on, a=other, mawk=MAWK))["/etc/alternatives/awk"] == "/usr/bin/gawk"
    assert links(choose(work_on, mawk=MAWK, z=other))["/etc/alternatives/awk"] == "/usr/bin/mawk"


def test_the_database_is_what_update_alternatives_would_have_written(work_on: Callable[..., Work]) -> None:
    gawk = SHELL + "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10\n"
    work = choose(work_on, mawk=MAWK, gawk=gawk)
    assert work.tree.read_text("/var/lib/dpkg/alternatives/awk").split("\n") == [
        "auto",
        "/usr/bin/awk",
        "awk.1.gz",
        "/usr/share/man/man1/awk.1.gz",
        "nawk",
        "/usr/bin/nawk",
        "",
        "/usr/bin/gawk",
        "10",
        "",
        "",
        "/usr/bin/mawk",
        "5",
        "/usr/share/man/man1/mawk.1.gz",
        "/usr/bin/mawk",
        "",
        "",
    ]


def test_a_choice_that_is_not_in_the_image_is_a_failure_of_its_script(work_on: Callable[..., Work]) -> None:
    busybox = SHELL + "set -e\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/busybox 99\n"
    with pytest.raises(InputError, match="scripts of busybox"):
        choose(work_on, mawk=MAWK, busybox=busybox)


# --- deb-systemd-helper ----------------------------------------------------------------------------


def enabled_by_default(unit: str, user: str = "") -> str:
    """What dh_installsystemd writes for a unit that starts (autoscripts/postinst-systemd-enable)."""
    return f"""\
# Automatically added by dh_installsystemd/13.24.1
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] ; then
	# The following line should be removed in trixie or trixie+1
	deb-systemd-helper {user}unmask '{unit}' >/dev/null || true

	# was-enabled defaults to true, so new installations run enable.
	if deb-systemd-helper --quiet {user}was-enabled '{unit}'; then
		# Enables the unit on first installation, creates new
		# symlinks on upgrades if the unit file has changed.
		deb-systemd-helper {user}enable '{unit}' >/dev/null || true
	else
		deb-systemd-helper {user}update-state '{unit}' >/dev/null || true
	fi
fi
# End automatically added section
"""


def off_by_default(unit: str) -> str:
    """The same for ``--no-enable`` (autoscripts/postinst-systemd-dont-enable)."""
    return f"""\
# Automatically added by dh_installsystemd/13.24.1
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] ; then
	if deb-systemd-helper debian-installed '{unit}'; then
		deb-systemd-helper unmask '{unit}' >/dev/null || true
		if deb-systemd-helper --quiet was-enabled '{unit}'; then
			deb-systemd-helper enable '{unit}' >/dev/null || true
		fi
	fi
fi
# End automatically added section
"""


def presets(work: Work, scope: str = "system") -> list[str]:
    evaluate_scripts(work)
    install_presets(work)
    return work.tree.read_text(f"/usr/lib/systemd/{scope}-preset/80-packages.preset").splitlines()[1:]


def test_a_unit_that_its_package_starts_is_enabled_and_one_that_it_does_not_is_not(
    work_on: Callable[..., Work],
) -> None:
    script = enabled_by_default("ssh.service") + off_by_default("rsync.service") + enabled_by_default("ssh.socket")
    work = work_on({"/usr/lib/systemd/system/ssh.service": ""}, a=SHELL + script)
    assert presets(work) == ["enable ssh.service", "enable ssh.socket"]


def test_presets_enable_what_packages_enable_and_nothing_else(work_on: Callable[..., Work]) -> None:
    work = work_on(
        {"/usr/lib/systemd/system/a.service": ""},
        b=SHELL + enabled_by_default("b.service"),
        a=SHELL + enabled_by_default("a.service") + enabled_by_default("u.socket", "--user "),
    )
    assert presets(work) == ["enable a.service", "enable b.service"]
    assert presets(work, "user") == ["enable u.socket"]
    for scope in ("system", "user"):
        assert work.tree.read_text(f"/usr/lib/systemd/{scope}-preset/99-off.preset").splitlines()[-1] == "disable *"


def test_a_tree_without_systemd_gets_no_presets(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/bin/a": ""}, a=enabled_by_default("a.service"))
    install_presets(work)
    assert "/usr/lib/systemd" not in work.tree


def test_a_unit_that_a_script_enables_by_a_link_of_its_own_stays_enabled(work_on: Callable[..., Work]) -> None:
    unit = "[Service]\n[Install]\nAlias=display-manager.service\n"
    work = work_on(
        {"/usr/lib/systemd/systemd": "", "/usr/lib/systemd/system/dm.service": unit, "/etc/systemd/system/x": ""},
        dm=SHELL + "ln -sf /lib/systemd/system/dm.service /etc/systemd/system/display-manager.service\n",
    )
    evaluate_scripts(work)
    install_presets(work)
    assert "enable dm.service\n" in work.tree.read_text("/usr/lib/systemd/system-preset/80-packages.preset")


def test_what_only_the_first_choice_had_is_gone_with_it(work_on: Callable[..., Work]) -> None:
    gawk = SHELL + "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10\n"
    work = choose(work_on, mawk=MAWK, gawk=gawk)
    assert "/usr/bin/nawk" not in work.tree
    assert "/etc/alternatives/nawk" not in work.tree
