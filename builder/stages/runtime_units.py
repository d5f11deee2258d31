"""The units that run containers of the image by Docker and by containerd; :mod:`builder.stages.quadlet` is podman's.

A container of Docker is the engine's: it is restarted by it, and lives on while the engine is restarted. One of
containerd is run by ``ctr``, which the unit waits for.
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.oci.image import Image
from builder.stages.quadlet import quote_argument

UNITS = "/usr/lib/systemd/system"
NAMESPACE = "build-os"
_NETWORK = "/usr/bin/python3 -I -m firstboot.images network"


def make_docker_unit(name: str, image: Image, *, publish: Sequence[str], command: Sequence[str], enable: bool) -> str:
    """The text of ``NAME.service``.

    Args:
        publish: ``[ADDRESS:]PORT:PORT/PROTOCOL``.
        command: replaces the image's ``Cmd``.

    Raises:
        InputError: an argument cannot be written into a unit.
    """
    run = ["/usr/bin/docker", "run", "--detach", f"--name={name}", "--pull=never", "--restart=on-failure"]
    run += [f"--publish={port}" for port in publish]
    # By the ID, so that nothing else can run under its name.
    line = _format([*run, f"sha256:{image.id}", *command])
    return f"""\
[Unit]
Description=Container {name}
Wants=docker.service
After=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=-/usr/bin/docker rm --force {name}
ExecStart={line}
ExecStop=/usr/bin/docker stop {name}
ExecStopPost=-/usr/bin/docker rm --force {name}
{_install(enable)}"""


def make_containerd_unit(
    name: str, image: Image, *, publish: Sequence[str], command: Sequence[str], enable: bool
) -> str:
    """The same for containerd: crun, seccomp, no new privileges (``ctr``'s default), and a network by CNI.

    Raises:
        InputError: an argument cannot be written into a unit.
    """
    ctr = ["/usr/bin/ctr", f"--namespace={NAMESPACE}"]
    run = [*ctr, "run", "--rm", "--runc-binary=/usr/bin/crun", "--runc-systemd-cgroup", "--seccomp"]
    run += [f"--cgroup=machine.slice:{NAMESPACE}:{name}", f"--with-ns=network:/run/netns/{name}"]
    run += ["--mount=type=bind,src=/run/systemd/resolve/resolv.conf,dst=/etc/resolv.conf,options=rbind:ro"]
    remove = [
        f"-{_format([*ctr, 'tasks', 'delete', '--force', name])}",
        f"-{_format([*ctr, 'containers', 'delete', name])}",
    ]
    lines = [
        "[Unit]",
        f"Description=Container {name}",
        "Requires=containerd-images.service",
        "After=containerd.service containerd-images.service network.target",
        # A network that is leased from etcd (the feature overlay-network) may not be there for a long time.
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *(f"ExecStartPre={line}" for line in remove),
        f"ExecStartPre={_NETWORK} add {' '.join([name, *publish])}",
        f"ExecStart={_format([*run, image.names[0], name, *command])}",
        *(f"ExecStopPost={line}" for line in remove),
        f"ExecStopPost=-{_NETWORK} remove {name}",
        # ctr hands the signal on; what is left after it is removed above.
        "KillMode=mixed",
        # As long as podman and Docker wait for a process that ignores the signal.
        "TimeoutStopSec=10",
        "Restart=on-failure",
        "RestartSec=2",
        "",
    ]
    return "\n".join(lines) + _install(enable)


def _format(arguments: Sequence[str]) -> str:
    return " ".join(map(quote_argument, arguments))


def _install(enable: bool) -> str:
    return "\n[Install]\nWantedBy=multi-user.target\n" if enable else ""
