"""build-os's own variant: ``variant: buildos``, ``version: 1.0.0``.

Butane's shape, strict (an unknown setting is an error), with sugar for what every machine needs::

    variant: buildos
    version: 1.0.0
    hostname: demo
    timezone: Europe/Berlin
    network:
      interfaces:
        - {name: lan, match: {name: "en*"}, dhcp: true}
    passwd:
      users:
        - {name: core, linger: true, ssh_authorized_keys: [ssh-ed25519 AAAA...]}

All of it becomes plain Ignition: files, links, units and users (:mod:`.sugar_output`), which a config that says the
same itself overrides. Only ``variables`` and ``secrets`` (:mod:`.variables`) come before everything else.
"""

from __future__ import annotations

import re

from firstboot.config.butane import Surroundings, ignore_setting, list_extra_settings, make_sugar
from firstboot.config.butane.encoding import Encoder
from firstboot.config.butane.variants import Edition
from firstboot.config.fields import Field
from firstboot.config.models import Unit
from firstboot.config.shape import Dialect, Sugar, SugarUse

SPEC = (3, 6)
EDITIONS = {"1.0.0": Edition(SPEC, sugar=True)}
FILLED_IN = ("variables", "secrets")

HOSTNAME_MAX = 64  # HOST_NAME_MAX of Linux, limits.h
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TIMEZONE = r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*"
ZONEINFO = "/usr/share/zoneinfo"
_HERE = "firstboot.config.buildos"

# What the sugar takes, by the model it stands in, and what it means. Models are named, not imported: each is
# imported when a config uses it.
SETTINGS: dict[str, dict[str, tuple[Field, str]]] = {
    "Config": {
        "apps": (
            Field("apps", "apps", "models", f"{_HERE}.services:App", SPEC),
            "what apps of the image are told on this machine",
        ),
        "containers": (
            Field("containers", "containers", "models", f"{_HERE}.services:Container", SPEC),
            "run as services by Podman",
        ),
        "health_checks": (
            Field("health_checks", "health_checks", "models", f"{_HERE}.services:HealthCheck", SPEC),
            "what must succeed before a boot counts as good",
        ),
        "include": (
            Field("include", "include", "scalars", str, SPEC),
            "fragments beside the config, merged under it, later ones winning",
        ),
        "kernel_modules": (
            Field("kernel_modules", "kernel_modules", "scalars", str, SPEC),
            "loaded in every boot",
        ),
        "keymap": (Field("keymap", "keymap", "scalar", str, SPEC), "of the console, like `de`"),
        "locale": (Field("locale", "locale", "scalar", str, SPEC), "like `C.UTF-8`; the image must have it"),
        "network": (
            Field("network", "network", "model", f"{_HERE}.network_models:Network", SPEC),
            "interfaces, as systemd-networkd sets them up",
        ),
        "ntp_servers": (Field("ntp_servers", "ntp_servers", "scalars", str, SPEC), "where the time comes from"),
        "python_apps": (
            Field("python_apps", "python_apps", "models", f"{_HERE}.services:PythonApp", SPEC),
            "programs in Python, run as services in a sandbox",
        ),
        "recovery_key": (
            Field("recovery_key", "recovery_key", "model", f"{_HERE}.models:RecoveryKey", SPEC),
            "who is handed the recovery key of an encrypted state partition",
        ),
        "secrets": (
            Field("secrets", "secrets", "models", f"{_HERE}.models:Secret", SPEC),
            "values that are named here and written elsewhere",
        ),
        "swap_file": (
            Field("swap_file", "swap_file", "model", f"{_HERE}.models:SwapFile", SPEC),
            "a file to swap to",
        ),
        "sysctl": (Field("sysctl", "sysctl", "map", str, SPEC), "settings of the kernel, like `vm.swappiness: 10`"),
        "updates": (
            Field("updates", "updates", "model", f"{_HERE}.update_models:Updates", SPEC),
            "what this machine does about new versions of its image, over what the image says",
        ),
    },
    "Storage": {
        "archives": (
            Field("archives", "archives", "models", f"{_HERE}.models:Archive", SPEC),
            "unpacked into a directory",
        ),
    },
    "Subvolume": {
        "with_mount_unit": (
            Field("with_mount_unit", "with_mount_unit", "scalar", bool, SPEC),
            "mount it in every boot",
        ),
    },
    "User": {
        "linger": (Field("linger", "linger", "scalar", bool, SPEC), "start the user's own units without a login"),
        "sudo": (Field("sudo", "sudo", "scalar", bool, SPEC), "may become root with sudo, without a password"),
        "units": (Field("units", "units", "models", Unit, SPEC), "of the user's own systemd, below the home"),
    },
    "Node": {
        "parents": (
            Field("parents", "parents", "model", f"{_HERE}.models:Parents", SPEC),
            "who owns the directories above it",
        ),
    },
}


def make_dialect(edition: Edition, surroundings: Surroundings) -> Dialect:
    """How a document of this variant is read."""
    sugar = make_sugar(edition.spec, surroundings)
    sugar["Config"] = {
        **sugar["Config"],
        "hostname": make_hostname_sugar(surroundings.encode),
        "timezone": add_timezone,
        "variables": ignore_setting,
    }
    extra = list_extra_settings(edition)
    # Of the experimental sugar this has always been a part.
    extra["Systemd"] = {"quadlets": extra["Systemd"]["quadlets"]._replace(since=edition.spec)}
    for model, settings in SETTINGS.items():
        extra[model] = {**extra.get(model, {}), **{name: field for name, (field, _) in settings.items()}}
    return Dialect(edition.spec, "name", own=True, strict=True, sugar=sugar, extra=extra)


def make_hostname_sugar(encode: Encoder) -> Sugar:
    """``hostname: demo``: ``/etc/hostname`` (hostname(5))."""

    def sugar(use: SugarUse) -> None:
        value = use.value
        if not isinstance(value, str) or not is_hostname(value):
            hint = "letters, digits and '-', in labels separated by dots, 64 characters at most"
            use.refuse("this is not a host name", hint)
            return
        encoded = encode(f"{value}\n".encode(), None)
        contents = {"source": encoded.source, "compression": encoded.compression}
        node = {"path": "/etc/hostname", "mode": 0o644, "overwrite": True, "contents": contents}
        use.walk.additions.append(("files", node, use.path))

    return sugar


def add_timezone(use: SugarUse) -> None:
    """``timezone: Europe/Berlin``: the link ``/etc/localtime`` (localtime(5))."""
    value = use.value
    if not isinstance(value, str) or not re.fullmatch(_TIMEZONE, value):
        use.refuse("this is not a time zone", "write one like Europe/Berlin or UTC")
        return
    node = {"path": "/etc/localtime", "target": f"..{ZONEINFO}/{value}", "overwrite": True}
    use.walk.additions.append(("links", node, use.path))


def is_hostname(text: str) -> bool:
    """RFC 1123, and short enough for Linux."""
    return len(text) <= HOSTNAME_MAX and all(re.fullmatch(_LABEL, label) for label in text.split("."))
