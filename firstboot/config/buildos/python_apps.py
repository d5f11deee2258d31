"""``python_apps``: services that run programs in Python, each in a sandbox (systemd.exec(5))."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile

from firstboot.config.buildos.common import check_service
from firstboot.config.buildos.services import PythonApp
from firstboot.config.buildos.staging import load_credentials
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.unit_writing import format_command_line, format_unit
from firstboot.config.butane.files import NoLocalFile
from firstboot.config.text import Path
from firstboot.config.unit_text import quote_word

PYTHON = "/usr/bin/python3"
WHEELS = "/var/lib/python-apps"
WAYS = ("module", "entry_point", "script")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_ENTRY_POINT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WHEEL = re.compile(r"[A-Za-z0-9_.+!-]+\.whl")

# What a program that serves something has no use for.
SANDBOX = (
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectProc", "invisible"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("RemoveIPC", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallErrorNumber", "EPERM"),
    ("UMask", "0077"),
)


def make_python_apps(output: SugarOutput) -> None:
    """A service for each."""
    for at, app in output.list_parts(PythonApp, "python_apps"):
        before = output.complaints
        wheel = _wheel(app, at, output)
        _check(app, at, output)
        credentials = load_credentials(app.credentials, (*at, "credentials"), output)
        if output.complaints == before:
            output.add_unit(f"{app.name}.service", _unit(app, wheel, credentials), at, enabled=app.enabled is not False)


def _check(app: PythonApp, at: Path, output: SugarOutput) -> None:
    check_service(app, at, output)
    ways = [name for name in WAYS if getattr(app, name) is not None]
    if len(ways) != 1:
        output.complain(at, f"give one of {', '.join(WAYS)}" if not ways else f"give only one of {', '.join(ways)}")
    if app.module is not None and not _MODULE.fullmatch(app.module):
        output.complain((*at, "module"), f"'{app.module}' is not the name of a module", "like package.module")
    if app.entry_point is not None and not _ENTRY_POINT.fullmatch(app.entry_point):
        output.complain((*at, "entry_point"), f"'{app.entry_point}' names no function", "like package.module:main")
    for name in ("script", "venv", "wheel"):
        path = getattr(app, name)
        if path is not None:
            output.is_path(path, (*at, name))
    for index, path in enumerate(app.writes):
        output.is_path(path, (*at, "writes", index))
    for name in app.environment:
        if not _VARIABLE.fullmatch(name):
            output.complain((*at, "environment", name), f"'{name}' cannot be the name of a variable", on_key=True)
    if app.user is not None and not _USER.fullmatch(app.user):
        output.complain((*at, "user"), f"'{app.user}' is not a user")
    if app.state is not False and "/" in app.name:
        output.complain((*at, "name"), f"'{app.name}' cannot be the name of a directory")


def _wheel(app: PythonApp, at: Path, output: SugarOutput) -> str | None:
    """The wheel's path on the machine, on which it is put if it is beside the config."""
    if app.wheel_local is None:
        return app.wheel
    here = (*at, "wheel_local")
    if app.wheel is not None:
        output.complain(here, "give only one of wheel and wheel_local", on_key=True)
        return None
    name = posixpath.basename(app.wheel_local)
    if not _WHEEL.fullmatch(name):
        output.complain(here, f"'{app.wheel_local}' is not the name of a wheel", "it ends in .whl")
        return None
    try:
        data = output.surroundings.files.read(app.wheel_local)
        problem = _why_unusable(data)
    except NoLocalFile as error:
        output.complain(here, str(error), error.hint)
        return None
    if problem is not None:
        output.complain(here, f"'{app.wheel_local}' {problem}")
        return None
    path = f"{WHEELS}/{app.name}/{name}"
    output.add_directory(WHEELS, at)
    output.add_directory(f"{WHEELS}/{app.name}", at)
    output.add_file(path, data, here)
    return path


def _why_unusable(data: bytes) -> str | None:
    """Why Python could not run a wheel as it is; ``None`` if it can."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = next((name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")), None)
            if about is None:
                return "is not a wheel: there is no WHEEL in it"
            with archive.open(about) as file:
                text = file.read(65536).decode("utf-8", "replace")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        return f"is not a wheel: {error}"
    if not re.search(r"(?im)^Root-Is-Purelib:\s*true\s*$", text):
        return "has compiled parts, which cannot be run from a wheel: install it in a venv"
    return None


def _unit(app: PythonApp, wheel: str | None, credentials: list[tuple[str, str]]) -> str:
    environment = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    if wheel is not None:
        environment["PYTHONPATH"] = wheel
    environment |= app.environment
    network = app.network is not False
    service: list[tuple[str, str]] = [("Type", "exec"), ("ExecStart", format_command_line(_command(app)))]
    service += [("Environment", quote_word(f"{name}={value}")) for name, value in environment.items()]
    service += credentials
    service.append(("User", app.user) if app.user is not None else ("DynamicUser", "yes"))
    if app.state is not False:
        service += [("StateDirectory", app.name), ("WorkingDirectory", f"/var/lib/{app.name}")]
    service += SANDBOX
    service.append(("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6" if network else "AF_UNIX"))
    if not network:
        service.append(("PrivateNetwork", "yes"))
    capabilities = "CAP_NET_BIND_SERVICE" if app.privileged_ports else ""
    service += [("CapabilityBoundingSet", capabilities), ("AmbientCapabilities", capabilities)]
    service += [("ReadWritePaths", quote_word(path)) for path in app.writes]
    service += [("MemoryMax", app.memory_max)] if app.memory_max is not None else []
    service.append(("Restart", app.restart or "on-failure"))
    online = ("network-online.target",) if network else ()
    return format_unit(
        f"Python Application {app.name}",
        service=service,
        wants=online,
        requires=app.requires,
        after=(*online, *app.requires, *app.after),
        wanted_by="multi-user.target",
    )


def _command(app: PythonApp) -> list[str]:
    python = PYTHON if app.venv is None else f"{app.venv}/bin/python"
    if app.module is not None:
        return [python, "-m", app.module, *app.arguments]
    if app.script is not None:
        return [python, app.script, *app.arguments]
    module, _, function = (app.entry_point or "").partition(":")
    return [python, "-c", f"import sys, {module}; sys.exit({module}.{function}())", *app.arguments]
