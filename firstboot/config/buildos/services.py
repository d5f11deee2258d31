"""The settings of ``variant: buildos`` that become services: containers, programs in Python, health checks.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from collections.abc import Mapping

from firstboot.config.buildos.model import OwnModel
from firstboot.config.model import NO_NAMES
from firstboot.config.models import Int


class ContainerHealth(OwnModel):
    """How Podman finds out whether a container works.

    Attributes:
        command: run inside the container; it is well if that succeeds.
        interval: between two runs: ``30s``.
        timeout: for one run.
        retries: so many failures in a row make it unhealthy.
        start_period: failures do not count for so long.
        on_failure: ``none``, ``kill``, ``restart`` or ``stop``; ``kill`` if not given, so that systemd starts it anew.
    """

    command: tuple[str, ...] = ()
    interval: str | None = None
    timeout: str | None = None
    retries: Int | None = None
    start_period: str | None = None
    on_failure: str | None = None


class Container(OwnModel):
    """A container that Podman runs as NAME.service (podman-systemd.unit(5)).

    Attributes:
        name: of the service.
        image: with its registry and tag or digest.
        command: arguments instead of the image's own command.
        environment: variables.
        environment_files: files on the machine with variables.
        ports: published ones: ``8080:80``, ``127.0.0.1:8080:80/tcp``.
        volumes: ``/var/lib/app:/data:Z``, or ``NAME:/data``.
        networks: what it is connected to: ``host``, ``none``, or a network of Podman's.
        user: who the process in it is.
        read_only: its root cannot be written.
        capabilities: what it may do of what root may, besides what Podman lets it.
        drop_capabilities: what it may not do; ``all`` is everything.
        credentials: secrets that it finds in ``/run/secrets/NAME``.
        labels: of the container.
        pull: ``always``, ``missing``, ``never`` or ``newer``; ``missing`` if not given.
        health: how to find out whether it works.
        restart: ``always``, ``on-failure``, ``no``, ...; ``always`` if not given.
        after: units to wait for.
        requires: units it cannot be without.
        memory_max: it is ended when it takes more: ``512M``.
        enabled: start it in every boot; yes if not given.
    """

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = NO_NAMES
    environment_files: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    user: str | None = None
    read_only: bool | None = None
    capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    labels: Mapping[str, str] = NO_NAMES
    pull: str | None = None
    health: ContainerHealth = ContainerHealth()
    restart: str | None = None
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    memory_max: str | None = None
    enabled: bool | None = None


class PythonApp(OwnModel):
    """A program in Python, run as NAME.service in a sandbox (systemd.exec(5)).

    Attributes:
        name: of the service.
        venv: its virtual environment on the machine; without one it runs with the image's Python.
        wheel: a wheel on the machine that it is run from.
        wheel_local: a wheel beside the config, which is put on the machine.
        module: what ``python -m`` takes.
        entry_point: a function, ``package.module:function``, whose result is the exit status.
        script: a file on the machine.
        arguments: after that.
        environment: variables.
        credentials: secrets that it finds in ``$CREDENTIALS_DIRECTORY/NAME``.
        user: whom it runs as; a user of its own for as long as it runs, if not given.
        state: ``/var/lib/NAME`` is its own, and ``$STATE_DIRECTORY``; yes if not given.
        writes: what else it may write to.
        privileged_ports: it may listen on ports below 1024.
        network: whether it has one; yes if not given.
        restart: ``always``, ``on-failure``, ``no``, ...; ``on-failure`` if not given.
        after: units to wait for.
        requires: units it cannot be without.
        memory_max: it is ended when it takes more: ``512M``.
        enabled: start it in every boot; yes if not given.
    """

    name: str = ""
    venv: str | None = None
    wheel: str | None = None
    wheel_local: str | None = None
    module: str | None = None
    entry_point: str | None = None
    script: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = NO_NAMES
    credentials: tuple[str, ...] = ()
    user: str | None = None
    state: bool | None = None
    writes: tuple[str, ...] = ()
    privileged_ports: bool | None = None
    network: bool | None = None
    restart: str | None = None
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    memory_max: str | None = None
    enabled: bool | None = None


class App(OwnModel):
    """What an app of the image is told on this machine.

    Attributes:
        name: of the app, in the image's definition.
        environment: variables, over those of the image.
        settings: TOML, laid over the settings that the image has for it, key by key.
        secrets: the app's secrets, each with the name of one under ``secrets``.
    """

    name: str = ""
    environment: Mapping[str, str] = NO_NAMES
    settings: str | None = None
    secrets: Mapping[str, str] = NO_NAMES


class HealthCheck(OwnModel):
    """Something that must succeed before ``boot-complete.target``, and so before an update counts as good.

    Attributes:
        name: of the check, which is ``health-NAME.service``.
        unit: a unit that must be active.
        command: a program and its arguments that must succeed.
        url: ``http://`` or ``https://``; must be answered with a status below 400.
        port: a TCP port of this machine that must be open.
        timeout: seconds until it has failed; it is tried again until then. 60 if not given.
        after: units to wait for.
    """

    name: str = ""
    unit: str | None = None
    command: tuple[str, ...] = ()
    url: str | None = None
    port: Int | None = None
    timeout: Int | None = None
    after: tuple[str, ...] = ()
