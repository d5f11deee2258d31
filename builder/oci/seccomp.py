"""The system calls that a process of a bundle cannot make: what reaches past namespaces and capabilities.

A list of what is refused, not of what is allowed: an allowed list ages with every libc, and what is refused here needs
a capability that the process does not have anyway, or is an old or wide door into the kernel. It is the table
"Significant syscalls blocked by the default profile" of Docker's documentation, the mount API that came after it, and
io_uring.

Source: runtime-spec, config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

from builder.core.architecture import Arch

EPERM, ENOSYS = 1, 38
CLONE_NEWUSER = 0x10000000  # the namespace through which the others are had without a capability

ARCHITECTURES = {
    Arch.AMD64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    Arch.ARM64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
REFUSED = (
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
)


def make_seccomp(architecture: str) -> dict[str, object]:
    """The ``linux.seccomp`` of a config.json."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ARCHITECTURES[Arch(architecture)],
        "syscalls": [
            {"names": list(REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": EPERM,
                "args": [{"index": 0, "value": CLONE_NEWUSER, "valueTwo": CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}],
            },
            # Its flags are behind a pointer. libc takes clone where the kernel does not know it.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        ],
    }
