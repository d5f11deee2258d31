"""``apps:`` as the user writes it: programs in Python that become services of the image."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from builder.definition.scalars import ImageName, NotAccepted, RelativePath, Variable, make_text_type

NAME_LENGTH = 31  # of a user, useradd(8); the service's user is called like the app

_name_check, _name_schema = make_text_type(
    rf"[a-z](?:[a-z0-9-]{{0,{NAME_LENGTH - 2}}}[a-z0-9])?",
    f"an app's name is lower-case letters, digits and inner '-', at most {NAME_LENGTH} of them, like shop-worker",
)
AppName = Annotated[str, _name_check, _name_schema]

_module_check, _module_schema = make_text_type(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", "a module is written as Python imports it, like package.module"
)
PythonModule = Annotated[str, _module_check, _module_schema]

_entry_check, _entry_schema = make_text_type(
    r"[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*",
    "an entry point is the name of a console script, like gunicorn, or module:function, like shop.worker:main",
)
EntryPoint = Annotated[str, _entry_check, _entry_schema]

_unit_check, _unit_schema = make_text_type(
    r"[A-Za-z0-9:_.@\\-]{1,230}", "this is the name of an app, of a container, or of a unit like postgresql.service"
)
Dependency = Annotated[str, _unit_check, _unit_schema]

_size_check, _size_schema = make_text_type(
    r"[1-9][0-9]*[KMGT]?|infinity", "memory is a whole number and a unit, like 256M, or infinity"
)
Memory = Annotated[str, _size_check, _size_schema]


def _text_of_port(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_address_check, _ = make_text_type(
    r"(?:(?:\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?[1-9][0-9]{0,4}|/run/[A-Za-z0-9._/-]+",
    "one listens on a port, an address and a port, or a path below /run, like 8080, 127.0.0.1:8080, /run/shop.sock",
)
_ADDRESS_SCHEMA = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]})
Address = Annotated[str, BeforeValidator(_text_of_port), _address_check, _ADDRESS_SCHEMA]

_setting_check, _setting_schema = make_text_type(
    r"[A-Z][A-Za-z]+=[^\x00-\x1f]*", "an exception is a setting of systemd.exec(5), like MemoryDenyWriteExecute=no"
)
SandboxSetting = Annotated[str, _setting_check, _setting_schema]

_schedule_check, _schedule_schema = make_text_type(
    r"[^\x00-\x1f]+", "a schedule is a calendar expression of systemd.time(7), like daily or *-*-* 03:00"
)
Schedule = Annotated[str, _schedule_check, _schedule_schema]

_health_check, _health_schema = make_text_type(r"/[!-~]*", "a path of HTTP begins with '/', like /health")
HealthPath = Annotated[str, _health_check, _health_schema]

_written_check, _written_schema = make_text_type(
    r"/(?:var|run)/[^\x00-\x1f]+", "an app writes below /var or /run alone: all else of a machine is read-only for it"
)
WrittenPath = Annotated[str, _written_check, _written_schema]

_secret_check, _secret_schema = make_text_type(
    r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", "a secret's name is letters, digits, '_' and '-', like database"
)
SecretName = Annotated[str, _secret_check, _secret_schema]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class AppListen(_Model):
    """Where an app listens: on sockets that systemd opens for it, or on ports that it opens itself."""

    sockets: tuple[Address, ...] = Field(
        (),
        description="Opened by systemd and handed over (sd_listen_fds(3)): from file descriptor 3 on, in this order.",
    )
    ports: tuple[Address, ...] = Field((), description="TCP ports that the app opens itself.")


def _one_format(settings: AppSettings) -> AppSettings:
    if (settings.toml is None) == (settings.json_ is None):
        raise NotAccepted(
            "settings are one file, of one format: toml or json", "like settings: {toml: {page_size: 20}}"
        )
    return settings


class AppSettings(_Model):
    """A file with settings, whose path is in `$SETTINGS_FILE`."""

    toml: dict[str, Any] | None = Field(None, description="What is in it, written as TOML.")
    json_: dict[str, Any] | None = Field(None, alias="json", description="What is in it, written as JSON.")


class AppException(_Model):
    """A setting of the sandbox that an app cannot live with, and why."""

    setting: SandboxSetting = Field(description="What applies instead, like `MemoryDenyWriteExecute=no`.")
    reason: Annotated[str, StringConstraints(min_length=3, pattern=r"^[^\x00-\x1f]+$")] = Field(description="Why.")


class App(_Model):
    """A program in Python that is a service of the image, in a sandbox."""

    name: AppName = Field(description="The app's name, and its unit's: `NAME.service`.")
    description: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$")] | None = Field(
        None, description="One line that `systemctl status` shows."
    )
    directory: RelativePath | None = Field(
        None,
        description="A directory with the app's own modules, relative to this file. It is put to `/usr/lib/apps/NAME`.",
    )
    python: ImageName | None = Field(
        None, description="The environment of `python` that it runs in. Default: Debian's own Python and its packages."
    )
    entrypoint: EntryPoint | None = Field(
        None, description="What is run: a console script, or `module:function`. This or `module`."
    )
    module: PythonModule | None = Field(None, description="What is run as `python3 -m MODULE`.")
    arguments: tuple[str, ...] = Field((), description="Arguments; `{instance}` is the instance's number.")
    environment: dict[str, Variable] = Field({}, description="Variables. A first-boot config may set others.")
    settings: Annotated[AppSettings, AfterValidator(_one_format)] | None = Field(
        None, description="A file with settings; a first-boot config may change single ones."
    )
    secrets: tuple[SecretName, ...] = Field(
        (),
        description="Secrets that the app reads in `$CREDENTIALS_DIRECTORY/SECRET`. A machine has them as the "
        "credential `NAME.SECRET`, from its platform or its first-boot config.",
    )
    listen: AppListen = Field(AppListen(), description="Where it listens.")
    ready: Literal["exec", "notify", "http"] = Field(
        "exec",
        description="When it counts as started: when it runs, when it says so (sd_notify(3)), or when it answers HTTP.",
    )
    health: HealthPath | None = Field(
        None, description="With `ready: http` the path that must be answered with a status below 400. Default: `/`."
    )
    gate: bool = Field(True, description="Whether a boot, and so an update, counts as good only when the app is well.")
    state: bool = Field(True, description="Whether it keeps data, in `/var/lib/NAME` (`$STATE_DIRECTORY`).")
    schedule: Schedule | None = Field(
        None, description="When it runs (systemd.time(7)): it is then a job that ends, with a timer `NAME.timer`."
    )
    instances: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="How many run: `NAME@1.service` and so on, together `NAME.target`."
    )
    after: tuple[Dependency, ...] = Field((), description="What starts before it, where it starts at all.")
    needs: tuple[Dependency, ...] = Field((), description="What it cannot run without; it starts before it.")
    network: bool = Field(True, description="Whether it has a network. Without one it has sockets in `/run` only.")
    privileged_ports: bool = Field(False, description="Whether it may open ports below 1024 itself.")
    memory_max: Memory = Field("512M", description="It is ended when it takes more.")
    tasks_max: Annotated[int, Field(ge=1)] = Field(256, description="How many processes and threads it may have.")
    watchdog: Annotated[int, Field(ge=1, le=3600)] = Field(
        30, description="With `ready: notify`: seconds without a sign of life after which it is started anew."
    )
    writes: tuple[WrittenPath, ...] = Field((), description="What else it may write, below `/var` or `/run`.")
    exceptions: tuple[AppException, ...] = Field((), description="What of the sandbox it cannot live with, and why.")
    enable: bool = Field(True, description="Whether it starts at boot.")
