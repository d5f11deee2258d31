"""Small settings of the system and of users, and directories above files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
TEXT = r'"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=default.target x.target\n"'
UNIT = f"{{name: a.service, enabled: true, contents: {TEXT}}}"


def test_settings_become_the_files_that_programs_read(config: Config) -> None:
    found = config(
        "locale: de_DE.UTF-8\nkeymap: de-latin1\nntp_servers: [a.example.org, 192.0.2.1]\n"
        "kernel_modules: [br_netfilter, dummy]\n"
        "sysctl: {net.ipv4.ip_forward: 1, kernel.core_pattern: '|/bin/false %p'}\n"
    )
    assert found.texts == {
        "/etc/locale.conf": "LANG=de_DE.UTF-8\n",
        "/etc/vconsole.conf": "KEYMAP=de-latin1\n",
        "/etc/systemd/timesyncd.conf.d/10-config.conf": "[Time]\nNTP=a.example.org 192.0.2.1\n",
        "/etc/modules-load.d/10-config.conf": "br_netfilter\ndummy\n",
        "/etc/sysctl.d/90-config.conf": "net.ipv4.ip_forward = 1\nkernel.core_pattern = |/bin/false %p\n",
    }
    assert all(file.overwrite for file in found.files.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("locale: a b", "3 locale: this is not a locale"),
        ("keymap: ''", "3 keymap: this is not a keymap"),
        ("locale: 3", "3 locale: expected text, found a number"),
        ("ntp_servers: a", "3 ntp_servers: expected a list, found text"),
        ("ntp_servers: ['a b']", "3 ntp_servers.0: 'a b' is not the name or address of a server"),
        ("kernel_modules: [a, -x/y]", "3 kernel_modules.1: '-x/y' is not the name of a module"),
        ("sysctl: [a]", "3 sysctl: expected a mapping (key: value), found a list"),
        ("sysctl: {a b: 1}", "3 sysctl.a b: 'a b' is not a setting of the kernel"),
        ("sysctl: {a.b: ''}", "3 sysctl.a.b: a value of one line is required"),
        ("sysctl: {a.b: [1]}", "3 sysctl.a.b: expected text, found a list"),
        ("swap_file: {size_mib: 0}", "3 swap_file.size_mib: a size of 1 MiB or more is required"),
        ("swap_file: {size_mib: 9, path: /etc/swap}", "3 swap_file.path: '/etc/swap' is not below /var"),
        (
            "swap_file: {size_mib: 9, path: '/var/a\\'}",
            "3 swap_file.path: the path has a quote, a backslash or a control character in it",
        ),
        ("locals: x", "3 locals: unknown setting"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(config: Config, text: str, message: str) -> None:
    assert config(text + "\n").said == [message]


def test_a_swap_file_is_made_once_and_used_in_every_boot(config: Config) -> None:
    found = config("swap_file: {size_mib: 64}\n")
    made, used = found.settings("make-swap-file.service"), found.settings("var-swapfile.swap")
    assert "ConditionPathExists=!/var/swapfile" in made
    assert "ExecStart=/usr/sbin/mkswap --file --size 64M -- /var/swapfile" in made
    assert "What=/var/swapfile" in used
    assert (found.units["make-swap-file.service"].enabled, found.units["var-swapfile.swap"].enabled) == (None, True)


def test_a_user_gets_sudo_lingering_and_units_of_its_own(config: Config) -> None:
    found = config(f"passwd: {{users: [{{name: core, sudo: true, linger: true, units: [{UNIT}]}}]}}\n")
    home = "/home/core/.config"
    assert (found.texts["/etc/sudoers.d/10-core"], found.files["/etc/sudoers.d/10-core"].mode) == (
        "core ALL=(ALL:ALL) NOPASSWD: ALL\n",
        0o440,
    )
    assert found.texts["/var/lib/systemd/linger/core"] == ""
    unit = found.files[f"{home}/systemd/user/a.service"]
    assert (unit.user.name, unit.group.name) == ("core", "core")
    wants = {path: (link.target, link.user.name) for path, link in found.links.items()}
    assert wants == {
        f"{home}/systemd/user/default.target.wants/a.service": (unit.path, "core"),
        f"{home}/systemd/user/x.target.wants/a.service": (unit.path, "core"),
    }
    owned = [path for path, each in found.directories.items() if each.user.name == "core"]
    assert sorted(owned) == [
        home,
        f"{home}/systemd",
        f"{home}/systemd/user",
        f"{home}/systemd/user/default.target.wants",
        f"{home}/systemd/user/x.target.wants",
    ]


def test_what_a_user_has_only_without_is_not_made(config: Config) -> None:
    found = config("passwd: {users: [{name: core, sudo: false, linger: false}]}\n")
    assert found.files == {}


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("name: a b, sudo: true", "sudo: 'a b' cannot be the name of a user"),
        ("name: u, linger: yes", "linger: expected true or false, found text"),
        ("name: u, units: [{name: a}]", "units.0.name: 'a' is not the name of a unit"),
        ("name: u, units: [{name: a.service, enabled: true, contents: '[Service]'}]", None),
        ("name: u, units: [{name: a.service, enabled: true, contents: '[Service'}]", None),
        (
            "name: u, units: [{name: a.service, dropins: [{name: x}]}]",
            "units.0.dropins.0.name: 'x' is not the name of a drop-in",
        ),
    ],
)
def test_what_a_user_cannot_have_is_refused(config: Config, user: str, message: str | None) -> None:
    said = config(f"passwd:\n  users:\n    - {{{user}}}\n").said
    assert said[0].startswith("5 passwd.users.0.")
    assert message is None or said == [f"5 passwd.users.0.{message}"]


def test_directories_above_a_file_belong_to_whom_the_file_does(config: Config) -> None:
    found = config(
        "storage:\n  files:\n"
        "    - {path: /home/core/.config/app/a, parents: {user: {name: core}, mode: 0700}}\n"
        "    - {path: /var/lib/app/x/y/z, parents: {below: /var/lib/app, user: {id: 7}, group: {id: 8}}}\n"
        "    - {path: /var/lib/app/x/y/b, parents: {below: /var/lib/app/, user: {id: 7}, group: {id: 8}}}\n"
    )
    made = {
        path: (each.mode, each.user.name or each.user.id, each.group.id) for path, each in found.directories.items()
    }
    assert made == {
        "/home/core/.config": (0o700, "core", None),
        "/home/core/.config/app": (0o700, "core", None),
        "/var/lib/app/x": (0o755, 7, 8),
        "/var/lib/app/x/y": (0o755, 7, 8),
    }


def test_what_is_said_of_directories_counts_more_than_what_units_need(config: Config) -> None:
    file = "{path: /home/u/.config/x/y, parents: {user: {name: u}, mode: 0700}}"
    found = config(f"storage: {{files: [{file}]}}\npasswd: {{users: [{{name: u, units: [{UNIT}]}}]}}\n")
    assert found.directories["/home/u/.config"].mode == 0o700
    assert found.directories["/home/u/.config/systemd"].mode == 0o755


def test_directories_cannot_have_two_owners(config: Config) -> None:
    found = config(
        "storage:\n  files:\n"
        "    - {path: /home/u/a/x, parents: {user: {name: u}}}\n"
        "    - {path: /home/u/a/y, parents: {user: {name: v}}}\n"
    )
    assert found.said == [
        "6 storage.files.1.parents: something else in this config gives '/home/u/a' another owner or mode"
    ]


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ("{}", "parents: how much of '/var/a/b' is to be made is not known"),
        ("{below: /srv}", "parents.below: '/var/a/b' is not below '/srv'"),
        ("{below: /var, mode: 65536}", "parents.mode: the mode 65536 is not between 0 and 07777"),
        ("{above: /var}", "parents.above: unknown setting"),
    ],
)
def test_parents_that_cannot_be_known_are_refused(config: Config, parents: str, message: str) -> None:
    said = config(f"storage: {{directories: [{{path: /var/a/b, parents: {parents}}}]}}\n").said
    assert said[0] == f"3 storage.directories.0.{message}"
