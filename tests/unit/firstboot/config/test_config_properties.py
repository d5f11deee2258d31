"""Whatever is fed to the parsers: an answer or one of our errors, and merging keeps its laws."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.config.building import build
from firstboot.config.dump import dump
from firstboot.config.located import Located, LocatedError, load_json, load_yaml
from firstboot.config.merge import merge
from firstboot.config.models import Config
from firstboot.config.origins import Origins
from firstboot.config.shape import Dialect, Walk
from firstboot.config.unit_text import BadUnit, parse_options
from firstboot.config.urls import BadUrl, check_url, decode_data_url, make_data_url
from firstboot.engine import compile as compiling

pytestmark = pytest.mark.unit

# Text that is likely to be almost YAML, JSON or a URL.
YAML = [
    "a",
    "b: ",
    "- ",
    "? ",
    "\n",
    "  ",
    ":",
    "&x ",
    "*x",
    "!!str ",
    "!t ",
    "|\n",
    ">-\n",
    "#",
    "---\n",
    "...\n",
]
JSON = ["{", "}", "[", "]", ",", '"', "0644", "1e9", "true", "null", "\\u12"]
ODD = ["'", "%YAML 1.2\n", "<<: ", "\t", "é", "\r\n"]
BEGINNINGS = [
    '{"ignition":{"version":"3.6.0"}',
    "variant: fcos\nversion: 1.7.0\n",
    "storage:\n  files:\n  - path: /a\n",
]
scraps = st.sampled_from([*YAML, *JSON, *ODD, *BEGINNINGS])
almost = st.lists(scraps | st.text(max_size=4), max_size=25).map("".join)


E = TypeVar("E", bound=Exception)


def refusal(call: Callable[[], object], kind: type[E]) -> E | None:
    """The error of this kind that a call raises; any other is the test's failure."""
    try:
        call()
    except kind as error:
        return error
    return None


@given(almost)
def test_yaml_gives_plain_data_with_marks_or_our_error(text: str) -> None:
    error = refusal(lambda: load_yaml(text, "x"), LocatedError)
    if error is not None:
        assert str(error).startswith("x")
        return
    check_marks(load_yaml(text, "x"))


@given(almost)
def test_json_gives_what_the_standard_library_gives_or_our_error(text: str) -> None:
    error = refusal(lambda: load_json(text, "x"), LocatedError)
    if error is not None:
        assert str(error).startswith("x")
        return
    located = load_json(text, "x")
    check_marks(located)
    assert located.warnings or located.data == json.loads(text) or "\\u" in text


def check_marks(located: Located) -> None:
    def visit(data: Any, path: tuple[str | int, ...]) -> None:
        assert path in located.marks
        mark = located.marks[path]
        assert 1 <= mark.line <= located.text.count("\n") + 2
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, value in items:
            visit(value, (*path, key))

    json.dumps(located.data, allow_nan=False)
    visit(located.data, ())


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_json_round_trips(data: Any) -> None:
    text = json.dumps(data)
    if "\\u0000" not in text and "\\ud" not in text:
        assert load_json(text, "x").data == json.loads(text)


@given(almost)
@settings(deadline=None)
def test_any_text_loads_as_a_config_or_is_refused_readably(text: str) -> None:
    error = refusal(lambda: compiling.load(text, "x"), LocatedError)
    if error is not None:
        assert error.problems
        assert str(error)


@given(st.dictionaries(st.sampled_from(["ignition", "storage", "passwd", "systemd", "kernelArguments", "x"]), plain))
@settings(deadline=None)
def test_any_shape_of_ignition_config_is_judged(data: dict[str, Any]) -> None:
    data["ignition"] = {"version": "3.6.0"}
    compiling.check([("x", json.dumps(data))])


@given(st.binary(max_size=200))
def test_data_urls_round_trip(data: bytes) -> None:
    url = make_data_url(data)
    assert decode_data_url(url) == data
    check_url(url, (3, 0))
    assert decode_data_url("data:," + "".join(f"%{byte:02x}" for byte in data)) == data


@given(
    st.lists(
        st.sampled_from(
            [
                "data:",
                ";base64",
                ",",
                "text/plain",
                ";a=b",
                "%41",
                "%zz",
                "aGk=",
                "=",
                " ",
                "é",
                "\n",
                '"',
                "//",
                "h",
                "?",
                "#",
                "[",
            ]
        ),
        max_size=8,
    ).map("".join)
)
def test_any_url_is_judged(url: str) -> None:
    for judge in (lambda: check_url(url, (3, 6)), lambda: decode_data_url(url)):
        error = refusal(judge, BadUrl)
        assert error is None or str(error)


