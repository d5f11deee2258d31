"""The unit that runs a container of the image: ``NAME.container``, of which podman makes a service.

What the user wrote passes through three readers: quadlet's (podman-systemd.unit(5)), then systemd's
specifiers and variables in the ``ExecStart=`` that it generates, then podman's arguments.
:func:`quote_argument` gets through the first two; the third sees one argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from builder.core.errors import InputError
from builder.definition.ports import parse_publish
from builder.definition.scalars import NotAccepted
from firstboot.config.unit_text import is_lost_by_podman, quote_word

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_IMAGE = re.compile(r"[A-Za-z0-9[][A-Za-z0-9._:/[\]-]*@sha256:[0-9a-f]{64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote_argument(text: str) -> str:
    """One argument of a command line, whatever is in it.

    Raises:
        InputError: no way of writing it gets through.
    """
    if "\0" in text:
        raise InputError(f"{text!r} cannot be handed to a program: it has a NUL")
    if is_lost_by_podman(text):
        raise InputError(
            f"the argument {text!r} cannot be handed to a container by its unit",
            hint="put the arguments into a script in the container",
        )
    return quote_word(text, command=True)


def make_quadlet(
    name: str,
    image: str,
    *,
    publish: Sequence[str] = (),
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    enable: bool = True,
) -> str:
    """The text of ``/usr/share/containers/systemd/NAME.container``; the service is ``NAME.service``.

    Args:
        image: ``REGISTRY/NAME@sha256:...``: by digest, so that nothing else can run under its name.
        publish: ``[ADDRESS:]PORT:PORT[/udp]``.
        command: replaces the image's ``Cmd``.
        enable: start at boot. Generated units know no presets, so it stands in the file.

    Raises:
        InputError: a value cannot be what it should.
    """
    if not _NAME.fullmatch(name) or not _IMAGE.fullmatch(image):
        raise InputError(f"no container can be named {name!r} and run {image!r}")
    container = [f"Image={image}", f"ContainerName={name}", "Pull=never", "NoNewPrivileges=true"]
    for port in publish:
        try:
            container.append(f"PublishPort={parse_publish(port)}")
        except NotAccepted as error:
            raise InputError(f"container {name}: {error}", hint=error.hint) from error
    for key, value in sorted((environment or {}).items()):
        if not _VARIABLE.fullmatch(key):
            raise InputError(f"container {name}: {key!r} is no name of an environment variable")
        container.append(f"Environment={quote_argument(f'{key}={value}')}")
    if command:
        container.append("Exec=" + " ".join(quote_argument(argument) for argument in command))
    lines = [
        "[Unit]",
        f"Description=Container {name}",
        "After=network.target",
        # Of the system run as a container, where nothing may be mounted.
        "ConditionCapability=CAP_SYS_ADMIN",
        "",
        "[Container]",
        *container,
        "",
        "[Service]",
        "Restart=on-failure",
        "",
        # Nothing is pulled, so the service need not wait until the network is online.
        "[Quadlet]",
        "DefaultDependencies=false",
    ]
    if enable:
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"
