"""The fields of an OCI image's documents: is each what the image-spec 1.1 says it is?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

_SUPPORTED = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}
_PORT = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/(?:tcp|udp|sctp))?")

Json = dict[str, object]
Report = Callable[[str], None]


class Platform(NamedTuple):
    """What an image runs on, by Go's names (image-spec, image-index.md)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self))


def parse_object(data: bytes) -> Json:
    """An object that every reader of JSON reads alike.

    Raises:
        ValueError: it is none; the message completes "FILE: ...".
    """
    value = _parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return value


def parse_list(data: bytes) -> list[object]:
    """A list that every reader of JSON reads alike.

    Raises:
        ValueError: as :func:`parse_object`.
    """
    value = _parse_json(data)
    if not isinstance(value, list):
        raise ValueError("is no JSON list")
    return value


def _parse_json(data: bytes) -> object:
    try:
        return json.loads(data, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON that everybody reads alike: {error}") from error


def _no_twins(pairs: list[tuple[str, object]]) -> Json:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


KNOWN_KEYS = {
    key.casefold(): key
    for key in (
        *(
            "schemaVersion",
            "mediaType",
            "artifactType",
            "config",
            "layers",
            "manifests",
            "subject",
            "annotations",
        ),
        *(
            "digest",
            "size",
            "urls",
            "data",
            "platform",
            "os",
            "architecture",
            "rootfs",
            "diff_ids",
            "history",
        ),
    )
}


def check_spelling(value: Json, report: Report, where: str = "") -> None:
    """Keys are spelt as in the specification: readers in Go take ``Layers`` for ``layers``, others do not."""
    for key in value:
        if KNOWN_KEYS.get(key.casefold(), key) != key:
            report(f"{where}{key!r} must be spelt {KNOWN_KEYS[key.casefold()]!r}")


def check_config(config: Json, report: Report) -> tuple[tuple[str, ...], Platform, int]:
    """The fields of config.md; optional ones may be ``null``. Returns diff IDs, platform and time."""
    check_spelling(config, report)
    names = []
    for key in ("os", "architecture"):
        value = config.get(key)
        if not isinstance(value, str) or not value:
            report(f"{key} must be text")
        names.append(str(value))
    for key in ("author", "os.version", "variant"):
        parse_text(config.get(key), key, report)
    parse_strings(config.get("os.features"), "os.features", report)
    created = parse_time(config.get("created"), "created", report)
    run = config.get("config")
    if run is not None and not isinstance(run, dict):
        report("config must be an object")
    elif run is not None:
        _check_run(run, report)
    rootfs = config.get("rootfs")
    diff_ids: list[str] = []
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        report("rootfs.type must be 'layers'")
    else:
        for number, diff_id in enumerate(list_field(rootfs, "diff_ids", report)):
            if isinstance(diff_id, str) and is_supported(diff_id):
                diff_ids.append(diff_id)
            else:
                report(f"rootfs.diff_ids[{number}] must be a sha256 or sha512 digest")
    _check_history(config.get("history"), len(diff_ids), report)
    variant = config.get("variant")
    return tuple(diff_ids), Platform(names[0], names[1], variant if isinstance(variant, str) else ""), created


def _check_run(run: Json, report: Report) -> None:
    for key in ("User", "WorkingDir", "StopSignal"):
        parse_text(run.get(key), f"config.{key}", report)
    for key in ("Env", "Entrypoint", "Cmd"):
        parse_strings(run.get(key), f"config.{key}", report)
    env = run.get("Env")
    if isinstance(env, list) and not all("=" in entry for entry in env if isinstance(entry, str)):
        report("config.Env must have entries like NAME=value")
    for key in ("ExposedPorts", "Volumes"):
        value = run.get(key)
        if value is None:
            continue
        if not isinstance(value, dict) or any(inner != {} for inner in value.values()):
            report(f"config.{key} must map to empty objects")
        elif key == "ExposedPorts" and not all(_PORT.fullmatch(port) for port in value):
            report("config.ExposedPorts must have keys like 8080/tcp")
    labels = run.get("Labels")
    if labels is not None and not _is_text_map(labels):
        report("config.Labels must map text to text")


def _check_history(history: object, layers: int, report: Report) -> None:
    if history is None:
        return
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        report("history must be a list of objects")
        return
    for number, entry in enumerate(history):
        for key in ("author", "created_by", "comment"):
            parse_text(entry.get(key), f"history[{number}].{key}", report)
        parse_time(entry.get("created"), f"history[{number}].created", report)
        if type(entry.get("empty_layer", False)) is not bool:
            report(f"history[{number}].empty_layer must be true or false")
    count = sum(1 for entry in history if not entry.get("empty_layer"))
    if history and count != layers:
        report(f"history speaks of {count} layers, there are {layers}")


def is_supported(digest: str) -> bool:
    algorithm, _, encoded = digest.partition(":")
    return algorithm in _SUPPORTED and _SUPPORTED[algorithm].fullmatch(encoded) is not None


def parse_platform(value: object, where: str, report: Report) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        report(f"{where}.platform must be an object")
        return None
    system, architecture = value.get("os"), value.get("architecture")
    if not isinstance(system, str) or not isinstance(architecture, str):
        report(f"{where}.platform must have os and architecture")
        return None
    variant = value.get("variant")
    return Platform(system, architecture, variant if isinstance(variant, str) else "")


def list_field(document: Json, key: str, report: Report) -> list[object]:
    value = document.get(key)
    if isinstance(value, list):
        return value
    report(f"{key} must be a list")
    return []


def parse_text(value: object, where: str, report: Report) -> None:
    if value is not None and not isinstance(value, str):
        report(f"{where} must be text")


def parse_strings(value: object, where: str, report: Report) -> None:
    if value is not None and not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        report(f"{where} must be a list of texts")


def parse_time(value: object, where: str, report: Report) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 where there is none."""
    if value is None:
        return 0
    try:
        # fromisoformat takes three or six digits of a second's fraction, Go writes up to nine.
        text = re.sub(r"\.[0-9]+", "", value if isinstance(value, str) else "")
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return max(0, int(time.timestamp()))
    except (ValueError, OverflowError):
        report(f"{where} must be a time like 1970-01-01T00:00:00Z")
        return 0


def format_time(seconds: int) -> str:
    """``1970-01-01T00:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_annotations(document: Json, report: Report, where: str = "") -> None:
    value = document.get("annotations")
    if value is not None and not _is_text_map(value):
        report(f"{where}annotations must map text to text")


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, str) for inner in value.values())
