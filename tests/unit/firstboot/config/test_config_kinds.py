"""Ignition, Butane and build-os configs: how they are told apart, read, and complained about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firstboot.config.document import read
from firstboot.config.dump import dump
from firstboot.config.located import LocatedError
from firstboot.config.urls import decode_data_url
from firstboot.engine import compile as compiling

pytestmark = pytest.mark.unit


def problems(text: str, name: str = "x.yaml") -> list[str]:
    """``path: message (hint)`` of everything that is found."""
    found = []
    for each in compiling.check([(name, text)]):
        path = ".".join(map(str, each.problem.path))
        hint = f" ({each.problem.hint})" if each.problem.hint else ""
        sign = "!" if each.problem.severity == "error" else "?"
        found.append(f"{sign} {path}: {each.problem.message}{hint}")
    return found


def ignition(version: str = "3.6.0", **sections: Any) -> str:
    return json.dumps({"ignition": {"version": version}, **sections})


def buildos(text: str) -> str:
    return f"variant: buildos\nversion: 1.0.0\n{text}"


def fcos(text: str, version: str = "1.7.0") -> str:
    return f"variant: fcos\nversion: {version}\n{text}"


def test_a_byte_order_mark_is_an_error_in_json_as_upstream_and_nothing_in_yaml() -> None:
    assert problems("\ufeff" + ignition(), "x.ign") == [
        "! : JSON syntax: a byte-order mark is before it (save the file as UTF-8 without one)"
    ]
    assert problems("\ufeff" + fcos("")) == []


@pytest.mark.parametrize(("kind", "warnings"), [("service", 1), ("timer", 0)])
def test_of_templates_only_those_of_services_are_looked_at_as_upstream(kind: str, warnings: int) -> None:
    units = [{"name": f"e@.{kind}", "contents": "[Unit]\nA=b"}, {"name": f"e@x.{kind}", "enabled": True}]
    assert len(problems(ignition(systemd={"units": units}), "x.ign")) == warnings


def test_partitions_that_override_those_of_a_mirror_are_found_by_their_labels() -> None:
    disks = "storage: {disks: [{device: /dev/vdX, partitions: [{label: root-1, size_mib: 8192}]}]}\n"
    text = fcos(disks + "boot_device: {layout: x86_64, mirror: {devices: [/dev/vda, /dev/vdb]}}\n")
    assert [each.severity for each in read(text.replace("vdX", "vda"), "x.bu").problems] == []
    assert [each.severity for each in read(text.replace("vdX", "vdc"), "x.bu").problems] == ["warning"]


# --- what is it? ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the config is empty"),
        ("   ", "a config is a mapping"),
        ("[]", "a config is a mapping"),
        ("42", "a config is a mapping"),
        ("#cloud-config\nusers: []\n", "this is cloud-config"),
        ("passwd: {}\n", "'variant' is required"),
        ("variant: fcos\n", "'version' is required"),
        ("variant: FCOS\nversion: 1.7.0\n", "the variant 'FCOS' is not supported"),
        ("variant: openshift\nversion: 4.7.0\n", "the version '4.7.0' of openshift is not supported"),
        (
            "variant: fcos\nversion: 1.7.0-experimental\n",
            "the version '1.7.0-experimental' of fcos is not supported",
        ),
        ("variant: buildos\nversion: 2.0.0\n", "the version '2.0.0' of buildos is not supported"),
        ("variant: buildos\nversion: 1.0\n", "the version '1.0' of buildos is not supported"),
        ("{}", "a version is required"),
        ("{'ignition': {'version': '3.6.0'}}", "JSON syntax"),
        (ignition("3.6.1"), "the version '3.6.1' is not supported"),
        (ignition("2.3.0"), "the version '2.3.0' is not supported"),
        (ignition("3.6.0+x"), "the version '3.6.0+x' is not supported"),
        ('{"ignition": {"version": 3}}', "a version is required"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, says: str) -> None:
    with pytest.raises(LocatedError) as caught:
        compiling.load(text, "x")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        ignition("3.0.0"),
        ignition("03.6.0"),
        ignition("3.7.0-experimental"),
        fcos(""),
        "variant: flatcar\nversion: 1.1.0\n",
        "{variant: fcos, version: 1.0.0}",
        '{"variant": "buildos", "version": "1.0.0"}',
        buildos("passwd:\nstorage:\n  files:\n"),
    ],
)
def test_supported_kinds_are_told_apart_by_content(text: str) -> None:
    loaded = compiling.load(text, "x")
    assert loaded.config.ignition.version == "3.7.0-experimental"


# --- Ignition ---


def test_unknown_settings_are_warnings_in_ignition_with_a_suggestion() -> None:
    text = ignition(systemd={"units": [{"name": "a.service", "enable": True}]}, bogus=1)
    assert problems(text) == [
        "? systemd.units.0.enable: unknown setting, ignored (did you mean 'enabled'?)",
        "? bogus: unknown setting, ignored",
    ]


def test_settings_of_a_later_version_are_unknown_to_an_earlier_one() -> None:
    text = ignition("3.1.0", passwd={"users": [{"name": "u", "shouldExist": False}]})
    assert problems(text) == [
        "? passwd.users.0.shouldExist: unknown setting, ignored "
        "(it came with Ignition 3.2.0; raise the version at the top)"
    ]
    assert compiling.load(text, "x").config.passwd.users[0].should_exist is None


def test_keys_match_in_any_case_with_one_remark() -> None:
    text = ignition(Storage={"Files": [{"Path": "/a", "bogus": 1}]})
    assert problems(text) == ["? Storage: this setting is spelled 'storage'"]
    assert compiling.load(text, "x").config.storage.files[0].path == "/a"


def test_null_means_unset() -> None:
    text = ignition(storage={"files": None, "links": [{"path": "/l", "target": "t", "hard": None}]}, passwd=None)
    assert problems(text) == ["? passwd: this is empty"]


def test_the_special_bits_are_dropped_before_3_6() -> None:
    old, new = (
        ignition(version, storage={"files": [{"path": "/a", "mode": 0o4755}]}) for version in ("3.5.0", "3.6.0")
    )
    assert compiling.load(old, "x").config.storage.files[0].mode == 0o755
    assert "setuid" in problems(old)[0]
    assert compiling.load(new, "x").config.storage.files[0].mode == 0o4755


def test_all_problems_come_at_once_types_and_sense() -> None:
    text = ignition(
        storage={
            "files": [
                {"path": "a", "mode": "0644"},
                {"path": "/b/"},
                {"path": "/c", "user": {"id": 1, "name": "x"}},
            ]
        },
        systemd={"units": [{"name": "x"}]},
    )
    assert problems(text) == [
        "! storage.files.0.mode: expected a whole number, found text (write it without quotes)",
        "! storage.files.1.path: the path '/b/' is not in its simplest form (write /b)",
        "! storage.files.2.user: give either the id or the name, not both",
        "! systemd.units.0.name: 'x' is not the name of a unit (it ends in one of .service, .socket, "
        ".device, .mount, .automount, .swap, .target, .path, .timer, .snapshot, .slice, .scope)",
    ]


def test_numbers_beyond_64_bits_are_refused() -> None:
    assert "less than or equal to" in problems(ignition(passwd={"users": [{"name": "u", "uid": 2**63}]}))[0]


def test_hidden_settings_are_not_drawn() -> None:
    text = ignition(
        passwd={"users": [{"name": "u", "passwordHash": "$6$hash", "uid": "x"}]},
        storage={"files": [{"path": "a", "contents": {"source": "data:,topsecret"}}]},
    )
    drawn = "\n".join(map(str, compiling.check([("x.ign", text)])))
    assert drawn.count("x.ign:1:") == 2
    assert "hash" not in drawn.replace("passwordHash", "")
    assert "topsecret" not in drawn


# --- Butane ---


def test_butane_compiles_to_the_version_it_stands_for() -> None:
    document = read(fcos("storage:\n  files:\n    - path: /a\n      contents: {inline: hi}\n", "1.4.0"), "x")
    assert document.config is not None
    data = dump(document.config)
    assert data["ignition"] == {"version": "3.3.0"}
    contents = data["storage"]["files"][0]["contents"]
    assert decode_data_url(contents["source"]) == b"hi"
    assert contents["compression"] == ""


def test_butane_reads_scalars_as_go_does() -> None:
    text = fcos(
        "passwd:\n  users:\n    - {name: 0123, no_create_home: on, uid: 1_000, gecos: 1.50}\n"
        "storage:\n  files:\n    - {path: /a, mode: 0o644, overwrite: no}\n"
    )
    loaded = compiling.load(text, "x").config
    user, file = loaded.passwd.users[0], loaded.storage.files[0]
    assert (user.name, user.no_create_home, user.uid, user.gecos) == ("0123", True, 1000, "1.50")
    assert (file.mode, file.overwrite) == (0o644, False)


def test_a_mode_that_looks_decimal_is_remarked_on() -> None:
    assert problems(fcos("storage: {files: [{path: /a, mode: 644}]}")) == [
        "? storage.files.0.mode: this mode looks decimal (write it with a leading zero, like 0644)"
    ]
    assert problems(fcos("storage: {files: [{path: /a, mode: 0644}]}")) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("storage: {files: [{path: /a, contents: {local: x}}]}", "storage.files.0.contents.local"),
        ("storage: {trees: [{local: x}]}", "storage.trees.0"),
        (
            "passwd: {users: [{name: u, ssh_authorized_keys_local: [x]}]}",
            "passwd.users.0.ssh_authorized_keys_local.0",
        ),
        ("systemd: {units: [{name: a.service, contents_local: x}]}", "systemd.units.0.contents_local"),
        ("systemd: {quadlets: [{name: a.container, contents_local: x}]}", "systemd.quadlets.0.contents_local"),
        ("boot_device: {luks: {tpm2: true}}", "boot_device"),
        ("boot_device: {mirror: {devices: [/dev/a, /dev/b]}}", "boot_device.mirror"),
        ("grub: {users: [{name: u, password_hash: x}]}", "grub.users"),
    ],
)
def test_sugar_that_is_not_carried_out_is_refused_not_ignored(text: str, path: str) -> None:
    assert f"! {path}" in {each.partition(":")[0] for each in problems(fcos(text, "1.8.0-experimental"))}


def test_inline_and_source_exclude_each_other() -> None:
    for order in ("inline: a, source: 'data:,b'", "source: 'data:,b', inline: a"):
        found = problems(fcos(f"storage: {{files: [{{path: /a, contents: {{{order}}}}}]}}"))
        assert found == ["! storage.files.0.contents.inline: give only one of inline, local and source"]


# --- build-os ---


def test_buildos_is_strict_about_settings_and_types() -> None:
    text = buildos(
        "passwd:\n  users:\n    - name: 1\n      ssh_keys: [a]\nstorage: {files: [{path: /a, overwrite: yes}]}\n"
    )
    assert problems(text) == [
        "! passwd.users.0.ssh_keys: unknown setting",
        "! passwd.users.0.name: expected text, found a number (put it in quotes)",
        "! storage.files.0.overwrite: expected true or false, found text (write true)",
    ]


def test_a_complaint_points_at_the_users_own_line() -> None:
    with pytest.raises(LocatedError) as caught:
        compiling.load(buildos("passwd:\n  users:\n    - name: core\n      ssh_authorised_keys: []\n"), "machine.yaml")
    assert str(caught.value) == (
        "machine.yaml:6:7: unknown setting\n"
        "   |\n"
        " 6 |       ssh_authorised_keys: []\n"
        "   |       ^^^^^^^^^^^^^^^^^^^ $.passwd.users[0].ssh_authorised_keys\n"
        "   = did you mean 'ssh_authorized_keys'?"
    )


def test_hostname_and_timezone_become_a_file_and_a_link() -> None:
    loaded = compiling.load(buildos("hostname: demo-1.example\ntimezone: Europe/Berlin\n"), "x").config
    file, link = loaded.storage.files[0], loaded.storage.links[0]
    assert (file.path, file.mode, decode_data_url(file.contents.source or "")) == (
        "/etc/hostname",
        0o644,
        b"demo-1.example\n",
    )
    assert (link.path, link.target) == ("/etc/localtime", "../usr/share/zoneinfo/Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    [
        *("hostname: -x", "hostname: a_b", "hostname: ''", "hostname: 7", "hostname: a..b"),
        f"hostname: {'a' * 65}",
        *("timezone: ../etc/passwd", "timezone: Europe/", "timezone: [UTC]"),
    ],
)
def test_wrong_hostnames_and_timezones_are_refused(text: str) -> None:
    key = text.partition(":")[0]
    assert [each.partition(": this")[0] for each in problems(buildos(text))] == [f"! {key}"]


def test_sugar_that_collides_points_at_the_sugar() -> None:
    text = buildos("hostname: demo\nstorage: {files: [{path: /etc/hostname}]}\n")
    assert problems(text) == [
        "! hostname: '/etc/hostname' is defined twice (it is already defined at $.storage.files[0])"
    ]


def test_sugar_beside_a_broken_section_hides_nothing() -> None:
    assert problems(buildos("hostname: demo\nstorage: 3\n")) == [
        "! storage: expected a mapping (key: value), found a number"
    ]
    assert problems(buildos("hostname: demo\nstorage: {files: 3}\n")) == [
        "! storage.files: expected a list, found a number"
    ]


# --- what upstream refuses and accepts, and in which words ---


@pytest.mark.parametrize("char", '\\^`{|}[]#<>" é')
def test_a_data_url_has_only_what_a_url_may_have(char: str) -> None:
    for data, good in ((f"data:,a{char}b", False), (f"data:,a%{ord(char) % 256:02x}b", True)):
        text = json.dumps({"ignition": {"version": "3.4.0"}, "storage": {"files": [
            {"path": "/x", "contents": {"source": data}}
        ]}})  # fmt: skip
        found = [each.message for each in read(text, "x.ign").problems]
        assert bool(found) != good, found
        assert all("escaped with '%'" in each for each in found)


def test_every_other_character_of_a_data_url_is_itself() -> None:
    plain = "AZaz09-_.!~*'();/?:@&=+$,"
    assert decode_data_url(f"data:,{plain}").decode() == plain


@pytest.mark.parametrize("value", ["text", "1", "", "[{mode: 0644}, text]", "[[{mode: 0644}]]"])
def test_what_a_merge_key_brings_in_is_a_mapping(value: str) -> None:
    text = f"variant: fcos\nversion: 1.5.0\nstorage: {{files: [{{path: /x, <<: {value}}}]}}\n"
    assert any("'<<' brings in a mapping" in each for each in problems(text))


@pytest.mark.parametrize("end", ["---", "---\n", "---\n# nothing\n", "---\n...\n", "...\n---\n---\n"])
def test_nothing_after_a_last_line_of_dashes_is_no_second_document(end: str) -> None:
    assert problems(f"variant: fcos\nversion: 1.5.0\n{end}") == []
    with pytest.raises(LocatedError, match="a second document begins here"):
        read(f"variant: fcos\nversion: 1.5.0\n---\na\n{end}", "x.bu")


def test_a_local_file_that_cannot_be_read_is_one_mistake() -> None:
    text = "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /x, overwrite: true, contents: {local: gone}}]}\n"
    assert len(problems(text)) == 1
    assert "overwrite" not in problems(text)[0]


def test_a_port_that_is_none_is_what_is_wrong() -> None:
    text = "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /x, contents: {source: 'https://Host:port/'}}]}\n"
    assert "the port in the URL, after the host's ':', is not a number" in problems(text)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"ignition": {"version": "2.2.0"}}', "the old format of Container Linux; ign-converter"),
        ("storage: {files: [{path: /x, contents: {inline: x}}]}\n", "begin with 'variant: fcos' and 'version: 1."),
        ("hostname: a\nstorage: {}\n", "begin with 'variant: buildos' and 'version: 1.0.0'"),
        ("ignition: {version: 3.4.0}\npasswd: {}\n", "in YAML begin with a variant instead of ignition.version"),
        ("storage: {files: [{path: /x, filesystem: root}]}\n", "a Container Linux Config?"),
        ("etcd: {}\n", "a Container Linux Config?"),
    ],
)
def test_what_was_probably_meant_is_said(text: str, words: str) -> None:
    with pytest.raises(LocatedError) as caught:
        read(text, "x")
    assert words in str(caught.value)
