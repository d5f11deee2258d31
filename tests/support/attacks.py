"""What a maintainer script that wants out would try. Executed inside the sandbox by the tools' Python, as a script of
its own; prints a JSON object: for each attempt ``""`` if it was refused, or what it got. Standard library only.

Usage: attacks.py TARGETS [ATTEMPT ...], where TARGETS is a file of JSON that says what is outside.
"""

import ctypes
import fcntl
import json
import os
import re
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
MS_BIND, MS_REMOUNT = 4096, 32
SYSCALLS = {
    "x86_64": {
        "keyctl": 250, "add_key": 248, "bpf": 321, "io_uring_setup": 425, "open_by_handle_at": 304,
        "userfaultfd": 323, "perf_event_open": 298, "clone3": 435, "process_vm_readv": 310, "mount_setattr": 442,
    },
    "aarch64": {
        "keyctl": 219, "add_key": 217, "bpf": 280, "io_uring_setup": 425, "open_by_handle_at": 265,
        "userfaultfd": 282, "perf_event_open": 241, "clone3": 435, "process_vm_readv": 270, "mount_setattr": 442,
    },
}[os.uname().machine]  # fmt: skip


def open_files() -> dict[int, str]:
    """What each open file of this process is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        if os.path.lexists(f"/proc/self/fd/{name}"):  # not the one that was just used to look
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


OPEN = open_files()  # before we open any


class Refused(Exception):
    """The attempt failed as it should."""


def call(name: str, *arguments: object) -> int:
    """A system call; its result.

    Raises:
        Refused: it failed.
    """
    result = libc.syscall(SYSCALLS[name], *arguments)
    if result < 0:
        raise Refused(os.strerror(ctypes.get_errno()))
    return int(result)


def secret_below(root: str, outside: dict[str, str]) -> str:
    """What is in the secret file of the host, if it can be read below this directory."""
    with open(root.rstrip("/") + outside["secret"], encoding="utf-8") as file:
        return file.read()


def chroot_and_climb(outside: dict[str, str]) -> str:
    """``mkdir x; chroot x; cd ../../..; chroot .``."""
    os.makedirs("/var/x", exist_ok=True)
    above = os.open("/", os.O_RDONLY)
    os.chroot("/var/x")
    os.fchdir(above)
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
    return secret_below("/", outside)


def roots_of_processes(outside: dict[str, str]) -> str:
    """``/proc/PID/root``, of every process and of those of the host by number."""
    for number in ("1", "self", str(os.getppid()), outside["builder"], outside["bystander"]):
        for link in ("root", "cwd"):
            try:
                return secret_below(f"/proc/{number}/{link}", outside)
            except OSError:
                continue
    raise Refused


def trace(outside: dict[str, str]) -> str:
    """ptrace(2) of the builder, of the sandbox' first process, and of our parent."""
    for number in (int(outside["builder"]), 1, os.getppid()):
        if libc.ptrace(16, number, None, None) == 0:
            return f"attached to {number}"
    raise Refused


def read_memory(outside: dict[str, str]) -> str:
    """process_vm_readv(2) and ``/proc/PID/mem`` of processes that are not ours."""
    for number in (outside["builder"], outside["bystander"]):
        try:
            with open(f"/proc/{number}/mem", "rb") as file:
                return f"opened {file.name}"
        except OSError:
            continue
    call("process_vm_readv", 1, None, 0, None, 0, 0)
    return "process_vm_readv is allowed"


def mounting(outside: dict[str, str]) -> str:
    """mount(2) of anything: a bind, a tmpfs, the disk, sysfs; a read-only mount made writable."""
    os.makedirs("/var/m", exist_ok=True)
    for source, kind, flags in (
        (b"/", None, MS_BIND), (b"none", b"tmpfs", 0), (b"none", b"sysfs", 0), (b"none", b"proc", 0),
        (b"/dev/vda", b"ext4", 0), (b"none", b"cgroup2", 0),
    ):  # fmt: skip
        if libc.mount(source, b"/var/m", kind, flags, None) == 0:
            return f"mounted {kind!r}"
    if libc.mount(b"none", b"/.build-os/tools/usr", None, MS_BIND | MS_REMOUNT, None) == 0:
        return "made the tools writable"
    call("mount_setattr", -100, b"/", 0, None, 0)
    return "mount_setattr is allowed"


