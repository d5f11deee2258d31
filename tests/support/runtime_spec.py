"""A bundle under a runtime, seen from within: ``python3 runtime_spec.py RUNTIME BUNDLE`` says what each check saw.

It runs where the runtime is, and needs Python's standard library alone. The bundle is first run as it is; for what no
image asks for (hooks, limits, mounts) it is run again with that added to its ``config.json``. The sections that checks
name are those of the runtime-spec 1.0. The output is JSON: a list of ``[section, what, expected, seen]``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Config = dict[str, Any]
# Each line: what is looked at, a tab, what is seen.
LOOK = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
of() { grep "^$1:" /proc/self/status | { read -r _ rest; echo "$rest"; }; }
say pid $$
say hostname "$(hostname)"
say arguments "$*"
say variable "$CHECK"
say directory "$PWD"
say uid "$(id -u)"
say gid "$(id -g)"
say groups "$(of Groups)"
say umask "$(umask)"
say no-new-privileges "$(of NoNewPrivs)"
for set in CapEff CapPrm CapBnd CapInh CapAmb Seccomp; do say $set "$(of $set)"; done
say open-files "$(ulimit -Sn) $(ulimit -Hn)"
say core-size "$(ulimit -Sc)"
say oom "$(cat /proc/self/oom_score_adj)"
for space in pid net ipc uts mnt cgroup; do say namespace-$space "$(readlink /proc/self/ns/$space)"; done
for place in /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /bound /bound-ro /small; do
  say mount-$place "$(grep " $place " /proc/self/mounts | tail -n 1)"
done
for device in null zero full random urandom tty; do say device-$device "$(stat -c '%F %t:%T %a' /dev/$device)"; done
say device-ours "$(stat -c '%F %t:%T %a %u' /dev/ours)"
for link in fd stdin stdout stderr ptmx; do say link-$link "$(readlink /dev/$link)"; done
say write-null "$(echo x 2>&1 > /dev/null && echo done)"
say write-root "$(touch /new 2>&1 && echo done)"
say write-sys "$(touch /sys/new 2>&1 && echo done)"
say write-readonly "$(echo 1 2>&1 > /proc/sys/kernel/panic && echo done)"
say masked-file "$(cat /proc/kcore | wc -c)"
say masked-directory "$(ls -A /sys/firmware | wc -l)"
say masked-ours "$(cat /srv/index.html | wc -c)"
say write-bound "$(touch /bound/new 2>&1 && echo done)"
say write-bound-ro "$(touch /bound-ro/new 2>&1 && echo done)"
say run-small "$(busybox cp /usr/bin/busybox /small/busybox && /small/busybox true 2>&1 && echo done)"
say memory "$(cat /sys/fs/cgroup/memory.max)"
say pids "$(cat /sys/fs/cgroup/pids.max)"
say cpu "$(cat /sys/fs/cgroup/cpu.max)"
say sysctl "$(cat /proc/sys/net/core/somaxconn)"
say chmod "$(chmod 700 /small 2>&1 && echo done)"
say uid-map "$(cat /proc/self/uid_map | tr -s ' ')"
say container-hooks "$(cat /hooks/inside 2>/dev/null | tr '\n' ' ')"
"""
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Runtime:
    """The command line that runc and crun share (the runtime-spec's operations)."""

    def __init__(self, program: str, place: Path) -> None:
        self.program = program
        self.place = place
        self._count = 0

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, "--root", str(self.place / "state"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def get_state(self, name: str) -> Config:
        """The answer to ``state``; empty if it is refused."""
        done = self.call("state", name)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def look(self, bundle: Path, change: Callable[[Config], None]) -> dict[str, str]:
        """What :data:`LOOK` says in a container of the bundle, changed."""
        self._count += 1
        config = json.loads((bundle / "config.json").read_text())
        config["process"]["args"] = ["/bin/sh", "-c", LOOK, "sh", "one", "two words"]
        config["process"]["env"].append("CHECK=a value")
        change(config)
        other = self.place / f"bundle-{self._count}"
        other.mkdir()
        (other / "rootfs").symlink_to(bundle / "rootfs")
        config["root"]["path"] = str(bundle / "rootfs")
        (other / "config.json").write_text(json.dumps(config))
        done = self.call("run", "--bundle", str(other), f"look-{self._count}")
        seen = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
        return seen | {"exit": str(done.returncode), "error": done.stderr.strip()}


def wait_for(runtime: Runtime, name: str, status: str) -> str:
    """The container's status, when it is this one, or after ten seconds whatever it is then."""
    for _ in range(100):
        if runtime.get_state(name).get("status") == status:
            break
        time.sleep(0.1)
    return str(runtime.get_state(name).get("status"))


def check_life(runtime: Runtime, bundle: Path) -> list[list[str]]:
    """The bundle, unchanged, through its life (runtime.md, "Lifecycle" and "Operations")."""
    seen: list[list[str]] = []

    def note(what: str, expected: object, value: object) -> None:
        seen.append(["runtime.md", what, str(expected), str(value)])

    created = subprocess.run(
        [runtime.program, "--root", str(runtime.place / "state"), "create", "--bundle", str(bundle), "life"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    note("create succeeds", 0, created.returncode)
    state = runtime.get_state("life")
    note("a created container is 'created'", "created", state.get("status"))
    note("its state has the id", "life", state.get("id"))
    note("its state has the bundle", bundle, state.get("bundle"))
    note("its state has a version of the specification", "1", str(state.get("ociVersion")).partition(".")[0])
    program = Path(f"/proc/{state.get('pid')}/cmdline")
    note("its program does not run before start", False, b"httpd" in program.read_bytes())
    note("an id is taken once", False, runtime.call("create", "--bundle", str(bundle), "life").returncode == 0)
    note("start succeeds", 0, runtime.call("start", "life").returncode)
    note("a started container is 'running'", "running", wait_for(runtime, "life", "running"))
    for _ in range(100):  # the runtime's own process becomes the program a moment later
        if b"httpd" in program.read_bytes():
            break
        time.sleep(0.1)
    note("its program runs after start", True, b"httpd" in program.read_bytes())
    note("what runs cannot be started", False, runtime.call("start", "life").returncode == 0)
    note("what runs cannot be deleted", False, runtime.call("delete", "life").returncode == 0)
    note("kill succeeds", 0, runtime.call("kill", "life", "KILL").returncode)
    note("a killed container is 'stopped'", "stopped", wait_for(runtime, "life", "stopped"))
    note("what is stopped cannot be killed", False, runtime.call("kill", "life", "KILL").returncode == 0)
    note("delete succeeds", 0, runtime.call("delete", "life").returncode)
    note("a deleted container has no state", {}, runtime.get_state("life"))
    note("what is not there cannot be deleted", False, runtime.call("delete", "life").returncode == 0)
    return seen


def check_plain(runtime: Runtime, bundle: Path) -> list[list[str]]:
    """What the bundle of an image says itself; only the program is another."""
    config = json.loads((bundle / "config.json").read_text())
    seen = runtime.look(bundle, lambda _: None)
    host = {space: str(Path(f"/proc/self/ns/{space}").readlink()) for space in ("pid", "net", "ipc", "uts", "mnt")}
    limit = next(each for each in config["process"]["rlimits"] if each["type"] == "RLIMIT_NOFILE")
    capabilities = (
        f"{sum(1 << CAPABILITIES.index(name) for name in config['process']['capabilities']['bounding']):016x}"
    )
    table: list[tuple[str, str, object, object]] = [
        ("config.md#process", "the program's status is the container's", "0", seen["exit"]),
        ("config.md#process", "its arguments", "one two words", seen.get("arguments")),
        ("config.md#process", "its environment", "a value", seen.get("variable")),
        ("config.md#process", "its directory", config["process"]["cwd"], seen.get("directory")),
        ("config.md#user", "its user", "0", seen.get("uid")),
        ("config.md#user", "its group", "0", seen.get("gid")),
        ("config.md#linux-process", "no new privileges", "1", seen.get("no-new-privileges")),
        ("config.md#linux-process", "capabilities: bounding", capabilities, seen.get("CapBnd")),
        ("config.md#linux-process", "capabilities: effective", capabilities, seen.get("CapEff")),
        ("config.md#linux-process", "capabilities: permitted", capabilities, seen.get("CapPrm")),
        ("config.md#linux-process", "capabilities: ambient, none", "0" * 16, seen.get("CapAmb")),
        ("config.md#posix-process", "limit of files", f"{limit['soft']} {limit['hard']}", seen.get("open-files")),
        ("config.md#hostname", "the host's name", config["hostname"], seen.get("hostname")),
        ("config-linux.md#namespaces", "it is process 1", "1", seen.get("pid")),
        *(
            ("config-linux.md#namespaces", f"{space} of its own", True, seen.get(f"namespace-{space}", there) != there)
            for space, there in host.items()
        ),
        ("config-linux.md#seccomp", "a filter of system calls", "2", seen.get("Seccomp")),
        ("config.md#mounts", "/proc", "proc", seen.get("mount-/proc", "").split(" ")[2:3]),
        ("config.md#mounts", "/dev", "tmpfs", seen.get("mount-/dev", "").split(" ")[2:3]),
        ("config.md#mounts", "/dev/pts", "devpts", seen.get("mount-/dev/pts", "").split(" ")[2:3]),
        ("config.md#mounts", "/dev/shm", "tmpfs", seen.get("mount-/dev/shm", "").split(" ")[2:3]),
        ("config.md#mounts", "/dev/mqueue", "mqueue", seen.get("mount-/dev/mqueue", "").split(" ")[2:3]),
        ("config.md#mounts", "/sys cannot be written", False, seen.get("write-sys") == "done"),
        *(
            ("config-linux.md#default-devices", f"/dev/{name}", kind, seen.get(f"device-{name}"))
            for name, kind in DEVICES.items()
        ),
        ("config-linux.md#default-devices", "/dev/ptmx", "pts/ptmx", seen.get("link-ptmx", "").removeprefix("/dev/")),
        ("runtime-linux.md#dev-symbolic-links", "/dev/fd", "/proc/self/fd", seen.get("link-fd")),
        ("runtime-linux.md#dev-symbolic-links", "/dev/stdin", "/proc/self/fd/0", seen.get("link-stdin")),
        ("runtime-linux.md#dev-symbolic-links", "/dev/stdout", "/proc/self/fd/1", seen.get("link-stdout")),
        ("runtime-linux.md#dev-symbolic-links", "/dev/stderr", "/proc/self/fd/2", seen.get("link-stderr")),
        ("config-linux.md#devices", "/dev/null can be written", "done", seen.get("write-null")),
        ("config-linux.md#masked-paths", "a file is empty", "0", seen.get("masked-file")),
        ("config-linux.md#masked-paths", "a directory is empty", "0", seen.get("masked-directory")),
        ("config-linux.md#readonly-paths", "/proc/sys", False, seen.get("write-readonly") == "done"),
    ]
    return [[where, what, str(expected), flatten(value)] for where, what, expected, value in table]


def check_changed(runtime: Runtime, bundle: Path) -> list[list[str]]:
    """What no image asks for. Limits are looked at where control groups can limit anything."""
    limits = "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    outside = runtime.place / "outside"
    outside.mkdir()

    def change(config: Config) -> None:
        process = config["process"]
        process |= {
            "cwd": "/srv",
            "oomScoreAdj": 321,
            "user": {"uid": 0, "gid": 7, "additionalGids": [8, 9], "umask": 23},
        }
        process["rlimits"] = [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]
        for each in process["capabilities"].values():
            each[:] = ["CAP_KILL"]
        process["capabilities"] |= {"inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
        config |= {"hostname": "another", "annotations": {"org.example.check": "noted"}}
        config["root"]["readonly"] = True
        bind = ["rbind", "nosuid"]
        config["mounts"] += [
            {"destination": "/bound", "type": "bind", "source": str(outside), "options": [*bind, "rw"]},
            {"destination": "/bound-ro", "type": "bind", "source": str(outside), "options": [*bind, "ro"]},
            {
                "destination": "/small",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["noexec", "nodev", "size=4096k", "mode=1777"],
            },
        ]
        linux = config["linux"]
        linux["maskedPaths"].append("/srv/index.html")
        linux["sysctl"] = {"net.core.somaxconn": "777"}
        linux["devices"] = [{"path": "/dev/ours", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3}]
        linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            ],
        }
        if limits:
            linux["resources"] |= {
                "memory": {"limit": 64 << 20},
                "pids": {"limit": 99},
                "cpu": {"quota": 20000, "period": 50000},
            }

    for place in ("bound", "bound-ro", "small"):
        (bundle / "rootfs" / place).mkdir(exist_ok=True)
    seen = runtime.look(bundle, change)
    kill = f"{1 << CAPABILITIES.index('CAP_KILL'):016x}"
    small = seen.get("mount-/small", "")
    table: list[tuple[str, str, object, object]] = [
        ("config.md#process", "the program's status is the container's", "0", seen["exit"]),
        ("config.md#process", "another directory", "/srv", seen.get("directory")),
        ("config.md#user", "another group", "7", seen.get("gid")),
        ("config.md#user", "further groups", "8 9", seen.get("groups")),
        ("config.md#user", "umask", "0027", seen.get("umask")),
        ("config.md#posix-process", "lower limits of files", "100 200", seen.get("open-files")),
        ("config.md#posix-process", "no core files", "0", seen.get("core-size")),
        ("config.md#linux-process", "oom_score_adj", "321", seen.get("oom")),
        ("config.md#linux-process", "one capability: bounding", kill, seen.get("CapBnd")),
        ("config.md#linux-process", "one capability: inheritable", kill, seen.get("CapInh")),
        ("config.md#linux-process", "one capability: ambient", kill, seen.get("CapAmb")),
        ("config.md#hostname", "another host's name", "another", seen.get("hostname")),
        ("config.md#root", "a root that cannot be written", False, seen.get("write-root") == "done"),
        ("config.md#mounts", "a directory of the host, to write", "done", seen.get("write-bound")),
        ("config.md#mounts", "what is written is on the host", True, (outside / "new").exists()),
        ("config.md#mounts", "a directory of the host, to read", False, seen.get("write-bound-ro") == "done"),
        ("config.md#mounts", "a tmpfs with its size", True, "size=4096k" in small),
        ("config.md#mounts", "noexec", False, seen.get("run-small") == "done"),
        ("config-linux.md#masked-paths", "one of ours", "0", seen.get("masked-ours")),
        ("config-linux.md#sysctl", "of the network", "777", seen.get("sysctl")),
        ("config-linux.md#devices", "a device of ours", "character special file 1:5 640 3", seen.get("device-ours")),
        ("config-linux.md#seccomp", "an error of ours", True, "No space left" in seen.get("chmod", "")),
    ]
    if limits:
        table += [
            ("config-linux.md#memory", "memory", str(64 << 20), seen.get("memory")),
            ("config-linux.md#pids", "processes", "99", seen.get("pids")),
            ("config-linux.md#cpu", "processor", "20000 50000", seen.get("cpu")),
        ]
    return [[where, what, str(expected), flatten(value)] for where, what, expected, value in table]


def check_hooks(runtime: Runtime, bundle: Path) -> list[list[str]]:
    """Each hook runs once, in its order, and is told of the container (config.md, "POSIX-platform Hooks")."""
    record = runtime.place / "hooks"
    record.mkdir()
    inside = bundle / "rootfs/hooks"
    inside.mkdir(exist_ok=True)
    (inside / "inside").unlink(missing_ok=True)

    def change(config: Config) -> None:
        config["annotations"] = {"org.example.check": "noted"}
        config["hooks"] = {}
        for kind in HOOKS:
            within = kind == "startContainer"  # the only one that runs in the container's root
            script = (
                f"echo {kind} >> /hooks/inside" if within else f"echo {kind} >> {record}/order; cat > {record}/{kind}"
            )
            config["hooks"][kind] = [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]

    seen = runtime.look(bundle, change)
    # 'run' deletes the container, after which poststop comes.
    order = (record / "order").read_text().split() if (record / "order").exists() else []
    where = "config.md#posix-platform-hooks"
    table = [
        [where, "a container with hooks runs", "0", seen["exit"] if seen["exit"] == "0" else seen["error"]],
        [where, "outside of the container, in order", str([k for k in HOOKS if k != "startContainer"]), str(order)],
    ]
    table.append([where, "startContainer, inside", "startContainer", seen.get("container-hooks", "").strip()])
    for kind in HOOKS:
        path = record / kind
        if kind != "startContainer":
            state = json.loads(path.read_text() or "{}") if path.exists() else {}
            table.append([where, f"{kind} is told the id", "True", str(str(state.get("id")).startswith("look-"))])
    path = record / "createRuntime"
    noted = json.loads(path.read_text() or "{}").get("annotations", {}) if path.exists() else {}
    table.append(["runtime.md#state", "annotations", "noted", str(noted.get("org.example.check"))])
    return table


def flatten(value: object) -> str:
    """The only element of a list, or the value."""
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else str(value)


DEVICES = {
    "null": "character special file 1:3 666",
    "zero": "character special file 1:5 666",
    "full": "character special file 1:7 666",
    "random": "character special file 1:8 666",
    "urandom": "character special file 1:9 666",
    "tty": "character special file 5:0 666",
}
# By number, capabilities(7).
CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN"),
    *("CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT"),
    *("CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE"),
    *("CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL"),
    *("CAP_SETFCAP",),
)


CHECKS: dict[str, Callable[[Runtime, Path], list[list[str]]]] = {
    "life": check_life,
    "plain": check_plain,
    "changed": check_changed,
    "hooks": check_hooks,
}


def main(program: str, bundle: Path, groups: Sequence[str]) -> None:
    """Print what the checks of these groups saw; of all, if none is named."""
    place = bundle.parent / f"checks-{Path(program).name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    runtime = Runtime(program, place)
    print(json.dumps([row for name in groups or CHECKS for row in CHECKS[name](runtime, bundle)]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
