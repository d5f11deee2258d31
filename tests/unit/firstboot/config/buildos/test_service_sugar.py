"""Containers, programs in Python and health checks: the services they become."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
QUADLET = "/etc/containers/systemd/web.container"
WHEEL = "app-1.0-py3-none-any.whl"


def wheel(purelib: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("app/__init__.py", "")
        archive.writestr("app-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: {purelib}\n")
    return data.getvalue()


def test_a_container_becomes_a_quadlet(config: Config) -> None:
    found = config(
        "secrets: [{name: token, env: T}]\n"
        "containers:\n"
        "  - name: web\n"
        "    image: docker.io/library/nginx:1.27\n"
        '    command: [run, "a b", $HOME, "50%"]\n'
        "    environment: {PORT: 80, ON: true, TEXT: 'it''s \"so\"', EMPTY: }\n"
        "    ports: ['8080:80', '127.0.0.1:53:53/udp']\n"
        "    volumes: ['/var/lib/web:/data:ro', 'cache:/cache']\n"
        "    networks: [host]\n"
        "    read_only: true\n"
        "    drop_capabilities: [all]\n"
        "    credentials: [token]\n"
        "    health: {command: [curl, -f, http://localhost], interval: 30s, retries: 3}\n"
        "    after: [data.service]\n"
        "    memory_max: 512M\n",
        environment={"T": "x"},
    )
    assert found.texts[QUADLET].splitlines() == [
        "[Unit]",
        "Description=Container web",
        "After=data.service",
        "",
        "[Container]",
        "ContainerName=web",
        "Image=docker.io/library/nginx:1.27",
        "Pull=missing",
        'Exec=run "a b" "$$HOME" 50%%',
        "Environment=PORT=80",
        "Environment=ON=true",
        'Environment="TEXT=it\'s \\"so\\""',
        "Environment=EMPTY=",
        "PublishPort=8080:80",
        "PublishPort=127.0.0.1:53:53/udp",
        "Volume=/var/lib/web:/data:ro",
        "Volume=cache:/cache",
        "Volume=%d/token:/run/secrets/token:ro",
        "Network=host",
        "ReadOnly=true",
        "DropCapability=all",
        'HealthCmd=["curl", "-f", "http://localhost"]',
        "HealthInterval=30s",
        "HealthRetries=3",
        "HealthOnFailure=kill",
        "",
        "[Service]",
        "Restart=always",
        "TimeoutStartSec=15min",
        "MemoryMax=512M",
        "LoadCredential=token:/etc/credstore/token",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


def test_a_health_command_of_one_word_needs_no_shell(config: Config) -> None:
    text = config("containers: [{name: web, image: a, health: {command: [/check]}}]\n").texts[QUADLET]
    assert "HealthCmd=CMD /check\n" in text


def test_a_container_that_is_not_enabled_is_started_by_nobody(config: Config) -> None:
    assert "[Install]" not in config("containers: [{name: web, image: a, enabled: false}]\n").texts[QUADLET]


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ("name: a/b, image: x", "name: 'a/b' cannot be the name of a service"),
        ("image: x", "name: a name is required"),
        ("name: a", "image: an image is required"),
        ("name: a, image: 'x y'", "image: 'x y' is not the name of an image"),
        ("name: a, image: x, ports: [http]", "ports.0: 'http' is not a port to publish: 8080:80"),
        ("name: a, image: x, volumes: [data]", "volumes.0: 'data' is not a volume: /var/lib/app:/data"),
        ("name: a, image: x, environment: {a b: 1}", "environment.a b: 'a b' cannot be the name of a variable"),
        ("name: a, image: x, environment: {A: [1]}", "environment.A: expected text, found a list"),
        ("name: a, image: x, restart: sometimes", None),
        ("name: a, image: x, pull: sometimes", "pull: 'sometimes' is not one of always, missing, never, newer"),
        ("name: a, image: x, memory_max: much", "memory_max: 'much' is not a size"),
        ("name: a, image: x, after: [b]", "after.0: 'b' is not the name of a unit"),
        ("name: a, image: x, credentials: [b]", "credentials.0: there is no secret 'b'"),
        ("name: a, image: x, health: {interval: 3s}", "health: a command is required"),
        ("name: a, image: x, health: {command: [a], interval: 3}", "health.interval: expected text, found a number"),
        ("name: a, image: x, health: {command: [a], interval: soon}", "health.interval: 'soon' is not a time"),
        ("name: a, image: x, environment_files: [x]", "environment_files.0: the path 'x' is not absolute"),
        ("name: a, image: x, command: [run, '', more]", "command.1: '' cannot be handed to a container by its unit"),
        ("name: a, image: x, command: [run, ;]", "command.1: ';' cannot be handed to a container by its unit"),
        ("name: a, imag: x", "imag: unknown setting"),
    ],
)
def test_a_container_that_makes_no_sense_is_refused(config: Config, container: str, message: str | None) -> None:
    said = config(f"containers:\n  - {{{container}}}\n").said
    assert said[0].startswith("4 containers.0.")
    assert message is None or said[0] == f"4 containers.0.{message}"


def test_a_python_program_runs_as_nobody_in_a_sandbox(config: Config) -> None:
    found = config(
        "python_apps:\n"
        "  - name: app\n"
        "    venv: /opt/app\n"
        "    entry_point: app.main:run\n"
        "    arguments: [--port, '80']\n"
        "    environment: {TEXT: a b}\n"
        "    writes: [/var/log/app]\n"
    )
    lines = found.settings("app.service")
    for expected in (
        'ExecStart=/opt/app/bin/python -c "import sys, app.main; sys.exit(app.main.run())" --port 80',
        'Environment="TEXT=a b"',
        "DynamicUser=yes",
        "StateDirectory=app",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "SystemCallFilter=@system-service",
        "CapabilityBoundingSet=",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "ReadWritePaths=/var/log/app",
        "Restart=on-failure",
        "WantedBy=multi-user.target",
    ):
        assert expected in lines
    assert found.units["app.service"].enabled is True


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("module: app.main", "ExecStart=/usr/bin/python3 -m app.main"),
        ("script: /opt/app.py", "ExecStart=/usr/bin/python3 /opt/app.py"),
        ("script: /opt/app.py, user: app", "User=app"),
        ("script: /opt/app.py, network: false", "PrivateNetwork=yes"),
        ("script: /opt/app.py, privileged_ports: true", "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        ("module: app, wheel: /opt/app.whl", "Environment=PYTHONPATH=/opt/app.whl"),
    ],
)
def test_programs_are_started_and_held_as_they_say(config: Config, app: str, line: str) -> None:
    assert line in config(f"python_apps: [{{name: a, {app}}}]\n").settings("a.service")


def test_a_wheel_beside_the_config_is_put_on_the_machine(config: Config, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(wheel("true"))
    found = config(f"python_apps: [{{name: a, module: app, wheel_local: {WHEEL}}}]\n")
    path = f"/var/lib/python-apps/a/{WHEEL}"
    assert found.files[path].mode == 0o644
    assert f"Environment=PYTHONPATH={path}" in found.settings("a.service")


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("name: a", "4 python_apps.0: give one of module, entry_point, script"),
        ("name: a, module: x, script: /x", "4 python_apps.0: give only one of module, script"),
        ("name: a, module: x.y-z", "4 python_apps.0.module: 'x.y-z' is not the name of a module"),
        ("name: a, entry_point: x", "4 python_apps.0.entry_point: 'x' names no function"),
        ("name: a, module: x, venv: opt", "4 python_apps.0.venv: the path 'opt' is not absolute"),
        ("name: a, module: x, wheel_local: x.zip", "4 python_apps.0.wheel_local: 'x.zip' is not the name of a wheel"),
        ("name: a, module: x, wheel_local: no.whl", None),
        ("name: a, module: x, wheel_local: bad.whl", None),
        (
            "name: a, module: x, wheel_local: compiled.whl",
            "4 python_apps.0.wheel_local: 'compiled.whl' has compiled parts, which cannot be run from a wheel:"
            " install it in a venv",
        ),
    ],
)
def test_a_program_that_makes_no_sense_is_refused(
    config: Config, tmp_path: Path, app: str, message: str | None
) -> None:
    (tmp_path / "bad.whl").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "compiled.whl").write_bytes(wheel("false"))
    said = config(f"python_apps:\n  - {{{app}}}\n").said
    assert len(said) == 1
    assert message is None or said == [message]


def test_health_checks_come_before_a_boot_counts_as_good(config: Config) -> None:
    found = config(
        "health_checks:\n"
        "  - {name: app, unit: app.service, timeout: 30}\n"
        "  - {name: disk, command: [/usr/bin/test, -d, /var/lib/app]}\n"
        "  - {name: web, url: 'http://localhost:8080/%41'}\n"
        "  - {name: ssh, port: 22}\n"
    )
    for name, unit in found.units.items():
        lines = found.settings(name)
        assert "Before=boot-complete.target" in lines
        assert "RequiredBy=boot-complete.target" in lines
        assert unit.enabled is True
    app = found.settings("health-app.service")
    assert {"After=app.service", "TimeoutStartSec=30s"} < {*app}
    assert any("systemctl is-active --quiet app.service" in line for line in app)
    assert any(line.endswith(" 60 http://localhost:8080/%%41") for line in found.settings("health-web.service"))
    assert any(line.endswith("sh /usr/bin/test -d /var/lib/app") for line in found.settings("health-disk.service"))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("name: a", "4 health_checks.0: give one of unit, command, url, port"),
        ("name: a, unit: b.service, port: 3", "4 health_checks.0: give only one of unit, port"),
        ("name: a, unit: b", "4 health_checks.0.unit: 'b' is not the name of a unit"),
        ("name: a, command: [curl]", "4 health_checks.0.command.0: 'curl' is not the path of a program"),
        ("name: a, url: localhost", "4 health_checks.0.url: 'localhost' is not a URL"),
        ("name: a, port: 65536", "4 health_checks.0.port: 65536 is not between 1 and 65535"),
        ("name: a, port: 1, timeout: 0", "4 health_checks.0.timeout: between 1 second and a day"),
    ],
)
def test_a_health_check_that_makes_no_sense_is_refused(config: Config, check: str, message: str) -> None:
    assert config(f"health_checks:\n  - {{{check}}}\n").said == [message]


def test_two_services_of_one_name_are_refused(config: Config) -> None:
    found = config("containers: [{name: a, image: x}]\npython_apps: [{name: a, module: x}]\n")
    assert found.said == ["4 python_apps.0: something else in this config already makes 'a.service'"]
