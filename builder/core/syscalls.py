"""Write the system call filter of :mod:`builder.core.sandbox` to standard output, as BPF. Run by the tools' Python,
which has libseccomp (``seccomp(2)``, ``seccomp_rule_add(3)``).

Usage: syscalls.py
"""

import sys
from errno import EAFNOSUPPORT, ENOSYS, EPERM

import seccomp  # type: ignore[import-not-found]  # Debian's python3-seccomp, in the tools tree

# Not of namespaces (keys, the kernel's log, clocks), or a large part of the kernel that no script needs.
REFUSED = (
    "keyctl", "add_key", "request_key", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp",
    "mount", "umount", "umount2", "pivot_root", "setns", "unshare", "fsopen", "fsconfig", "fsmount", "fspick",
    "move_mount", "open_tree", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "swapon", "swapoff", "reboot", "syslog", "acct", "quotactl",
    "quotactl_fd", "lookup_dcookie", "vhangup", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "iopl",
    "ioperm", "sethostname", "setdomainname", "nfsservctl", "fanotify_init", "modify_ldt", "mbind", "move_pages",
    "migrate_pages", "set_mempolicy",
)  # fmt: skip
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423
# socket(2): UNIX, INET, INET6 and NETLINK are of the network namespace. VSOCK, for one, is of none.
FAMILIES = {1, 2, 10, 16}
HIGHEST_FAMILY = 45


def make_filter() -> "seccomp.SyscallFilter":
    """All is allowed but what is refused; a refused call fails, and the program may go on."""
    made = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(EPERM)
    for name in REFUSED:
        try:
            made.add_rule(refuse, name)
        except (RuntimeError, ValueError):  # no such call on this architecture
            continue
    # Its flags are behind a pointer, which a filter cannot follow: libc then uses clone.
    made.add_rule(seccomp.ERRNO(ENOSYS), "clone3")
    made.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER))
    for request in (TIOCSTI, TIOCLINUX, TIOCSETD):
        made.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    for family in set(range(HIGHEST_FAMILY + 1)) - FAMILIES:
        made.add_rule(seccomp.ERRNO(EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.EQ, family))
    made.add_rule(seccomp.ERRNO(EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.GT, HIGHEST_FAMILY))
    return made


if __name__ == "__main__":
    make_filter().export_bpf(sys.stdout)
