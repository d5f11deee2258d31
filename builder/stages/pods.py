"""Containers that are a unit of systemd and nothing else: no engine, no shim, no copy of the image.

The image's files lie in the verified root, and ``RootDirectory=`` makes them the root of the service (systemd.exec(5)).
What other runtimes give a container is said in the unit: namespaces, capabilities, a filter of system calls. The
network is a namespace that a second unit, without a process, has set up by the plugins of CNI.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.core.errors import InputError
from builder.oci.accounts import Account, find_account
from builder.oci.container_store import CLOSED
from builder.oci.image import Image
from builder.oci.runtime_config import CAPABILITIES, make_environment
from builder.stages.quadlet import quote_argument
from builder.stages.unit_sections import format_sections
from builder.tree.node import Kind, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

ROOTS = f"{CLOSED}/roots"
# What systemd mounts over, which nobody can make in a root that is only read.
_DIRECTORIES = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
NETWORK = "/usr/bin/python3 -I -m firstboot.images network"
_SIGNAL = re.compile(r"SIG[A-Z0-9]+([+-][0-9]+)?|[0-9]+")
# The last that PrivateUsers=identity maps.
MAX_ID = 65535
# Users whom every system knows (nss-systemd(8)); of the others systemd has to be told.
_KNOWN = (0, 65534)
# In the order of the manual. All but what a program in a container may expect: to be root of its own namespace.
SANDBOX: Mapping[str, str] = {
    "CapabilityBoundingSet": " ".join(CAPABILITIES),
    "NoNewPrivileges": "yes",
    "PrivateUsers": "identity",
    "PrivatePIDs": "yes",
    "PrivateIPC": "yes",
    "PrivateDevices": "yes",
    "DevicePolicy": "closed",
    "PrivateTmp": "disconnected",
    "ProtectClock": "yes",
    "ProtectControlGroups": "strict",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "KeyringMode": "private",
    "RemoveIPC": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0022",
}


def install_pod(
    tree: Tree, image: Image, *, name: str, publish: Sequence[str], command: Sequence[str]
) -> dict[str, str]:
    """Put an image's files into the tree as the root of a service, and return its units: name -> text.

    Args:
        publish: ``[ADDRESS:]PORT:PORT/PROTOCOL``.
        command: replaces the image's ``Cmd``.

    Raises:
        InputError: the image says nothing that could be run, or by a user that it cannot be run as.
        TreeError: it lacks what is to be run, or something else is in the way.
    """
    origin = f"container:{name}"
    run: Mapping[str, Any] = json.loads(image.config).get("config") or {}
    directory = posixpath.normpath(f"/{(run.get('WorkingDir') or '').lstrip('/')}")
    root = _complete(image.tree, name, directory)
    words = [*(run.get("Entrypoint") or ()), *(command or run.get("Cmd") or ())]
    if not words:
        raise InputError(f"container {name}: its image says nothing that could be run", hint="set 'command'")
    account = find_account(root, run.get("User") or "")
    _check_ids(name, account)
    environment = make_environment(run.get("Env") or (), account)
    words[0] = _find_program(root, words[0], directory, environment, name)
    tree.put(CLOSED, make_directory(0o700, origin=origin))
    for path, node in root.walk():
        tree.put(f"{ROOTS}/{name}{path if path != '/' else ''}", node.copy_with(origin=origin))
    _install_accounts(tree, name, account.uid, account.gid)
    user = [("User", str(account.uid)), ("Group", str(account.gid))]
    if account.groups:
        user.append(("SupplementaryGroups", " ".join(map(str, account.groups))))
    network = make_network_unit_name(name)
    service = [
        ("Type", "exec"),
        ("ExecStart", " ".join(map(quote_argument, words))),
        *(("Environment", quote_argument(entry).replace("$$", "$")) for entry in environment),
        ("WorkingDirectory", quote_argument(directory).replace("$$", "$")),
        *user,
        ("Restart", "on-failure"),
        ("RestartSec", "1"),
        *_make_stop(run),
        ("RootDirectory", f"{ROOTS}/{name}"),
        ("MountAPIVFS", "yes"),
        ("ProtectSystem", "strict"),
        ("StateDirectory", name),
        ("BindReadOnlyPaths", "-/run/systemd/resolve/resolv.conf:/etc/resolv.conf"),
        ("NetworkNamespacePath", f"/run/netns/{name}"),
        *SANDBOX.items(),
    ]
    unit = [("Description", f"Container {name}"), ("BindsTo", network), ("After", f"{network} network.target")]
    prepared = [
        ("Description", f"Network of the Container {name}"),
        ("StopWhenUnneeded", "yes"),
        ("Wants", "metadata-guard.service"),
        ("After", "metadata-guard.service network.target"),
        # A network that is leased from etcd (the feature overlay-network) may not be there for a long time.
        ("StartLimitIntervalSec", "0"),
    ]
    made = [
        ("Type", "oneshot"),
        ("RemainAfterExit", "yes"),
        # Engines change the same rules when they like. The container waits, and does not fail with the first try.
        ("Restart", "on-failure"),
        ("RestartMode", "direct"),
        ("RestartSec", "2"),
        ("ExecStartPre", "/usr/bin/dash /usr/lib/build-os/require-metadata-guard"),
        ("ExecStart", f"{NETWORK} add {' '.join([name, *publish])}"),
        ("ExecStop", f"{NETWORK} remove {name}"),
    ]
    install = [("Install", [("WantedBy", "multi-user.target")])]
    return {
        f"{name}.service": format_sections([("Unit", unit), ("Service", service), *install]),
        network: format_sections([("Unit", prepared), ("Service", made)]),
    }


def make_network_unit_name(name: str) -> str:
    """The unit that sets up the network of a container of this name."""
    return f"container-network-{name}.service"


def _make_stop(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """By the image's signal, and for 10 s. The first process of a namespace ignores signals that it does not handle
    (pid_namespaces(7)), and systemd would wait for 90.

    Raises:
        InputError: the image says something that is no signal.
    """
    said = str(run.get("StopSignal") or "SIGTERM")
    signal = said if said.isdigit() else f"SIG{said.removeprefix('SIG')}"
    if not _SIGNAL.fullmatch(signal):
        raise InputError(f"the image says that it stops by {said!r}, which is no signal")
    return [("KillSignal", signal), ("TimeoutStopSec", "10")]


def _check_ids(name: str, account: Account) -> None:
    """systemd fails with 217/USER, and says nothing of the number.

    Raises:
        InputError: the user or a group is none of those that the container's namespace has.
    """
    for number in (account.uid, account.gid, *account.groups):
        if number > MAX_ID:
            raise InputError(
                f"container {name}: its user has the number {number}, and those of a pod end at {MAX_ID}",
                hint="give it a user and groups that are not above, or another runtime",
            )


def _complete(image: Tree, name: str, directory: str) -> Tree:
    """The image's files with what systemd mounts over, and where the program starts: other runtimes make that."""
    root = image.copy()
    if "/" not in root:
        root.put("/", make_directory(origin=""))
    for path in (*_DIRECTORIES, f"/var/lib/{name}", directory):
        if root.get(path, follow=True) is None:
            root.put(path, make_directory(0o1777 if path.endswith("/tmp") else 0o755, origin=""))
    if "/etc/hosts" not in root:
        root.put("/etc/hosts", make_file(_HOSTS, origin=""))
    # A link would lead to where the machine's own resolver is, which is not in the container.
    resolver = root.get("/etc/resolv.conf")
    if resolver is None or resolver.kind is not Kind.FILE:
        if resolver is not None:
            root.remove("/etc/resolv.conf")
        root.put("/etc/resolv.conf", make_file("", origin=""))
    return root


