"""Configs judged, compiled and merged as the real Ignition and Butane do."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import BuildError
from builder.provisioning.convert import convert_to_butane
from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_compactly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.checks import check
from firstboot.config.document import read
from firstboot.config.dump import dump
from firstboot.config.loaded import Document
from firstboot.config.located import LocatedError
from firstboot.config.merge import merge
from firstboot.config.models import Config
from firstboot.config.resource import BadResource, decompress_gzip
from firstboot.config.urls import BadUrl, decode_data_url
from firstboot.config.versions import NEWEST, translate

pytestmark = pytest.mark.conformance

Row = dict[str, Any]
Vectors = Callable[[str], list[Row]]

DEVICES = ("disks", "raid", "filesystems", "luks")


def verdict_of(document: Document) -> str:
    if document.errors:
        return "error"
    return "warn" if document.problems else "ok"


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(["$", *map(str, path)])


def judge_validation(row: Row) -> str | None:
    try:
        document = read(row["config"], "x")
    except LocatedError:
        return None if row["verdict"] == "error" else f"{row['verdict']}, ours: cannot be read"
    verdict = verdict_of(document)
    if verdict != row["verdict"]:
        ours = [(dotted(each.path), each.message) for each in document.problems]
        return f"{row['verdict']} {row['entries']}, ours: {verdict} {ours}"
    # A type that does not fit is reported by the original for the whole document; we say where.
    if any(entry["message"].startswith("json:") for entry in row["entries"]):
        return None
    theirs = sorted({(entry["kind"], entry["path"]) for entry in row["entries"]})
    ours = sorted({(each.severity, dotted(each.path)) for each in document.problems})
    return None if theirs == ours else f"{theirs}, ours: {ours}"


@pytest.mark.parametrize("name", ["authored-validate.jsonl", "harvested-validate.jsonl"])
def test_configs_get_the_verdict_and_the_paths_of_the_real_ignition(
    name: str, vectors: Vectors, score: Callable[..., None]
) -> None:
    score(name, vectors(name), judge_validation)


def judge_round_trip(row: Row) -> str | None:
    document = read(row["config"], "x")
    assert document.config is not None
    try:
        again = read(convert_to_butane(document.config, document.version, "fcos"), "x")
    except BuildError as error:
        return str(error)
    assert again.config is not None
    ours, theirs = (without_compression(normalized(dump(each))) for each in (again.config, document.config))
    return None if ours == theirs else f"{json.dumps(theirs)}\n  ours: {json.dumps(ours)}"


def without_compression(data: Any) -> Any:
    """Converted contents are written as text, whatever they were packed in."""
    if isinstance(data, dict):
        return {key: without_compression(value) for key, value in data.items() if key != "compression"}
    return [without_compression(each) for each in data] if isinstance(data, list) else data


def beyond_butane(row: Row) -> str | None:
    return "Butane does not know virtiofs" if "virtiofs" in row["config"] else None


@pytest.mark.parametrize("name", ["authored-validate.jsonl", "harvested-validate.jsonl"])
def test_configs_converted_to_yaml_compile_to_themselves(
    name: str, vectors: Vectors, score: Callable[..., None]
) -> None:
    rows = [row for row in vectors(name) if row["verdict"] != "error"]
    score(f"{name} to YAML and back", rows, judge_round_trip, decided=beyond_butane)


# --- merge ---


def pruned(data: Any) -> Any:
    """Without what is unset or empty."""
    if isinstance(data, dict):
        clean = {key: pruned(value) for key, value in data.items()}
        return {key: value for key, value in clean.items() if value not in (None, {}, [])}
    return [pruned(each) for each in data] if isinstance(data, list | tuple) else data


def loosely(text: str) -> tuple[Config, tuple[int, int]]:
    """A config whether or not it makes sense: upstream's unit tests merge structs, not documents."""
    from firstboot.config.building import build
    from firstboot.config.located import load_json
    from firstboot.config.shape import Dialect, Walk
    from firstboot.config.versions import find_version

    located = load_json(text, "x")
    version = find_version(located.data["ignition"]["version"])
    assert version is not None
    walk = Walk(located, Dialect(version, "alias", fold_case=True))
    config, problems, _ = build(walk.clean_document(), walk.origins, located)
    assert not problems
    return config, version


