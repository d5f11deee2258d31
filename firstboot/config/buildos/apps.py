"""``apps``: what apps of the image are told on one machine: variables, settings, secrets.

The image's own units look for them: ``/etc/apps/NAME/environment`` is an ``EnvironmentFile=``, ``settings.json`` beside
it is laid over the image's settings at each boot (:mod:`firstboot.app_settings`), and secrets are credentials.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from firstboot.config.buildos.services import App
from firstboot.config.buildos.staging import CREDSTORE
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.lazy import import_lazily
from firstboot.config.text import Path

if TYPE_CHECKING:
    import tomllib

    from firstboot.config import explain
else:
    tomllib = import_lazily("tomllib")
    explain = import_lazily("firstboot.config.explain")

DIRECTORY = "/etc/apps"
DROP_IN = "50-secrets.conf"
_APP = re.compile(r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
# Inside quotes of an environment file a backslash takes these for what they are (systemd.exec(5)).
_QUOTED = re.compile(r'([\\"$`])')
_BACKSLASH = r"\\\1"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def configure_apps(output: SugarOutput) -> None:
    """Files that the units of the image's apps look for."""
    named: set[str] = set()
    for at, app in output.list_parts(App, "apps"):
        if not _APP.fullmatch(app.name):
            what = f"'{app.name}' cannot be the name of an app" if app.name else "a name is required"
            output.complain((*at, "name"), what, "it is the name in the image's definition")
            continue
        if app.name in named:
            output.complain((*at, "name"), f"there is an app '{app.name}' already")
            continue
        named.add(app.name)
        here = f"{DIRECTORY}/{app.name}"
        if app.environment or app.settings is not None:
            output.add_directory(DIRECTORY, at)
            output.add_directory(here, at)
        if app.environment:
            text = "".join(_format_variables(app, (*at, "environment"), output))
            output.add_file(f"{here}/environment", text, (*at, "environment"), mode=0o600)
        if app.settings is not None:
            _add_settings(app.settings, f"{here}/settings.json", (*at, "settings"), output)
        if app.secrets:
            _add_secrets(app, (*at, "secrets"), output)


def _format_variables(app: App, at: Path, output: SugarOutput) -> list[str]:
    lines = []
    for name, value in app.environment.items():
        if not _VARIABLE.fullmatch(name):
            output.complain((*at, name), f"'{name}' cannot be the name of a variable", on_key=True)
        elif _CONTROL.search(value):
            output.complain((*at, name), "a variable cannot hold line breaks or control characters")
        else:
            lines.append(f'{name}="{_QUOTED.sub(_BACKSLASH, value)}"\n')
    return lines


def _add_settings(text: str, path: str, at: Path, output: SugarOutput) -> None:
    try:
        settings = tomllib.loads(text)
        data = json.dumps(settings, ensure_ascii=False, indent=1) + "\n"
    except tomllib.TOMLDecodeError as error:
        output.complain(at, f"this is not TOML: {error}")
    except TypeError:
        output.complain(at, "dates and times are written as text, in quotes")
    else:
        output.add_file(path, data, at, mode=0o600)


def _add_secrets(app: App, at: Path, output: SugarOutput) -> None:
    lines = ["[Service]"]
    for name, value in app.secrets.items():
        secret = output.secrets.get(value)
        if not _SECRET.fullmatch(name):
            output.complain((*at, name), f"'{name}' cannot be the name of an app's secret", on_key=True)
        elif secret is None:
            hint = explain.find_suggestion(value, output.secrets) or "declare it under secrets:"
            output.complain((*at, name), f"there is no secret '{value}'", hint)
        else:
            place = secret.credential or (secret.path or f"{CREDSTORE}/{value}").replace("%", "%%")
            lines.append(f"LoadCredential={name}:{place}")
    # Of an app with several instances the service is a template; which it is only the image knows.
    for service in (f"{app.name}.service", f"{app.name}@.service"):
        directory = f"/etc/systemd/system/{service}.d"
        output.add_directory(directory, at)
        output.add_file(f"{directory}/{DROP_IN}", "\n".join(lines) + "\n", at)