@given(
    st.lists(
        st.sampled_from(["[", "]", "Unit", "=", "\n", "\\\n", "#", ";", " ", "\r", "é", "a" * 2050]),
        max_size=12,
    ).map("".join)
)
def test_any_unit_text_is_judged(text: str) -> None:
    error = refusal(lambda: parse_options(text), BadUnit)
    assert error is None or error.line >= 1


# --- merge ---

names = st.sampled_from("abc")
maybe = st.none() | st.booleans()
users = st.lists(
    st.fixed_dictionaries(
        {"name": names},
        optional={
            "uid": st.integers(0, 3),
            "sshAuthorizedKeys": st.lists(names, unique=True, max_size=3),
            "system": st.booleans(),
        },
    ),
    max_size=3,
    unique_by=lambda user: user["name"],
)


@st.composite
def storages(draw: st.DrawFn) -> dict[str, Any]:
    """Nodes with distinct paths, spread over the three lists."""
    storage: dict[str, list[Any]] = {"files": [], "directories": [], "links": []}
    for path in draw(st.lists(names, unique=True, max_size=3)):
        kind = draw(st.sampled_from(sorted(storage)))
        node: dict[str, Any] = {"path": f"/{path}", "overwrite": draw(maybe)}
        if kind == "links":
            node["target"] = "t"
        else:
            node["mode"] = draw(st.none() | st.integers(0, 0o777))
        if kind == "files":
            node["append"] = [{"source": f"data:,{draw(names)}"} for _ in range(draw(st.integers(0, 2)))]
        storage[kind].append(node)
    return storage


@st.composite
def configs(draw: st.DrawFn) -> Config:
    wanted = draw(st.lists(names, unique=True, max_size=3))
    split = draw(st.integers(0, 3))
    data = {
        "ignition": {"version": "3.6.0"},
        "passwd": {"users": draw(users)},
        "storage": draw(storages()),
        "kernelArguments": {"shouldExist": wanted[:split], "shouldNotExist": wanted[split:]},
    }
    located = load_json(json.dumps(data), "x")
    walk = Walk(located, Dialect((3, 6), "alias"))
    built, problems, _ = build(walk.clean_document(), walk.origins, located)
    assert not problems
    return built


NOWHERE = Origins({(): (Located("x", "", None, {}, {}), ())})
EMPTY = Config()


def merged(parent: Config, child: Config) -> dict[str, Any]:
    return dump(merge(parent, child, NOWHERE, NOWHERE)[0])


@given(configs())
@settings(deadline=None)
def test_nothing_is_neutral_in_a_merge(one: Config) -> None:
    assert merged(one, EMPTY) == dump(one)
    assert merged(EMPTY, one) == dump(one)


def by_name(data: Any) -> Any:
    """Without the order of keyed lists, which a node that changes its kind and back does not keep."""
    if isinstance(data, dict):
        return {key: by_name(value) for key, value in data.items()}
    if isinstance(data, list) and all(isinstance(each, dict) and ("name" in each or "path" in each) for each in data):
        return sorted((by_name(each) for each in data), key=lambda each: each.get("name", each.get("path")))
    return data


@given(configs(), configs(), configs())
@settings(deadline=None)
def test_merging_is_associative_where_no_node_changes_its_kind(a: Config, b: Config, c: Config) -> None:
    kinds: dict[str, set[str]] = {}
    for each in (a, b, c):
        for kind in ("files", "directories", "links"):
            for node in getattr(each.storage, kind):
                kinds.setdefault(node.path, set()).add(kind)
    no_kernel = {"kernel_arguments": EMPTY.kernel_arguments}  # moving between two lists has an order as well
    a, b, c = (each.model_copy(update=no_kernel) for each in (a, b, c))
    if all(len(each) == 1 for each in kinds.values()):
        left = merge(merge(a, b, NOWHERE, NOWHERE)[0], c, NOWHERE, NOWHERE)[0]
        right = merge(a, merge(b, c, NOWHERE, NOWHERE)[0], NOWHERE, NOWHERE)[0]
        assert by_name(dump(left)) == by_name(dump(right))


@given(configs(), configs())
@settings(deadline=None)
def test_the_child_always_wins_and_every_part_has_an_origin(parent: Config, child: Config) -> None:
    result, origins = merge(parent, child, NOWHERE, NOWHERE)
    users_by_name = {user.name: user for user in result.passwd.users}
    for user in child.passwd.users:
        assert user.uid is None or users_by_name[user.name].uid == user.uid
        assert set(user.ssh_authorized_keys) <= set(users_by_name[user.name].ssh_authorized_keys)
    for kind in ("files", "directories", "links"):
        paths = [node.path for node in getattr(result.storage, kind)]
        assert {node.path for node in getattr(child.storage, kind)} <= set(paths)
        for index in range(len(paths)):
            assert origins.find(("storage", kind, index, "path"))
    everything = [node.path for kind in ("files", "directories", "links") for node in getattr(result.storage, kind)]
    assert len(everything) == len(set(everything))
