"""The config.json of a bundle: how a runtime starts a container of an image (runtime-spec 1.0).

What the image's configuration says is converted as image-spec's conversion.md tells; the rest is what podman gives a
container that nobody gave options, where a bundle can say it, and what ``umoci unpack`` and ``runc spec`` write else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.core.errors import InputError
from builder.oci.accounts import Account, find_account
from builder.oci.fields import Json
from builder.oci.seccomp import make_seccomp
from builder.tree.tree import Tree

VERSION = "1.0.2"
ROOT = "rootfs"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# containers.conf(5), default_capabilities. Not inheritable, and for others than root only a bound (CVE-2022-24769).
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# getrlimit(2): the kernel's own hard limit, which every process can be given.
OPEN_FILES = {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}
ANNOTATION = "org.opencontainers.image"


@dataclass(frozen=True)
class Owner:
    """The ordinary user who runs a bundle without root, and who root inside of it is."""

    uid: int
    gid: int


def make_runtime_config(image: Json, root: Tree, *, name: str, owner: Owner | None = None) -> dict[str, object]:
    """The config.json for an image.

    Args:
        image: its configuration, checked.
        root: its files, for the names of users.
        name: the container's host name.
        owner: make it for this user and no other, in a user namespace.

    Raises:
        InputError: the image says nothing that could be run, or a user that it does not have.
    """
    run: Mapping[str, Any] = image.get("config") or {}  # type: ignore[assignment]  # checked: an object of these
    arguments = [*(run.get("Entrypoint") or ()), *(run.get("Cmd") or ())]
    if not arguments:
        raise InputError("the image says nothing that could be run", hint="set entrypoint, or command")
    account = find_account(root, run.get("User") or "")
    config: dict[str, object] = {
        "ociVersion": VERSION,
        "process": {
            "terminal": False,
            "user": _make_user(account, owner),
            "args": arguments,
            "env": make_environment(run.get("Env") or (), account),
            "cwd": run.get("WorkingDir") or "/",
            "capabilities": _make_capabilities(account),
            "rlimits": [OPEN_FILES],
            "noNewPrivileges": True,
        },
        "root": {"path": ROOT, "readonly": False},
        "hostname": name,
        "mounts": _make_mounts(owner),
        "linux": _make_linux(str(image["architecture"]), owner),
    }
    if annotations := _make_annotations(image, run):
        config["annotations"] = annotations
    return config


def _make_user(account: Account, owner: Owner | None) -> dict[str, object]:
    # One user is mapped, as root, so there is nobody else to be and no further group; setgroups(2) is denied as well.
    if owner is not None:
        return {"uid": 0, "gid": 0}
    user: dict[str, object] = {"uid": account.uid, "gid": account.gid}
    if account.groups:
        user["additionalGids"] = list(account.groups)
    return user


def make_environment(given: Sequence[str], account: Account) -> list[str]:
    """The image's variables, with a ``PATH`` and a ``HOME`` where it says none."""
    names = {entry.partition("=")[0] for entry in given}
    first = [PATH] if "PATH" not in names else []
    last = [f"HOME={account.home}"] if "HOME" not in names else []
    return [*first, *given, *last]


def _make_capabilities(account: Account) -> dict[str, list[str]]:
    kinds = ("bounding", "effective", "permitted") if account.uid == 0 else ("bounding",)
    return {kind: list(CAPABILITIES) for kind in kinds}


def _make_mounts(owner: Owner | None) -> list[dict[str, object]]:
    closed = ["nosuid", "noexec", "nodev"]
    # Group 5 is tty; it is not mapped for an ordinary user, and so is not the host's cgroup tree.
    terminals = [] if owner is not None else ["gid=5"]

    def mount(target: str, kind: str, options: list[str], source: str = "") -> dict[str, object]:
        return {"destination": target, "type": kind, "source": source or kind, "options": options}

    mounts = [
        mount("/proc", "proc", closed),
        mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *terminals]),
        mount("/dev/shm", "tmpfs", [*closed, "mode=1777", "size=65536k"], "shm"),
        mount("/dev/mqueue", "mqueue", closed),
        mount("/sys", "sysfs", [*closed, "ro"]),
    ]
    if owner is None:
        mounts.append(mount("/sys/fs/cgroup", "cgroup", [*closed, "relatime", "ro"]))
    return mounts


def _make_linux(architecture: str, owner: Owner | None) -> dict[str, object]:
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, object] = {
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READ_ONLY),
        "seccomp": make_seccomp(architecture),
    }
    if owner is None:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    else:
        kinds.append("user")
        linux["uidMappings"] = [{"containerID": 0, "hostID": owner.uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": owner.gid, "size": 1}]
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    return linux


def _make_annotations(image: Json, run: Mapping[str, Any]) -> dict[str, str]:
    """Labels and the fields that conversion.md names; what is empty is left out."""
    fields = {
        "os": image.get("os"),
        "architecture": image.get("architecture"),
        "variant": image.get("variant"),
        "author": image.get("author"),
        "created": image.get("created"),
        "stopSignal": run.get("StopSignal"),
        "exposedPorts": ",".join(sorted(run.get("ExposedPorts") or ())),
    }
    own = {f"{ANNOTATION}.{key}": str(value) for key, value in fields.items() if value}
    return {**own, **(run.get("Labels") or {})}
