"""An image's configuration on a base, by the rules of Dockerfile's ``FROM``.

Source: Docker's reference of Dockerfiles ("Understand how CMD and ENTRYPOINT interact", ``ENV``, ``LABEL``,
``EXPOSE``), image-spec's config.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.oci.fields import format_time, parse_object, parse_time


def inherit_config(base: bytes, own: Mapping[str, Any], layers: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The configuration of an image whose lowest layers are another's.

    Variables and labels are merged, ports are added. An ``Entrypoint`` of its own also drops the base's ``Cmd``, which
    was meant for another program. User and working directory count where they are set. What a definition cannot say
    (volumes, stop signal, health check ...) stays; ``OnBuild`` is for who builds by a Dockerfile, and goes.

    Args:
        base: the base's configuration, checked.
        own: the image's, as it would be without a base.
        layers: the history entries of the image's own layers.
    """
    document: dict[str, Any] = parse_object(base)
    run: dict[str, Any] = dict(document.get("config") or {})
    mine: dict[str, Any] = own["config"]
    run.pop("OnBuild", None)
    env = dict(entry.partition("=")[::2] for entry in run.get("Env") or ())
    env |= dict(entry.partition("=")[::2] for entry in mine.get("Env") or ())
    merged: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": {**(run.get("Labels") or {}), **(mine.get("Labels") or {})},
        "ExposedPorts": {**(run.get("ExposedPorts") or {}), **(mine.get("ExposedPorts") or {})},
    }
    if mine.get("Entrypoint"):
        merged["Cmd"] = []
    merged |= {key: mine[key] for key in ("Entrypoint", "Cmd", "User", "WorkingDir") if mine.get(key)}
    run = {key: value for key, value in (run | merged).items() if value not in (None, [], {}, "")}
    inherited = document["rootfs"]["diff_ids"]
    history = document.get("history") or [{"created_by": "the base"} for _ in inherited]
    kept = {key: document[key] for key in ("os.version", "os.features") if document.get(key)}
    return {
        **{key: value for key, value in own.items() if key in ("architecture", "os", "variant")},
        **kept,
        "created": max(own["created"], _plain_time(document.get("created"))),
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*inherited, *own["rootfs"]["diff_ids"]]},
        "history": [*history, *layers],
    }


def _plain_time(value: object) -> str:
    """A time that can be compared as text: of whole seconds, in UTC."""
    return format_time(parse_time(value, "created", lambda _: None))
