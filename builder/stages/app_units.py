"""The units of an app: service, sockets, timer, the target of several instances, and the check of its health.

Pure text (systemd.service(5), systemd.exec(5)), so that what an app becomes can be read and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.definition.app_checks import find_http_address
from builder.definition.app_models import App
from builder.definition.app_sandbox import make_sandbox
from builder.definition.resolved_app import ResolvedApp
from builder.stages.unit_sections import Section, format_sections
from firstboot.config.buildos.unit_writing import format_one_line
from firstboot.config.unit_text import quote_word

APPS = "/usr/lib/apps"
SETTINGS = "/usr/share/apps"
MACHINE_SETTINGS = "/run/app-settings"
MACHINE_VARIABLES = "/etc/apps"
HTTP_CHECK = "/usr/lib/build-os/wait-for-http"
SETTINGS_UNIT = "app-settings@.service"
INSTANCE = "{instance}"
# How long an app may take to be ready, and a check of its health goes on trying. Seconds.
START_TIMEOUT = 90
HEALTH_TIMEOUT = 120
HEALTH = "boot-complete.target"


@dataclass(frozen=True)
class AppUnits:
    """What an app becomes.

    Attributes:
        texts: unit name -> text.
        enable: the units that presets enable.
    """

    texts: dict[str, str]
    enable: tuple[str, ...]


def make_app_units(app: ResolvedApp, command: Sequence[str]) -> AppUnits:
    """The units of an app.

    Args:
        command: the program and its first arguments, without those of the definition.
    """
    model = app.app
    several = model.instances > 1
    service = f"{app.name}@.service" if several else f"{app.name}.service"
    texts = {service: _make_service(app, command)}
    enable: list[str] = []
    if model.listen.sockets:
        socket = f"{app.name}@.socket" if several else f"{app.name}.socket"
        texts[socket] = _make_socket(app)
        enable += [] if several else [socket]
    if several:
        texts[f"{app.name}.target"] = _make_target(app)
        enable.append(f"{app.name}.target")
    elif model.schedule is not None:
        texts[f"{app.name}.timer"] = _make_timer(app)
        enable.append(f"{app.name}.timer")
    else:
        enable.append(service)
    if model.schedule is None:
        texts[f"health-{app.name}.service"] = _make_health(app)
        enable += [f"health-{app.name}.service"] if model.gate and model.enable else []
    return AppUnits(texts, tuple(enable) if model.enable else ())


def _make_service(app: ResolvedApp, command: Sequence[str]) -> str:
    model = app.app
    several = model.instances > 1
    unit: Section = [("Description", _describe(app))]
    needs, after = [*app.needs], [*app.after]
    if model.listen.sockets:
        socket = f"{app.name}@%i.socket" if several else f"{app.name}.socket"
        needs.append(socket)
        after.append(socket)
    wants = ["network-online.target"] if "network-online.target" in after else []
    if model.settings is not None:
        needs.append(SETTINGS_UNIT.replace("@", f"@{app.name}"))
        after.append(SETTINGS_UNIT.replace("@", f"@{app.name}"))
    if several:
        unit.append(("PartOf", f"{app.name}.target"))
    for key, names in (("Wants", wants), ("Requires", needs), ("After", after)):
        if names:
            unit.append((key, " ".join(names)))
    if model.schedule is None:
        # It is started again and again, ever less often (RestartSteps=): giving up would need a person.
        unit.append(("StartLimitIntervalSec", "0"))
    service = [*_list_start(model, command), *_list_surroundings(app), *_list_limits(model)]
    sandbox, added = make_sandbox(
        (_split(exception.setting) for exception in model.exceptions),
        network=model.network,
        privileged_ports=model.privileged_ports,
    )
    reasons = [
        ("# Exception", f"{exception.setting}: {format_one_line(exception.reason)}") for exception in model.exceptions
    ]
    sections = [("Unit", unit), ("Service", [*service, *reasons, *sandbox, *added])]
    if model.schedule is None and not several:
        sections.append(("Install", [("WantedBy", "multi-user.target")]))
    return format_sections(sections)


def _list_start(app: App, command: Sequence[str]) -> Section:
    kind = "oneshot" if app.schedule is not None else "notify" if app.ready == "notify" else "exec"
    words = [*command, *app.arguments]
    settings: Section = [("Type", kind), ("ExecStart", " ".join(_quote(word, app, command=True) for word in words))]
    if app.ready == "http":
        settings.append(("ExecStartPost", _format_http_check(app, START_TIMEOUT)))
    if app.schedule is None:
        settings.append(("TimeoutStartSec", f"{START_TIMEOUT + 10}s"))
        settings += [
            ("Restart", "always"),
            ("RestartSec", "500ms"),
            ("RestartSteps", "8"),
            ("RestartMaxDelaySec", "1min"),
        ]
    if app.ready == "notify":
        # A server with workers says it from its main process, or from one that this has started.
        settings += [("NotifyAccess", "all"), ("WatchdogSec", f"{app.watchdog}s")]
    return settings


def _list_surroundings(app: ResolvedApp) -> Section:
    model = app.app
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    if app.files:
        variables["PYTHONPATH"] = f"{APPS}/{app.name}"
    if model.settings is not None:
        variables["SETTINGS_FILE"] = locate_settings(app)
    variables |= {name: _show_value(value) for name, value in model.environment.items()}
    if model.instances > 1:
        variables["INSTANCE"] = INSTANCE
    settings: Section = [("Environment", _quote(f"{name}={value}", model)) for name, value in variables.items()]
    # What a first-boot config says of one machine; systemd reads it, the app need not be able to.
    settings.append(("EnvironmentFile", f"-{MACHINE_VARIABLES}/{app.name}/environment"))
    if model.settings is not None:
        # With settings of the machine's own, both together are at the place where the image has its own.
        here = locate_settings(app)
        settings.append(("BindReadOnlyPaths", f"-{MACHINE_SETTINGS}/{app.name}/{here.rpartition('/')[2]}:{here}"))
    settings += [("LoadCredential", f"{name}:{app.name}.{name}") for name in model.secrets]
    settings += [("DynamicUser", "yes"), ("User", app.name)]
    if model.state:
        settings += [
            ("StateDirectory", app.name),
            ("StateDirectoryMode", "0700"),
            ("WorkingDirectory", f"/var/lib/{app.name}"),
        ]
    settings += [("ReadWritePaths", quote_word(path)) for path in model.writes]
    settings += [("SyslogIdentifier", app.name), ("LogExtraFields", f"APP={app.name}")]
    return settings


def _list_limits(app: App) -> Section:
    return [("MemoryMax", app.memory_max), ("TasksMax", str(app.tasks_max)), ("LimitCORE", "0")]


def _make_socket(app: ResolvedApp) -> str:
    model = app.app
    several = model.instances > 1
    unit: Section = [("Description", f"Socket of {_describe(app)}")]
    if several:
        unit.append(("PartOf", f"{app.name}.target"))
    socket: Section = [("ListenStream", text) for text in model.listen.sockets]
    if several:
        # One port, a socket for each instance, and the kernel deals connections out (socket(7), SO_REUSEPORT).
        socket.append(("ReusePort", "yes"))
    if any(text.startswith("/") for text in model.listen.sockets):
        socket.append(("SocketMode", "0666"))
    if any(not text.startswith("/") and text.rpartition(":")[0] for text in model.listen.sockets):
        socket.append(("FreeBind", "yes"))  # the address may come later than the socket
    sections = [("Unit", unit), ("Socket", socket)]
    if not several:
        sections.append(("Install", [("WantedBy", "sockets.target")]))
    return format_sections(sections)


def _make_target(app: ResolvedApp) -> str:
    units = [f"{app.name}@{number}.service" for number in range(1, app.app.instances + 1)]
    unit: Section = [("Description", f"{_describe(app)}, All Instances")]
    unit += [("Wants", " ".join(units)), ("After", " ".join(units))]
    return format_sections([("Unit", unit), ("Install", [("WantedBy", "multi-user.target")])])


def _make_timer(app: ResolvedApp) -> str:
    assert app.app.schedule is not None
    timer: Section = [("OnCalendar", app.app.schedule.replace("%", "%%")), ("Persistent", "yes")]
    unit: Section = [("Description", f"Schedule of {_describe(app)}")]
    return format_sections([("Unit", unit), ("Timer", timer), ("Install", [("WantedBy", "timers.target")])])


def _make_health(app: ResolvedApp) -> str:
    model = app.app
    services = list_services(app)
    # In the order of a boot nothing waits for it but what counts the boot as good.
    unit: Section = [
        ("Description", f"Health Check {app.name}"),
        ("After", " ".join(services)),
        ("Before", HEALTH),
    ]
    if model.ready == "http":
        command = _format_http_check(model, HEALTH_TIMEOUT)
    else:
        asked = " && ".join(f"systemctl is-active --quiet {name}" for name in services)
        command = f"/bin/sh -c 'until {asked}; do sleep 1; done'"
    service: Section = [
        ("Type", "oneshot"),
        ("RemainAfterExit", "yes"),
        ("TimeoutStartSec", f"{HEALTH_TIMEOUT + 15}s"),
        ("ExecStart", command),
    ]
    return format_sections([("Unit", unit), ("Service", service), ("Install", [("RequiredBy", HEALTH)])])


def list_services(app: ResolvedApp) -> list[str]:
    """The services that are the app: one, or one for each instance."""
    count = app.app.instances
    return [f"{app.name}@{n}.service" for n in range(1, count + 1)] if count > 1 else [f"{app.name}.service"]


def make_settings_unit() -> str:
    """The service that puts a machine's own settings of an app over those of the image, where there are any."""
    return format_sections(
        [
            (
                "Unit",
                [
                    ("Description", "Settings of %i on This Machine"),
                    ("ConditionPathExists", f"{MACHINE_VARIABLES}/%i/settings.json"),
                ],
            ),
            (
                "Service",
                [
                    ("Type", "oneshot"),
                    ("ExecStart", "/usr/bin/python3 -I -m firstboot.app_settings %i"),
                    ("ProtectSystem", "strict"),
                    ("RuntimeDirectory", f"{MACHINE_SETTINGS.removeprefix('/run/')}/%i"),
                    ("RuntimeDirectoryPreserve", "yes"),
                    ("RuntimeDirectoryMode", "0755"),
                ],
            ),
        ]
    )


def locate_settings(app: ResolvedApp) -> str:
    """Where the file with an app's settings is in the image."""
    assert app.app.settings is not None
    kind = "toml" if app.app.settings.toml is not None else "json"
    return f"{SETTINGS}/{app.name}/settings.{kind}"


def _describe(app: ResolvedApp) -> str:
    return format_one_line(app.app.description or f"Python Application {app.name}")


def _format_http_check(app: App, seconds: int) -> str:
    address = find_http_address(app)
    assert address is not None
    words = [HTTP_CHECK, address, app.health or "/", str(seconds)]
    return " ".join(quote_word(word, command=True) for word in words)


def _quote(word: str, app: App, *, command: bool = False) -> str:
    quoted = quote_word(word, command=command)
    return quoted.replace(INSTANCE, "%i") if app.instances > 1 else quoted


def _show_value(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name, value
