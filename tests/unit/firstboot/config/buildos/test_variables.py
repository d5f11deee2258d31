"""``variables``: values put where their names are, with their types, and what is said about names without a value."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.config.document import read
from firstboot.config.text import render
from tests.support.variant import HEAD, Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
FILE = "storage:\n  files:\n    - path: /a\n      contents:\n        inline: "


def test_a_default_is_put_into_longer_texts(config: Config) -> None:
    found = config("variables: {name: web, number: 3, on: true}\nhostname: ${name}-${number}-${on}\n")
    assert found.texts["/etc/hostname"] == "web-3-true\n"


def test_a_value_that_is_one_variable_becomes_what_the_setting_wants(config: Config) -> None:
    found = config(
        "variables: {mode: 0600, id: 7, more: true}\n"
        "storage: {files: [{path: /a, contents: {inline: x},"
        " mode: '${mode}', overwrite: '${more}', user: {id: '${id}'}}]}\n"
    )
    assert config("variables: {n: 7}\nkernel_modules: ['${n}']\n").texts["/etc/modules-load.d/10-config.conf"] == "7\n"
    assert (found.files["/a"].mode, found.files["/a"].overwrite, found.files["/a"].user.id) == (0o600, True, 7)


def test_a_number_is_put_into_a_text_as_it_is_written(config: Config) -> None:
    assert config("variables: {v: 1.10}\n" + FILE + "v${v}\n").texts["/a"] == "v1.10"


def test_values_from_outside_win_and_become_what_the_setting_wants(config: Config) -> None:
    user = "{name: u, uid: '${uid}', system: '${system}', shell: '${shell}'}"
    text = f"variables: {{uid: , system: , shell: }}\npasswd: {{users: [{user}]}}\n"
    found = config(text, values={"uid": "12", "system": "true", "shell": "12"})
    assert found.document.config is not None
    made = found.document.config.passwd.users[0]
    assert (made.uid, made.system, made.shell) == (12, True, "12")
    assert config("variables: {name: a}\nhostname: ${name}\n", values={"name": "b"}).texts["/etc/hostname"] == "b\n"


@pytest.mark.parametrize(
    ("default", "value", "message"),
    [
        ("8080", "many", "3 variables.p: the variable 'p' is a number, and 'many' was given"),
        ("8080", "true", "3 variables.p: the variable 'p' is a number, and 'true' was given"),
        ("true", "1", "3 variables.p: the variable 'p' is true or false, and '1' was given"),
    ],
)
def test_a_value_of_another_type_than_the_default_is_refused(
    config: Config, default: str, value: str, message: str
) -> None:
    assert config(f"variables: {{p: {default}}}\n", values={"p": value}).said == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variables: {a: 1}\nhostname: ${b}\n", "4 hostname: there is no variable 'b'"),
        ("variables: {a: }\nhostname: ${a}\n", "3 variables.a: the variable 'a' has no value"),
        (
            "variables: {a: [1]}\nhostname: ${a}\n",
            "3 variables.a: expected text, a number, true or false, found a list",
        ),
        ("variables: {a-b: 1}\n", "3 variables.a-b: 'a-b' cannot be the name of a variable"),
        ("variables: [a]\n", "3 variables: expected names with values, found a list"),
        ("variables: {a: 1}\nhostname: ${a:-b}\n", "4 hostname: '${a:-b}' is not the name of a variable"),
        ("variables: {a: 1}\nhostname: a${\n", "4 hostname: '${' is not the name of a variable"),
        ("variables: {a: 1}\nhostname: ${}\n", "4 hostname: '${}' is not the name of a variable"),
    ],
)
def test_what_is_no_variable_is_refused_at_its_line(config: Config, text: str, message: str) -> None:
    assert config(text).said[0] == message


def test_the_line_inside_a_longer_text_is_named_and_nothing_of_it_is_shown(config: Config) -> None:
    found = config("variables: {a: 1}\n" + FILE + "|\n          x = ${a}\n          password = hunter2 ${b}\n")
    assert found.said == ["10 storage.files.0.contents.inline: there is no variable 'b'"]
    drawn = render(found.document.located, found.document.problems)
    assert "x:10:11:" in drawn
    assert "hunter2" not in drawn


def test_a_dollar_that_is_meant_stays(config: Config) -> None:
    found = config("variables: {a: 1}\n" + FILE + "|\n          $${a} $a $$ $(b) ${a} $$${a}\n")
    assert found.texts["/a"] == "${a} $a $$ $(b) 1 $${a}\n"


def test_a_config_without_variables_is_taken_as_it_is(config: Config) -> None:
    assert config(FILE + "${HOME}\n").texts["/a"] == "${HOME}"


def test_what_a_value_says_is_not_looked_at_again(config: Config) -> None:
    assert config("variables: {a: '${b}', b: c}\n" + FILE + "x ${a}\n").texts["/a"] == "x ${b}"


@pytest.mark.parametrize("text", ["'" + "${a}" * 20_000 + "'", None], ids=["in one text", "in many"])
def test_variables_cannot_make_a_config_endless(config: Config, text: str | None) -> None:
    many = "storage:\n  directories:\n" + "    - {path: '${a}'}\n" * 20_000
    found = config(f"variables: {{a: {'x' * 1000}}}\n" + (many if text is None else FILE + text + "\n"))
    said = [each.message for each in found.document.errors]
    assert "with its variables the config is larger than 10000000 bytes" in said


def test_thousands_of_unknown_names_are_told_in_time(config: Config) -> None:
    lines = "".join(f"          line {each} ${{unknown}}\n" for each in range(5000))
    file = "    - {path: /f, contents: {inline: '${other}'}}\n"
    started = time.process_time()
    found = config(f"variables: {{a: 1}}\n{FILE}|\n{lines}" + file * 5000)
    assert len(found.document.errors) >= 10_000
    assert time.process_time() - started < 20  # it would be minutes if each looked for its line from the top


def test_fragments_take_the_values_of_who_includes_them(config: Config, tmp_path: object) -> None:

    (Path(str(tmp_path)) / "a.yaml").write_text(
        HEAD + "variables: {name: mine, other: 2}\nhostname: ${name}-${other}\n"
    )
    assert config("include: [a.yaml]\nvariables: {name: yours}\n").texts["/etc/hostname"] == "yours-2\n"


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=200)
def test_whatever_a_text_says_a_reference_is_replaced_or_complained_about(text: str) -> None:
    whole = json.dumps(
        {"variant": "buildos", "version": "1.0.0", "variables": {"a": "A"},
         "storage": {"files": [{"path": "/a", "contents": {"inline": "${a}" + text}}]}}
    )  # fmt: skip
    found = Read(read(whole, "x"))
    if "${" not in text:
        assert found.said == []
        assert found.texts["/a"].startswith("A")
    elif found.said == []:
        assert found.texts["/a"].startswith("A")
    else:
        assert all("storage.files.0.contents.inline" in each for each in found.said)
