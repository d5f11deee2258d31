"""What is asked in a running machine, at once: this file is a program that runs in the guest and prints JSON."""

import glob
import json
import os
import socket
import stat
import subprocess
import sys

SYSCTLS = [
    "dev.tty.ldisc_autoload",
    "dev.tty.legacy_tiocsti",
    "fs.file-max",
    "fs.protected_fifos",
    "fs.protected_hardlinks",
    "fs.protected_regular",
    "fs.protected_symlinks",
    "fs.suid_dumpable",
    "kernel.core_pattern",
    "kernel.dmesg_restrict",
    "kernel.kexec_load_disabled",
    "kernel.kptr_restrict",
    "kernel.panic",
    "kernel.perf_event_paranoid",
    "kernel.randomize_va_space",
    "kernel.sysrq",
    "kernel.tainted",
    "kernel.unprivileged_bpf_disabled",
    "kernel.yama.ptrace_scope",
    "kernel.pid_max",
    "net.core.bpf_jit_harden",
    "net.ipv4.conf.all.accept_redirects",
    "net.ipv4.conf.all.accept_source_route",
    "net.ipv4.conf.all.secure_redirects",
    "net.ipv4.conf.default.accept_redirects",
    "net.ipv4.conf.default.accept_source_route",
    "net.ipv4.conf.default.secure_redirects",
    "net.ipv4.conf.default.send_redirects",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.icmp_echo_ignore_broadcasts",
    "net.ipv6.conf.all.accept_source_route",
    "net.ipv6.conf.default.accept_redirects",
    "net.ipv6.conf.default.accept_source_route",
    "kernel.panic_on_oops",
    "vm.mmap_rnd_bits",
    "vm.mmap_rnd_compat_bits",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.tcp_syncookies",
    "net.ipv6.conf.all.accept_redirects",
    "vm.mmap_min_addr",
    "vm.unprivileged_userfaultfd",
    "user.max_user_namespaces",
    "kernel.random.entropy_avail",
]
PATHS = [
    "/",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hostname",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/run/firstboot",
    "/run/firstboot/result.json",
    "/run/log/journal",
    "/run/state",
    "/run/user",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/private",
    "/var/lib/systemd/random-seed",
    "/var/log",
    "/var/log/journal",
    "/var/tmp",
    "/var/lib/dpkg/status",
]
FILES = [
    "/etc/group",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/shells",
    "/proc/cmdline",
    "/proc/mounts",
    "/proc/modules",
    "/proc/swaps",
    "/proc/self/cgroup",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/kernel/security/lsm",
    "/sys/kernel/security/lockdown",
    "/sys/class/tty/console/active",
    "/sys/kernel/security/apparmor/profiles",
    "/proc/sys/kernel/random/boot_id",
    "/sys/module/module/parameters/sig_enforce",
    "/sys/module/page_alloc/parameters/shuffle",
    "/sys/power/state",
]
COMMANDS = {
    "failed": "systemctl list-units --failed --no-legend --plain",
    "jobs": "systemctl list-jobs --no-legend --plain",
    "state": "systemctl is-system-running",
    "units": "systemctl list-units --all --no-legend --plain --no-pager",
    "timers": "systemctl list-timers --all --no-legend --no-pager",
    "manager": "systemctl show --no-pager",
    "listeners": "ss -Hltunp",
    "addresses": "ip -j address",
    "routes": "ip -j route",
    "table": "dmsetup table root",
    "time": "timedatectl show",
    "locale": "localectl status",
    "errors": "journalctl -b -q -p err -o cat --no-pager",
    "kernel-errors": "journalctl -b -q -k -p err -o cat --no-pager",
    "kernel-log": "journalctl -b -q -k -o cat --no-pager",
    "manager-log": "journalctl -b -q -o cat --no-pager _PID=1",
    "journal": "journalctl --header",
    "resolved": "resolvectl --no-pager status",
    "podman": "podman info --format json",
    "sshd": "sshd -T",
    "sudo": "visudo -c",
    "extensions": "systemctl is-enabled systemd-sysext.service systemd-confext.service",
    "losetup": "losetup -l -n",
}
# Where something may have been written since the image was made; /usr is looked through without booting.
WRITABLE = ("/etc", "/var", "/home", "/root", "/opt", "/srv")


