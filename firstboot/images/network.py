"""The network of a container that containerd or systemd runs: a namespace of its own, set up by the plugins of CNI.

``ctr`` can use CNI and cannot publish ports. This runs the network of the image in /etc/cni/net.d as the CNI
specification says (SPEC.md 1.0, "Section 2: Execution Protocol"), with ``portMappings`` for plugins that take them.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIGURATIONS = Path("/etc/cni/net.d")
# Of the overlays overlay-network and cni-bridge. Others are of Kubernetes, whose plugins know pods alone, or of podman.
OWN = ("05-overlay.conflist", "50-build-os.conflist")
PLUGINS = Path("/usr/lib/cni")
KEPT = Path("/run/build-os/networks")
"""What each namespace was connected to, and the lock of all of them."""


def add_network(name: str, published: Sequence[str]) -> None:
    """Make the namespace ``/run/netns/NAME`` and connect it.

    Args:
        published: ``[ADDRESS:]PORT:PORT/PROTOCOL``, the machine's first.

    Raises:
        OSError, ValueError: there is no network, or what describes it cannot be read.
        subprocess.CalledProcessError: a plugin or ip(8) failed.
    """
    with _one_at_a_time():
        _add_network(name, published)


def _add_network(name: str, published: Sequence[str]) -> None:
    network = read_network()
    # A lease on the disk may be of a boot that ended by a power cut.
    _remove_network(name, network)
    ports = [parse_port(port) for port in published]
    (KEPT / f"{name}.json").write_text(json.dumps({"network": network, "ports": ports}), encoding="utf-8")
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-netns", name, "link", "set", "lo", "up"], check=True)
    # It is the container's alone, so whoever it runs may listen on any port of it, as with podman and Docker.
    write = ["ip", "netns", "exec", name, "tee", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]
    subprocess.run(write, input=b"0\n", stdout=subprocess.DEVNULL, check=True)
    result: Any = None
    for plugin in network["plugins"]:
        result = _call("ADD", name, make_plugin_config(network, plugin, ports, result)) or result


def remove_network(name: str) -> None:
    """Disconnect the namespace and delete it; what is not there is no problem."""
    with _one_at_a_time():
        _remove_network(name, None)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Plugins look whether a chain of rules is there before they make it, and fail if another made it meanwhile."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_network(name: str, otherwise: dict[str, Any] | None) -> None:
    """``otherwise`` is the network that it is taken out of if nothing says to which it was connected."""
    kept = KEPT / f"{name}.json"
    data = json.loads(kept.read_bytes()) if kept.exists() else {"network": otherwise, "ports": []}
    if data["network"] is not None:
        for plugin in reversed(data["network"]["plugins"]):
            config = make_plugin_config(data["network"], plugin, data["ports"], None)
            try:
                _call("DEL", name, config)
            except subprocess.CalledProcessError:
                continue  # a plugin says on its own what it could not undo; the others still have to
        kept.unlink(missing_ok=True)
    if Path("/run/netns", name).exists():
        subprocess.run(["ip", "netns", "delete", name], check=True)


def read_network(directory: Path = CONFIGURATIONS) -> dict[str, Any]:
    """The image's own network, or the first of the directory by the names of the files.

    Raises:
        OSError, ValueError: there is none, or it cannot be read.
    """
    for path in sorted(directory.glob("*.conf*"), key=lambda path: (path.name not in OWN, path.name)):
        data = dict(json.loads(path.read_bytes()))
        return data if "plugins" in data else {**data, "plugins": [data]}
    raise FileNotFoundError(f"{directory} has no network: a container's ports need one (*.conflist)")


def parse_port(text: str) -> dict[str, Any]:
    """A port as CNI's ``portMappings`` has it."""
    ports, _, protocol = text.partition("/")
    rest, _, inside = ports.rpartition(":")
    address, _, host = rest.rpartition(":")
    mapping = {"hostPort": int(host), "containerPort": int(inside), "protocol": protocol or "tcp"}
    return mapping | ({"hostIP": address.strip("[]")} if address else {})


def make_plugin_config(
    network: dict[str, Any], plugin: dict[str, Any], ports: list[dict[str, Any]], result: Any
) -> dict[str, Any]:
    """What a plugin of the chain reads from its standard input."""
    config = {**plugin, "name": network["name"], "cniVersion": network["cniVersion"]}
    if config.pop("capabilities", {}).get("portMappings"):
        config["runtimeConfig"] = {"portMappings": ports}
    return config if result is None else config | {"prevResult": result}


def _call(command: str, name: str, config: dict[str, Any]) -> Any:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
    }
    done = subprocess.run(
        [str(PLUGINS / config["type"])],
        input=json.dumps(config).encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace"))
        done.check_returncode()
    return json.loads(done.stdout) if done.stdout.strip() else None