def judge_merge(row: Row) -> str | None:
    from firstboot.config.origins import Origins
    from firstboot.config.text import Located

    nowhere = Origins({(): (Located("x", "", None, {}, {}), ())})
    sides = []
    for text in (row["parent"], row["child"]):
        config, version = loosely(text)
        sides.append(config if "note" in row else translate(config, version))
    merged, _ = merge(sides[0], sides[1], nowhere, nowhere)
    ours = dump(merged)
    if ours != pruned(row["merged"]):
        return f"{json.dumps(row['merged'])}\n  ours: {json.dumps(ours)}"
    if "note" in row:
        return None
    errors = sorted({dotted(each.path) for each in check(merged, NEWEST) if each.severity == "error"})
    theirs = sorted({each["path"] for each in row["post_entries"] if each["kind"] == "error"})
    return None if errors == theirs else f"checked after merging: {theirs}, ours: {errors}"


def test_configs_merge_as_in_the_real_ignition(vectors: Vectors, score: Callable[..., None]) -> None:
    score("merge.jsonl", vectors("merge.jsonl"), judge_merge)


# --- Butane ---


def normalized(data: Any) -> Any:
    """Data URLs decoded and unzipped, as the vectors have them."""
    if isinstance(data, list):
        return [normalized(each) for each in data]
    if not isinstance(data, dict):
        return data
    out = {key: normalized(value) for key, value in data.items()}
    source = data.get("source")
    if isinstance(source, str) and source.startswith("data:"):
        try:
            raw = decode_data_url(source)
            if data.get("compression") == "gzip":
                raw = decompress_gzip(raw)
        except (BadUrl, BadResource):
            return {**out, "source": {"undecodable": decode_data_url(source).hex()}}
        out["source"] = {"data_base64": base64.b64encode(raw).decode()}
        if "compression" in out:
            out["compression"] = "<decoded>"
    return out


def decoded(data: Any) -> Any:
    """What could not be unzipped may be written in several ways; compare the bytes."""
    if isinstance(data, list):
        return [decoded(each) for each in data]
    if not isinstance(data, dict):
        return data
    if set(data) == {"undecodable"}:
        return {"undecodable": decode_data_url(data["undecodable"]).hex()}
    return {key: decoded(value) for key, value in data.items()}


def make_files(directory: Path, contents: dict[str, Any] | None) -> LocalFiles:
    """The files beside a config, as the row has them."""
    if contents is None:
        return LocalFiles(None)
    for name, node in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match node["type"]:
            case "symlink":
                path.symlink_to(node["target"])
            case "dir":
                path.mkdir(exist_ok=True)
            case "special":
                os.mkfifo(path)
            case _:
                encoded = node.get("content_base64")
                path.write_bytes(node["content"].encode() if encoded is None else base64.b64decode(encoded))
                path.chmod(node.get("mode", 0o644))
    return LocalFiles(directory)


def judge_butane(directory: Path) -> Callable[[Row], str | None]:
    def judge(row: Row) -> str | None:
        files = make_files(directory / row["id"], row["files_dir_contents"])
        try:
            document = read(row["butane"], "x", Surroundings(files, encode_compactly))
        except LocatedError as error:
            return None if row["verdict"] == "error" else f"{row['verdict']}, ours: cannot be read: {error}"
        verdict = verdict_of(document)
        if verdict != row["verdict"]:
            ours = [(dotted(each.path), each.message) for each in document.problems]
            return f"{row['verdict']} {row['raw_errors']!r}, ours: {verdict} {ours}"
        if row["normalized"] is None or document.config is None:
            return None
        ours = normalized(document.compile())
        theirs = decoded(pruned(row["normalized"]))
        return None if ours == theirs else f"{json.dumps(theirs)}\n  ours: {json.dumps(ours)}"

    return judge


@pytest.mark.parametrize("name", ["authored-butane.jsonl", "butane-docs.jsonl", "butane-unit.jsonl"])
def test_butane_compiles_as_the_real_butane_does(
    name: str, vectors: Vectors, score: Callable[..., None], tmp_path: Path
) -> None:
    score(name, vectors(name), judge_butane(tmp_path))
