"""Whether what is written about apps makes sense: problems at the exact place, before anything is built."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builder.definition.app_models import App
from builder.definition.app_sandbox import GIVEN, SANDBOX
from builder.definition.ports import Publish, parse_publish
from builder.definition.scalars import UNIT_SUFFIXES, NotAccepted
from firstboot.config.located import Path, Problem, find_suggestion

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(
    r"(?:^|[_.-])(?:password|passwd|passphrase|secret|token|api_?key|private_?key|secret_?key|access_?key)s?$", re.I
)
_POINTER = re.compile(r"[_.-](?:file|path|dir|name|credential)$", re.I)
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.I)
_OPTION = re.compile(r"--?([A-Za-z0-9_.-]+)=(.+)", re.S)
# Set by the unit itself; another value would take the app's modules or secrets away.
OWN_VARIABLES = ("PYTHONPATH", "SETTINGS_FILE", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "INSTANCE")


def check_app(app: App, here: Path) -> Iterator[Problem]:
    """All that can be said about one app alone."""
    yield from _check_start(app, here)
    yield from _check_listen(app, here)
    yield from _check_texts(app, here)
    yield from _check_secrets(app, here)
    for index, exception in enumerate(app.exceptions):
        name = exception.setting.partition("=")[0]
        if name not in SANDBOX and name not in GIVEN:
            hint = find_suggestion(name, (*SANDBOX, *GIVEN)) or f"they are {', '.join(SANDBOX)}"
            yield Problem((*here, "exceptions", index, "setting"), f"the sandbox has no setting {name}", hint)


def _check_start(app: App, here: Path) -> Iterator[Problem]:
    if (app.entrypoint is None) == (app.module is None):
        what = "has nothing to run" if app.module is None else "runs two things: entrypoint is set as well"
        yield Problem(
            (*here, "name" if app.module is None else "module"), f"the app {what}", "set entrypoint, or module"
        )
    if app.health is not None and app.ready != "http":
        yield Problem((*here, "health"), "a path is asked only of an app that is 'ready: http'", "set ready: http")
    if app.ready == "http" and find_http_address(app) is None:
        yield Problem((*here, "ready"), "nothing says where the app answers HTTP", "name a port or socket in listen")
    if app.schedule is not None:
        for key, wrong in (
            ("listen", bool(app.listen.sockets or app.listen.ports)),
            ("ready", app.ready != "exec"),
            ("instances", app.instances > 1),
        ):
            if wrong:
                yield Problem((*here, key), f"a job with a schedule ends by itself, and has no use for '{key}'")


def _check_listen(app: App, here: Path) -> Iterator[Problem]:
    for kind in ("sockets", "ports"):
        seen = set()
        for index, text in enumerate(getattr(app.listen, kind)):
            where = (*here, "listen", kind, index)
            if text in seen:
                yield Problem(where, f"'{text}' is listed twice")
            seen.add(text)
            try:
                port = parse_address(text)
            except NotAccepted as error:
                yield Problem(where, str(error), error.hint)
                continue
            if port is None and kind == "ports":
                yield Problem(where, f"{text} is no port", "a socket in the file system is one of 'sockets'")
            elif port is not None and not app.network:
                yield Problem(where, "an app without a network is not reached by a port", "set network: true")
            elif port is not None and kind == "ports" and port.host < 1024 and not app.privileged_ports:
                hint = "let systemd open it (listen.sockets), or set privileged_ports: true"
                yield Problem(where, f"only root opens port {port.host}, and an app is not root", hint)
    if app.instances > 1 and app.listen.ports:
        hint = "with listen.sockets each instance gets a socket of its own on the same port"
        yield Problem((*here, "instances"), "each instance would open the same port", hint)


def _check_texts(app: App, here: Path) -> Iterator[Problem]:
    texts = [((*here, "arguments", index), text) for index, text in enumerate(app.arguments)]
    texts += [((*here, "environment", name), str(value)) for name, value in app.environment.items()]
    for where, text in texts:
        if re.search(r"[\x00-\x1f\x7f]", text):
            yield Problem(where, "this cannot hold line breaks or control characters")
    for name in app.environment:
        if not _VARIABLE.fullmatch(name):
            yield Problem((*here, "environment", name), f"'{name}' is no variable's name", on_key=True)
        elif name in OWN_VARIABLES:
            yield Problem((*here, "environment", name), f"{name} is set by the app's unit", on_key=True)


def _check_secrets(app: App, here: Path) -> Iterator[Problem]:
    """What looks like a secret would be read by everyone who has the image."""
    settings = [((*here, "environment", name), name, value) for name, value in app.environment.items()]
    if app.settings is not None:
        for key, tree in (("toml", app.settings.toml), ("json", app.settings.json_)):
            leaves = [] if tree is None else _list_leaves(tree, (*here, "settings", key))
            settings += leaves
            if key == "toml":
                nothing = [where for where, _, value in leaves if value is None]
                yield from (Problem(where, "TOML has no null", "leave the setting out") for where in nothing)
    for index, text in enumerate(app.arguments):
        option = _OPTION.fullmatch(text)
        settings.append(((*here, "arguments", index), option[1] if option else "", option[2] if option else text))
    for where, name, value in settings:
        if is_plain_secret(name, value):
            hint = "name it under 'secrets': the app reads it from $CREDENTIALS_DIRECTORY, and each machine has its own"
            yield Problem(where, "this is a secret, and an image is no place for one", hint)


def is_plain_secret(name: str, value: Any) -> bool:
    """Whether a setting holds what nobody should read: by its name, or a password in a URL."""
    if not isinstance(value, str) or not value:
        return False
    if _URL_PASSWORD.search(value):
        return True
    return bool(_SECRET.search(name)) and not _POINTER.search(name) and not value.startswith("/")


def _list_leaves(value: Any, where: Path) -> list[tuple[Path, str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _list_leaves(inner, (*where, key))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _list_leaves(inner, (*where, index))]
    return [(where, str(where[-1]), value)]


def check_apps(apps: Sequence[tuple[Path, App]], containers: Mapping[str, tuple[Publish, ...]]) -> Iterator[Problem]:
    """What apps, and the containers beside them, have to share: names, ports, each other.

    Args:
        apps: with the place of each in the file that is looked at.
        containers: of the definition, and the ports that they publish.
    """
    taken = [(f"the container '{name}'", port) for name, ports in containers.items() for port in ports]
    known = {app.name for _, app in apps} | containers.keys()
    seen: set[str] = set()
    for here, app in apps:
        if app.name in seen or app.name in containers:
            whose = "an app" if app.name in seen else "a container"
            yield Problem((*here, "name"), f"there is {whose} '{app.name}' already")
        seen.add(app.name)
        for kind in ("sockets", "ports"):
            for index, text in enumerate(getattr(app.listen, kind)):
                try:
                    port = parse_address(text)
                except NotAccepted:
                    continue
                if port is None:
                    continue
                other = next((name for name, known_port in taken if known_port.has_conflict_with(port)), None)
                if other is not None:
                    where = (*here, "listen", kind, index)
                    yield Problem(where, f"port {port.host}/{port.protocol} is already taken by {other}")
                taken.append((f"the app '{app.name}'", port))
        for key in ("after", "needs"):
            for index, name in enumerate(getattr(app, key)):
                if name not in known and name.rpartition(".")[2] not in UNIT_SUFFIXES:
                    hint = find_suggestion(name, known) or "units are written with their kind, like postgresql.service"
                    yield Problem((*here, key, index), f"there is no app or container '{name}'", hint)


def parse_address(text: str) -> Publish | None:
    """Where an app listens, as a port; ``None`` if it is a path.

    Raises:
        NotAccepted: there is no such port or address.
    """
    if text.startswith("/"):
        return None
    address, _, port = text.rpartition(":")
    if address:
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            raise NotAccepted(f"{address} is no address of a machine") from None
    return parse_publish(f"{text}:{port}")


def find_http_address(app: App) -> str | None:
    """Where an app that speaks HTTP is asked whether it is well: the first place that it listens at."""
    for text in (*app.listen.sockets, *app.listen.ports):
        if text.startswith("/"):
            return text
        address, _, port = text.rpartition(":")
        return f"{address if address not in ('', '0.0.0.0', '[::]') else 'localhost'}:{port}"
    return None