def look(path: str) -> "list[object] | None":
    """[type and mode, owner, group, link target]."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
    return [stat.filemode(status.st_mode), status.st_uid, status.st_gid, target]


def read(path: str) -> "str | None":
    """A file's text."""
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return None


def say(command: str) -> "dict[str, object]":
    """What a program says."""
    try:
        done = subprocess.run(command.split(), capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return {"status": 127, "out": "", "err": str(error)}
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def odd(roots: "tuple[str, ...]") -> "dict[str, list[str]]":
    """Files that run as somebody else, that everybody may write, whose owner is nobody known."""
    import grp
    import pwd

    users = {entry.pw_uid for entry in pwd.getpwall()}
    groups = {entry.gr_gid for entry in grp.getgrall()}
    found: dict[str, list[str]] = {"setuid": [], "world-writable": [], "unowned": [], "broken links": []}
    for root in roots:
        for directory, directories, files in os.walk(root):
            if directory.startswith(("/var/lib/containers", "/var/lib/private")):
                directories.clear()
                continue
            for name in directories + files:
                path = f"{directory}/{name}"
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISLNK(status.st_mode):
                    if not os.path.exists(path):  # noqa: PTH110
                        found["broken links"].append(path)
                    continue
                if stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000:
                    found["setuid"].append(path)
                if status.st_mode & 0o002 and not (stat.S_ISDIR(status.st_mode) and status.st_mode & 0o1000):
                    found["world-writable"].append(path)
                if status.st_uid not in users or status.st_gid not in groups:
                    found["unowned"].append(path)
    return found


def attempts() -> "dict[str, str | int]":
    """What root may not do here, tried: the errno, 0 where it may."""
    import errno
    import lzma

    def opened(path: str, flags: int) -> int:
        try:
            os.close(os.open(path, flags))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    state = os.stat("/run/state").st_dev  # noqa: PTH116
    [path] = glob.glob("/usr/lib/modules/*/kernel/drivers/net/dummy.ko.xz")  # noqa: PTH207
    with lzma.open(path) as file:
        module = file.read()
    # scripts/sign-file.c of the kernel: signature, twelve bytes with its length last, and a line of text.
    end = len(module) - len(b"~Module signature appended~\n")
    with open("/run/unsigned.ko", "wb") as file:  # noqa: PTH123
        file.write(module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")])
    return {
        "write a mounted device": opened(f"/dev/block/{os.major(state)}:{os.minor(state)}", os.O_WRONLY),
        "write the kernel's memory": opened("/dev/mem", os.O_RDWR),
        "load an unsigned module": str(say("insmod /run/unsigned.ko")["err"]),
    }


def facts() -> "dict[str, object]":
    """Everything."""
    return {
        "sysctl": {name: (read(f"/proc/sys/{name.replace('.', '/')}") or "").strip() or None for name in SYSCTLS},
        "paths": {path: look(path) for path in PATHS},
        "files": {path: read(path) for path in FILES},
        "said": {name: say(command) for name, command in COMMANDS.items()},
        "odd": odd(WRITABLE),
        "attempts": attempts(),
        "slabs": sorted(os.listdir("/sys/kernel/slab")),  # noqa: PTH208
        "efi": os.path.isdir("/sys/firmware/efi"),  # noqa: PTH112
        "loader": sorted(os.path.basename(path) for path in glob.glob("/sys/firmware/efi/efivars/*")),  # noqa: PTH119, PTH207
        "hostname": socket.gethostname(),
        "python": [sys.version.split()[0], sys.flags.dev_mode],
        "host keys": sorted(glob.glob("/etc/ssh/ssh_host_*_key")),  # noqa: PTH207
        "limits": read("/proc/self/limits"),
        "umask": os.umask(0o022),
        "locale": {name: os.environ.get(name) for name in ("LANG", "LC_ALL", "PATH")},
    }


if __name__ == "__main__":
    json.dump(facts(), sys.stdout)
