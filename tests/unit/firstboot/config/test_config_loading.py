"""Configs inside configs, merging several, and what is refused because it cannot be carried out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import pytest

from firstboot.config import resource
from firstboot.config.located import LocatedError
from firstboot.config.resource import inline_bytes
from firstboot.engine import compile as compiling

pytestmark = pytest.mark.unit


def ignition(version: str = "3.6.0", **sections: Any) -> str:
    extra = sections.pop("ignition", {})
    return json.dumps({"ignition": {"version": version, **extra}, **sections})


def as_url(text: str) -> str:
    return "data:;base64," + base64.b64encode(text.encode()).decode()


def error_of(text: str) -> str:
    with pytest.raises(LocatedError) as caught:
        compiling.load(text, "x.ign")
    return str(caught.value)


def test_a_config_inside_is_merged_and_wins() -> None:
    inner = ignition("3.0.0", storage={"files": [{"path": "/m", "mode": 0o4755}, {"path": "/n"}]})
    outer = ignition(
        ignition={"config": {"merge": [{"source": as_url(inner)}]}},
        storage={"files": [{"path": "/m", "mode": 0o600, "contents": {"source": "data:,outer"}}]},
    )
    files = compiling.load(outer, "x").config.storage.files
    assert [(file.path, file.mode, inline_bytes(file.contents)) for file in files] == [
        ("/m", 0o755, b"outer"),
        ("/n", None, b""),
    ]


def test_a_config_inside_may_be_yaml_and_compressed() -> None:
    inner = gzip.compress(b"variant: fcos\nversion: 1.4.0\nstorage: {files: [{path: /y}]}\n")
    source = "data:;base64," + base64.b64encode(inner).decode()
    outer = ignition(ignition={"config": {"merge": [{"source": source, "compression": "gzip"}]}})
    assert compiling.load(outer, "x").config.storage.files[0].path == "/y"


def test_a_config_to_use_instead_drops_everything_else() -> None:
    inner = ignition(storage={"files": [{"path": "/r"}]})
    outer = ignition(
        ignition={"config": {"replace": {"source": as_url(inner)}}}, storage={"files": [{"path": "/gone"}]}
    )
    assert [file.path for file in compiling.load(outer, "x").config.storage.files] == ["/r"]


def test_the_hash_of_a_config_is_compared_as_lower_case_text() -> None:
    inner = ignition()
    digest = hashlib.sha256(inner.encode()).hexdigest()

    def outer(written: str) -> str:
        reference = {"source": as_url(inner), "verification": {"hash": f"sha256-{written}"}}
        return ignition(ignition={"config": {"merge": [reference]}})

    compiling.load(outer(digest), "x")
    assert "is not the one given" in error_of(outer(digest.upper()))
    assert "$.ignition.config.merge[0].verification.hash" in error_of(outer("0" * 64))


def test_errors_of_a_config_inside_are_shown_where_it_is_embedded() -> None:
    inner = ignition(storage={"files": [{"path": "relative"}]})
    text = error_of(ignition(ignition={"config": {"merge": [{"source": as_url(inner)}]}}))
    assert "the config in this data URL:1:" in text
    assert "the path 'relative' is not absolute" in text
    assert "$.ignition.config.merge[0].source" in text


def test_the_same_config_twice_is_refused_without_showing_it() -> None:
    reference = {"source": as_url(ignition())}
    text = error_of(ignition(ignition={"config": {"merge": [reference, reference]}}))
    assert "the same source is defined twice" in text
    assert reference["source"][-20:] not in text


def test_configs_that_contain_themselves_too_often_are_refused() -> None:
    text = ignition()
    for _ in range(12):
        text = ignition(ignition={"config": {"merge": [{"source": as_url(text)}]}})
    assert "nested deeper than 8" in error_of(text)


def test_merging_valid_configs_can_be_invalid_and_points_at_both() -> None:
    a = ignition(
        passwd={"users": [{"name": "u", "homeDir": "/h"}]},
        storage={"files": [{"path": "/f", "user": {"id": 1}}]},
    )
    b = "variant: buildos\nversion: 1.0.0\nstorage:\n  files:\n    - path: /f\n      user: {name: root}\n"
    found = compiling.check([("a.ign", a), ("b.yaml", b)])
    assert [each.problem.message for each in found] == ["give either the id or the name, not both"]
    assert str(found[0]).startswith("b.yaml:6:13:")


def test_a_problem_of_a_parents_part_points_at_the_parent() -> None:
    a = ignition(storage={"files": [{"path": "/etc/systemd/system/a.service"}]})
    b = ignition(systemd={"units": [{"name": "a.service", "contents": "[Unit]\nA=b\n"}]})
    found = compiling.check([("a.ign", a), ("b.ign", b)])
    assert [each.located.name for each in found] == ["a.ign"]


def test_every_document_that_is_wrong_is_reported() -> None:
    found = compiling.check(
        [("a.ign", "{"), ("b.ign", ignition(storage={"files": [{"path": "x"}]})), ("c.ign", ignition())]
    )
    assert [each.located.name for each in found] == ["a.ign", "b.ign"]


def test_warnings_survive_merging_once() -> None:
    texts = [("a.ign", ignition(bogus=1)), ("b.ign", ignition(links=1))]
    assert [each.problem.path for each in compiling.check(texts)] == [("bogus",), ("links",)]


def test_what_cannot_be_carried_out_is_refused_by_name() -> None:
    filesystem = {"device": "/dev/a", "format": "ext4", "path": "/usr"}
    text = error_of(ignition(storage={"filesystems": [filesystem]}))
    assert "not supported by this version of build-os" in text
    assert text.splitlines()[3].endswith(" $.storage.filesystems[0]")


def test_nothing_but_the_standard_library_yaml_and_pydantic_is_imported() -> None:
    """The host imports this package; the guest must not need more than it ships."""
    import ast
    import sys
    from pathlib import Path

    allowed = {"yaml", "_sha2", "_sha256", "_sha512", *sys.stdlib_module_names}
    package = Path(resource.__file__).parent
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in allowed or name.startswith("firstboot.config"), f"{path.name}: {name}"


def test_what_is_elsewhere_is_no_error_where_nothing_is_fetched() -> None:
    merging = {"config": {"merge": [{"source": "https://one.example.org/"}]}, "timeouts": {"httpTotal": 5}}
    files = [{"path": "/f", "contents": {"source": "s3://b/k"}}]
    assert compiling.check([("a.ign", ignition(ignition=merging, storage={"files": files}))]) == []
