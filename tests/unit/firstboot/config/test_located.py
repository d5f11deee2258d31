"""Located YAML and JSON: what is read, where it stands, and how a problem is drawn."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from builder.definition.explain import parse
from firstboot.config.located import (
    LocatedError,
    Mark,
    Problem,
    decode,
    format_path,
    load_json,
    load_yaml,
    render,
)

pytestmark = pytest.mark.unit


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Disk(Strict):
    format: Literal["qcow2", "raw"] = "raw"
    size: int = 1


class File(Strict):
    path: str
    mode: int | None = None

    @field_validator("path")
    @classmethod
    def absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("the path must be absolute")
        return value


class Cat(Strict):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Strict):
    kind: Literal["dog"]
    size: int


class Example(Strict):
    name: str
    disk: Disk = Disk()
    files: tuple[File, ...] = ()
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] = ()


def errors_of(text: str) -> str:
    with pytest.raises(LocatedError) as caught:
        parse(Example, load_yaml(text, "bad.yaml"))
    return str(caught.value)


def data(text: str) -> object:
    return load_yaml(text, "x.yaml").data


def test_unknown_setting_is_underlined_and_a_near_one_suggested() -> None:
    assert errors_of("name: x\ndisk:\n  formt: qcow2\n") == (
        "bad.yaml:3:3: unknown setting\n"
        "   |\n"
        " 3 |   formt: qcow2\n"
        "   |   ^^^^^ $.disk.formt\n"
        "   = did you mean 'format'?"
    )


def test_all_problems_are_shown_at_once_in_the_order_of_the_text() -> None:
    text = "name: 3\nfiles:\n- path: etc/x\n  mode: rw\n- mode: 0644\ndisk: {size: 1.5}\n"
    assert [line for line in errors_of(text).splitlines() if line.startswith("bad.yaml")] == [
        "bad.yaml:1:7: expected text, found a number",
        "bad.yaml:3:9: the path must be absolute",
        "bad.yaml:4:9: expected a whole number, found text",
        "bad.yaml:5:3: 'path' is required",
        "bad.yaml:6:14: expected a whole number, found a number",
    ]


def test_the_tag_of_a_union_is_not_part_of_the_path() -> None:
    assert "$.pets[0].size" in errors_of("name: x\npets:\n- kind: dog\n  size: big\n")


def test_an_unknown_tag_of_a_union_is_pointed_at() -> None:
    shown = errors_of("name: x\npets:\n- kind: dgo\n  size: 1\n")
    assert shown.startswith("bad.yaml:3:9: expected one of 'cat', 'dog'")
    assert "did you mean 'dog'?" in shown


def test_a_wrong_choice_names_the_choices_and_the_nearest() -> None:
    shown = errors_of("name: x\ndisk: {format: qcow}\n")
    assert shown.startswith("bad.yaml:2:16: expected 'qcow2' or 'raw'")
    assert "did you mean 'qcow2'?" in shown


def test_a_document_that_is_no_mapping_is_explained() -> None:
    assert errors_of("- 1\n").startswith("bad.yaml:1:1: expected a mapping (key: value), found a list")
    assert errors_of("").startswith("bad.yaml:1:1: expected a mapping (key: value), found nothing")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("0999", "0999"),
        ("1.2.3", "1.2.3"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("'0644'", "0644"),
        ("!!str 0644", "0644"),
        ("!!int 7", 7),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    got = data(f"k: {text}\n")
    assert got == {"k": value}
    assert type(got["k"]) is type(value)  # type: ignore[index]


def test_keys_are_text_as_written() -> None:
    assert data("1: a\nyes: b\n0644: c\n") == {"1": "a", "yes": "b", "0644": "c"}


def test_every_value_and_key_has_a_mark() -> None:
    located = load_yaml("a:\n  - b: x\n    cc: 'y'\n", "x.yaml")
    assert located.marks[("a", 0, "cc")] == Mark(3, 9)
    assert located.marks[("a", 0, "cc")].length == 3
    assert located.key_marks[("a", 0, "cc")] == Mark(3, 5)
    assert located.marks[()] == Mark(1, 1)


def test_columns_count_characters_not_bytes() -> None:
    assert load_yaml("{é: {ü: 1}}", "x.yaml").marks[("é", "ü")] == Mark(1, 9)


def test_an_alias_repeats_the_value_and_points_at_where_it_is_written() -> None:
    located = load_yaml("a: &a {x: 1}\nb: *a\n", "x.yaml")
    assert located.data == {"a": {"x": 1}, "b": {"x": 1}}
    assert located.marks[("b",)] == Mark(2, 4)
    assert located.marks[("b", "x")] == Mark(1, 11)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 1\na: 2\n", "2:1", "'a' is set twice"),
        ("a: {b: 1, b: 2}\n", "1:11", "'b' is set twice"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document begins here"),
        ("a: !!python/object:os.system {}\n", "1:4", "the tag !!python/object:os.system is not supported"),
        ("a: !x 3\n", "1:4", "the tag !x is not supported"),
        ("a: !!int x\n", "1:4", "this is not what its tag !!int says"),
        ("a: &a [*a]\n", "1:8", "'*a' refers to itself"),
        ("a: *b\n", "1:4", "'*b' refers to nothing"),
        ("? [a]\n: b\n", "1:3", "a key must be plain text"),
        ("a: 1\n\tb: 2\n", "2:1", "YAML syntax: "),
        ("a: b: c\n", "1:5", "YAML syntax: "),
        ("a: [1\n", "2:1", "YAML syntax: "),
        ("a: 1\nb: \0\n", "2:4", "the text contains a NUL character"),
        ("a: 1\nb: \x01\n", "2:4", "the text contains a control character"),
        ("[" * 101 + "]" * 101, "1:101", "nested deeper than 100 levels"),
        ("- " * 101 + "x", "1:201", "nested deeper than 100 levels"),
        ("a: &a" + " [" * 60 + "]" * 60 + "\nb:" + " [" * 60 + "*a" + "]" * 60, "2:123", "nested deeper"),
    ],
)
def test_yaml_that_is_refused_is_pointed_at(text: str, where: str, message: str) -> None:
    with pytest.raises(LocatedError) as caught:
        load_yaml(text, "x.yaml")
    assert str(caught.value).startswith(f"x.yaml:{where}: {message}")


def test_a_yaml_bomb_is_refused_quickly() -> None:
    steps = zip("abcdefghi", "bcdefghij", strict=True)
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in steps)
    with pytest.raises(LocatedError, match="more than 100000 values"):
        load_yaml(bomb, "x.yaml")


@pytest.mark.parametrize("load", [load_yaml, load_json])
def test_a_text_over_ten_megabytes_is_refused(load: object) -> None:
    with pytest.raises(LocatedError, match="at most 10000000"):
        load("x" * 10_000_001, "x")  # type: ignore[operator]


@pytest.mark.parametrize("depth", [101, 100_000])
def test_deep_json_is_refused_without_a_crash(depth: int) -> None:
    with pytest.raises(LocatedError, match="nested deeper than 100 levels"):
        load_json("[" * depth, "x")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("a: 1".encode("utf-16"), "UTF-16"),
        ("a: 1".encode("utf-16-le"), "UTF-16"),
        (b"a: ok\nb: \xff\n", "x:2:4: this is not UTF-8 text"),
    ],
)
def test_bytes_that_are_not_utf8_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(LocatedError, match=message):
        decode(raw, "x")


def test_a_byte_order_mark_is_ignored_in_yaml() -> None:
    assert load_yaml(decode(b"\xef\xbb\xbfa: 1", "x"), "x").data == {"a": 1}


def test_json_is_read_with_the_same_marks() -> None:
    text = '{\n "a": [1, {"b": "x\\u00e9"}],\n "c": null, "d": true, "e": -1.5e1\n}'
    located = load_json(text, "x.json")
    assert located.data == {"a": [1, {"b": "xé"}], "c": None, "d": True, "e": -15.0}
    assert located.marks[("a", 1, "b")] == Mark(2, 17)
    assert located.key_marks[("c",)] == Mark(3, 2)
    assert located.warnings == ()


def test_a_json_key_set_twice_warns_and_objects_are_merged_as_go_does() -> None:
    located = load_json('{"a": {"x": 1, "y": 1}, "a": {"y": 2}, "b": 1, "b": 2}', "x.json")
    assert located.data == {"a": {"x": 1, "y": 2}, "b": 2}
    assert [(problem.path, problem.severity) for problem in located.warnings] == [
        (("a",), "warning"),
        (("b",), "warning"),
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "1:1"),
        ("{", "1:1"),
        ('{"a": 1,}', "1:9"),
        ("{'a': 1}", "1:2"),
        ('{"a" 1}', "1:6"),
        ("[1 2]", "1:4"),
        ("{} x", "1:4"),
        ('{"a":\n 01}', "2:3"),
        ('{"a": "\t"}', "1:8"),
        ('{"a": nope}', "1:7"),
        ('{"a": 1e999}', "1:7"),
        ('"abc', "1:1"),
    ],
)
def test_json_syntax_errors_are_pointed_at(text: str, where: str) -> None:
    with pytest.raises(LocatedError) as caught:
        load_json(text, "x.json")
    assert str(caught.value).startswith(f"x.json:{where}: JSON syntax: ")


def test_values_of_secret_settings_are_not_drawn() -> None:
    secret = frozenset({"passwordHash"})
    one_line = load_json('{"user": {"passwordHash": "$6$abcdef", "uid": "x"}}', "x.json", secret_keys=secret)
    shown = render(one_line, [Problem(("user", "uid"), "expected a whole number")])
    assert "abcdef" not in shown
    assert shown.splitlines()[3].index("^^^") == shown.splitlines()[2].index('"x"')
    with pytest.raises(LocatedError) as caught:
        load_yaml("a: 1\npasswordHash: $6$abcdef: x\n", "x.yaml", secret_keys=secret)
    assert "abcdef" not in str(caught.value)


def test_long_lines_are_cut_around_the_caret() -> None:
    located = load_json('{"' + "a" * 300 + '": 1, "b": 2, "c": "' + "z" * 300 + '"}', "x.json")
    lines = render(located, [Problem(("b",), "wrong")]).splitlines()
    assert len(lines[2]) < 120
    assert lines[2][lines[3].index("^")] == "2"


def test_control_characters_never_reach_the_console() -> None:
    located = load_json('{"a": "\\u001b[31m"}', "x.json")
    assert "\x1b" not in render(located, [Problem(("a",), "bad \x1b[31m")])


def test_a_path_without_a_mark_falls_back_to_the_key_of_its_parent() -> None:
    located = load_yaml("a:\n  b:\n    c: 1\n", "x.yaml")
    assert located.mark_of(("a", "b", "missing")) == Mark(2, 3)


def test_paths_are_written_as_json_paths() -> None:
    assert format_path(("a", 0, "b-c", "d e")) == "$.a[0].b-c['d e']"
