"""Apps of the image, and what a config tells them: unknown apps, variables and settings, secrets that are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from builder.provisioning.checks.configured_image import ConfiguredImage, find_hint
from builder.provisioning.checks.own_texts import find_text
from firstboot.config.buildos.apps import DIRECTORY
from firstboot.config.buildos.staging import CREDSTORE
from firstboot.config.text import Path, Problem

MANIFEST = "/usr/lib/build-os/apps.json"
DROP_INS = "/etc/systemd/system/"


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """A warning for each thing that no app would see, and for each secret without which one does not start."""
    text = image.root.facts.texts.get(MANIFEST)
    apps: dict[str, Any] = {} if text is None else json.loads(text)
    given: dict[str, set[str]] = {name: set() for name in apps}
    for index, file in enumerate(image.config.storage.files):
        at: Path = ("storage", "files", index)
        place, _, name = file.path.rpartition("/")
        app = _name_app(place, name)
        if app is None:
            if place == CREDSTORE and "." in name:
                owner, _, secret = name.partition(".")
                given.get(owner, set()).add(secret)
            continue
        if app not in apps:
            yield _warn(at, f"the image has no app '{app}'", find_hint(app, apps))
            continue
        written = find_text(file) or ""
        if name == "environment":
            yield from _check_names(_list_variables(written), apps[app]["environment"], f"app '{app}'", at)
        elif name == "settings.json":
            yield from _check_settings(written, apps[app], app, at)
        else:
            secrets = [
                line.partition("=")[2].partition(":")[0]
                for line in written.splitlines()
                if line.startswith("LoadCredential=")
            ]
            given[app].update(secrets)
            for secret in secrets:
                if secret not in apps[app]["secrets"]:
                    message = f"the app '{app}' asks for no secret '{secret}'"
                    yield _warn(at, message, find_hint(secret, apps[app]["secrets"]))
    for app, model in apps.items():
        for secret in model["secrets"]:
            if secret not in given[app]:
                hint = f"give it under apps:, or have the platform hand over the credential {app}.{secret}"
                yield _warn((), f"the app '{app}' does not start without its secret '{secret}'", hint)


def _name_app(place: str, name: str) -> str | None:
    """The app that a file of a config is for."""
    above, _, app = place.rpartition("/")
    if above == DIRECTORY and name in ("environment", "settings.json"):
        return app
    if place.startswith(DROP_INS) and name == "50-secrets.conf":
        return app.removesuffix(".d").removesuffix(".service").removesuffix("@")
    return None


def _list_variables(text: str) -> list[str]:
    return [line.partition("=")[0] for line in text.splitlines()]


def _check_names(names: list[str], known: list[str], whose: str, at: Path) -> Iterator[Problem]:
    for name in names:
        if name not in known:
            yield _warn(at, f"the {whose} of the image knows no variable '{name}'", find_hint(name, known))


def _check_settings(text: str, app: Mapping[str, Any], name: str, at: Path) -> Iterator[Problem]:
    if app["settings"] is None:
        yield _warn(at, f"the app '{name}' of the image has no settings", "its definition says what there is to set")
        return
    for where, hint in _find_unknown(json.loads(text), app["settings"], ()):
        yield _warn(at, f"the app '{name}' of the image has no setting '{'.'.join(where)}'", hint)


def _find_unknown(own: Any, known: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    if isinstance(own, dict) and isinstance(known, dict):
        for key, value in own.items():
            if key in known:
                yield from _find_unknown(value, known[key], (*where, key))
            else:
                yield (*where, key), find_hint(key, known)


def _warn(at: Path, message: str, hint: str | None) -> Problem:
    return Problem(at, message, hint, severity="warning")