def _find_program(root: Tree, word: str, directory: str, environment: Sequence[str], name: str) -> str:
    """The path of what is to be run, as execvp(3) would find it."""
    path = next((entry.removeprefix("PATH=") for entry in environment if entry.startswith("PATH=")), "")
    places = [f"{place}/{word}" for place in path.split(":") if place.startswith("/")]
    if "/" in word:
        places = [word if word.startswith("/") else f"{directory.rstrip('/')}/{word.removeprefix('./')}"]
    for place in places:
        node = root.get(place, follow=True)
        if node is not None and node.is_executable:
            return place
    raise InputError(f"container {name}: its image has no program '{word}'", hint="say 'entrypoint', or 'command'")


def _install_accounts(tree: Tree, name: str, uid: int, gid: int) -> None:
    """Records of the image's user for systemd, which runs nothing as a user that nobody knows (systemd-userdbd(8))."""
    origin = f"container:{name}"
    records = [("user", uid, {"userName": f"container-{uid}", "uid": uid, "gid": gid, "disposition": "container"})]
    records.append(("group", gid, {"groupName": f"container-{gid}", "gid": gid, "disposition": "container"}))
    for kind, number, record in records:
        if number in _KNOWN:
            continue
        path = f"/usr/lib/userdb/container-{number}.{kind}"
        tree.put(path, make_file(json.dumps(record) + "\n", 0o644, origin=origin))
        tree.put(f"/usr/lib/userdb/{number}.{kind}", make_symlink(path.rpartition("/")[2], origin=origin))