def unmounting(outside: dict[str, str]) -> str:
    """umount(2) of what covers something, and pivot_root(2)."""
    for path in (b"/dev", b"/proc", b"/.build-os", b"/"):
        if libc.umount2(path, 2) == 0:
            return f"unmounted {path!r}"
    raise Refused


def own_user_namespace(outside: dict[str, str]) -> str:
    """A user namespace of our own, in which we would have every capability: by unshare, clone and clone3."""
    if libc.unshare(CLONE_NEWUSER) == 0:
        return "unshare"
    if libc.unshare(CLONE_NEWNS) == 0:
        return "a mount namespace"
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    child = libc.syscall(number, CLONE_NEWUSER | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        return "clone"
    call("clone3", ctypes.create_string_buffer(88), 88)
    return "clone3 is allowed"


def other_namespaces(outside: dict[str, str]) -> str:
    """setns(2) into whatever /proc and our open files show."""
    for number in ("1", "self", outside["builder"], outside["bystander"]):
        for kind in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup"):
            try:
                opened = os.open(f"/proc/{number}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            if libc.setns(opened, 0) == 0:
                return f"joined {kind} of {number}"
    for opened in range(64):
        if libc.setns(opened, 0) == 0:
            return f"joined a namespace by file {opened}"
    raise Refused


def inherited_files(outside: dict[str, str]) -> str:
    """Open files that the builder left to us."""
    for number, target in OPEN.items():
        # The clock that the program is given keeps a file of its own in the sandbox' /dev/shm.
        if number > 2 and not target.startswith("/dev/shm/faketime"):
            return f"{number} is {target}"
        if number <= 2 and not re.match(r"/dev/null\Z|pipe:|/\.build-os/state/out\Z", target):
            return f"{number} is {target}"
    raise Refused


def make_devices(outside: dict[str, str]) -> str:
    """mknod(2) of the disk and of memory, past what makes us believe that it worked."""
    number = {"x86_64": 259, "aarch64": 33}[os.uname().machine]
    for name, mode, device in (("disk", 0o60600, (254 << 8)), ("sda", 0o60600, 8 << 8), ("mem", 0o20600, 257)):
        if libc.syscall(number, -100, f"/var/{name}".encode(), mode, device) == 0:
            return f"made {name}"
    if os.path.exists("/dev/vda") or os.path.exists("/dev/sda") or os.path.exists("/dev/kmsg"):
        return "a device of the host is in /dev"
    raise Refused


def host_loopback(outside: dict[str, str]) -> str:
    """The host's services on 127.0.0.1 and ::1, and any other way out to a network."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "10.0.2.2")):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            try:
                client.connect((address, int(outside["port"])))
            except OSError:
                continue
            return f"connected to {address}"
    raise Refused


def network_devices(outside: dict[str, str]) -> str:
    """Interfaces besides the loopback of our own."""
    names = {name for _, name in socket.if_nameindex()}
    if names - {"lo"}:
        return f"there are {names}"
    raise Refused


def abstract_socket(outside: dict[str, str]) -> str:
    """A unix socket of the host with an abstract name, which no file system hides."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect("\0" + outside["abstract"])
    return "connected"


def unix_socket(outside: dict[str, str]) -> str:
    """A unix socket of the host by its path."""
    for root in ("", "/proc/1/root", "/.build-os/tools"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(root + outside["socket"])
            except OSError:
                continue
            return "connected"
    raise Refused


def odd_sockets(outside: dict[str, str]) -> str:
    """Families that no network namespace holds: VSOCK reaches a hypervisor, ALG and PACKET much of the kernel."""
    for family in (40, 38, 17, 21, 30, 45, 46, 99):
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
        except OSError:
            try:
                socket.socket(family, socket.SOCK_DGRAM).close()
            except OSError:
                continue
        return f"made a socket of family {family}"
    raise Refused


def signal_host(outside: dict[str, str]) -> str:
    """kill(2) of processes of the host, and of all that we may."""
    os.kill(int(outside["bystander"]), 0)
    try:
        with open(f"/proc/{outside['bystander']}/cmdline", "rb") as file:
            ours = outside["marker"].encode() not in file.read()
    except OSError:
        ours = False
    if ours:  # a process of the sandbox has that number
        raise Refused
    return "may signal a process of the host"


def see_processes(outside: dict[str, str]) -> str:
    """Processes that are not of the sandbox."""
    for number in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{number}/cmdline", "rb") as file:
            if outside["marker"].encode() in file.read().split(b"\0")[-2:]:
                return f"process {number} is of the host"
    raise Refused


def keyring(outside: dict[str, str]) -> str:
    """Keys of the builder's session, which no namespace holds."""
    call("keyctl", 0, -3, 0, 0, 0)
    return "keyctl is allowed"


def add_key(outside: dict[str, str]) -> str:
    """A key into the user's keyring."""
    call("add_key", b"user", b"x", b"y", 1, -4)
    return "added"


def kernel_settings(outside: dict[str, str]) -> str:
    """Files of /proc that are the whole machine's: a program that the kernel runs as root, a reboot."""
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
                 "/proc/sys/vm/drop_caches", "/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register",
                 "/proc/irq/default_smp_affinity", "/proc/sys/kernel/randomize_va_space"):  # fmt: skip
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        return f"opened {path}"
    raise Refused


def sys_and_cgroups(outside: dict[str, str]) -> str:
    """/sys, and control groups, whose release agent the kernel runs as root."""
    if os.path.isdir("/sys/kernel") or os.path.isdir("/sys/fs/cgroup"):
        return "there is a /sys"
    for path in ("/sys/fs/cgroup/x", "/sys/kernel/uevent_helper"):
        try:
            with open(path, "w", encoding="ascii") as file:
                return f"wrote {file.name}"
        except OSError:
            continue
    raise Refused


def terminal(outside: dict[str, str]) -> str:
    """TIOCSTI types into the terminal that the build was started from; TIOCLINUX pastes into the console."""
    for path in ("/dev/tty", "/proc/self/fd/0", "/proc/self/fd/1", "/dev/console"):
        try:
            opened = os.open(path, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            continue
        for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
            if libc.ioctl(opened, ctypes.c_ulong(request), b"x") == 0:
                return f"{request:x} on {path}"
    master, slave = os.openpty()
    for request in (0x5412, 0x541C):
        if libc.ioctl(slave, ctypes.c_ulong(request), b"x") == 0:
            return f"{request:x} on a terminal of our own"
    os.close(master)
    raise Refused


def privileges(outside: dict[str, str]) -> str:
    """Capabilities that we have, or could have by a setuid program."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            return f"{name} is {status[name]}"
    if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        return "no filter, or new privileges are possible"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        rows = [line.split() for line in file]
    if len(rows) != 1 or rows[0][2] != "1":
        return f"there is more than one user: {rows}"
    raise Refused


def kernel_surface(outside: dict[str, str]) -> str:
    """System calls behind which most holes of the last years were, and no script needs."""
    for name, arguments in (("bpf", (0, None, 0)), ("io_uring_setup", (1, ctypes.create_string_buffer(120))),
                            ("userfaultfd", (1,)), ("perf_event_open", (None, 0, -1, -1, 0))):  # fmt: skip
        ctypes.set_errno(0)
        if libc.syscall(SYSCALLS[name], *arguments) >= 0 or ctypes.get_errno() not in (1, 38):
            return f"{name} is allowed: {os.strerror(ctypes.get_errno())}"
    raise Refused


def file_handles(outside: dict[str, str]) -> str:
    """open_by_handle_at(2): files of the whole file system by their inode ("shocker")."""
    handle = struct.pack("<Ii", 8, 1) + struct.pack("<II", 2, 0)
    call("open_by_handle_at", os.open("/", os.O_RDONLY), handle, os.O_RDONLY)
    return "opened the root of the host's file system"


def write_tools(outside: dict[str, str]) -> str:
    """The tools, the job's own files, and mounts of the sandbox."""
    for path in ("/.build-os/tools/usr/bin/bwrap", "/.build-os/job/launch.py", "/.build-os/job/job.json"):
        try:
            with open(path, "r+b") as file:
                return f"opened {file.name}"
        except OSError:
            continue
    for path in ("/.build-os/x", "/.build-os/tools/usr/x", "/.build-os/job/x"):
        try:
            with open(path, "wb") as file:
                return f"made {file.name}"
        except OSError:
            continue
    raise Refused


def links_out(outside: dict[str, str]) -> str:
    """Links to a file of the host, symbolic ones and hard ones."""
    os.symlink(outside["secret"], "/var/link")
    try:
        with open("/var/link", encoding="utf-8") as file:
            return file.read()
    except OSError:
        pass
    os.link("/.build-os/tools/usr/bin/bwrap", "/var/hard")
    return "a hard link to a tool"


def raise_limits(outside: dict[str, str]) -> str:
    """Limits that were set for us."""
    for name in ("RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_NOFILE"):
        limit = getattr(resource, name)
        if resource.getrlimit(limit)[1] == resource.RLIM_INFINITY:
            return f"{name} has none"
        try:
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (ValueError, OSError):
            continue
        return f"{name} was raised"
    raise Refused


def device_of_clock(outside: dict[str, str]) -> str:
    """The machine's clock, name and log."""
    if libc.sethostname(b"x", 1) == 0:
        return "sethostname"
    if libc.klogctl(3, ctypes.create_string_buffer(64), 64) >= 0:
        return "the kernel's log"
    import time

    time.clock_settime(time.CLOCK_REALTIME, 0)
    return "the clock"


def environment(outside: dict[str, str]) -> str:
    """What the builder's environment says."""
    for name, value in os.environ.items():
        if outside["marker"] in value:
            return f"{name}={value}"
    with open("/proc/self/environ", encoding="utf-8", errors="replace") as file:
        if outside["marker"] in file.read():
            return "/proc/self/environ"
    raise Refused


def shared_memory(outside: dict[str, str]) -> str:
    """System V shared memory of the host, whose keys no file system hides."""
    found = libc.shmget(int(outside["shm"]), 0, 0)
    if found >= 0:
        return "found the host's segment"
    raise Refused


def lock_on_host(outside: dict[str, str]) -> str:
    """A file of the host's /tmp, /run, /dev/shm and home, for an exchange with others or a lock that stops them."""
    for path in (outside["secret"], outside["tmp"], "/root/.cache/build-os", "/dev/shm/" + outside["marker"]):
        try:
            opened = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return f"locked {path}"
    raise Refused


ATTACKS: dict[str, Callable[[dict[str, str]], str]] = {
    attack.__name__: attack
    for attack in (
        chroot_and_climb, roots_of_processes, trace, read_memory, mounting, unmounting, own_user_namespace,
        other_namespaces, inherited_files, make_devices, host_loopback, network_devices, abstract_socket, unix_socket,
        odd_sockets, signal_host, see_processes, keyring, add_key, kernel_settings, sys_and_cgroups, terminal,
        privileges, kernel_surface, file_handles, write_tools, links_out, raise_limits, device_of_clock, environment,
        shared_memory, lock_on_host,
    )
}  # fmt: skip


def outcomes(outside: dict[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """The name of each attempt and what it got, each in a process of its own."""
    for name in names or ATTACKS:
        attack = ATTACKS[name]
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                got = attack(outside) or "something"
            except (Refused, OSError):
                got = ""
            os.write(write, got.encode()[:1000])
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            got = pipe.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        yield name, got if status == 0 else f"ended with {status}: {got}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as told:
        print(json.dumps(dict(outcomes(json.load(told), sys.argv[2:]))))
