"""Capabilities of programs: setcap(8) and getcap(8)."""

from __future__ import annotations

import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled


def setcap(shell: Shell, arguments: list[str]) -> Status:
    """``setcap capabilities path``: an extended attribute, capabilities(7)."""
    options = read_options("setcap", arguments, "q v r n f")
    if "r" in options:
        raise NotModelled("setcap -r")
    for text, name in zip(options.operands[::2], options.operands[1::2], strict=False):
        path = shell.resolve_path(name)
        node = shell.system.get(path)
        if node is None:
            return 1
        xattr = ("security.capability", encode_capabilities(text))
        if "v" in options:  # whether it has them
            if xattr not in node.xattrs:
                return 1
            continue
        shell.system.change(path, EffectKind.CAPABILITY, text, xattrs=(xattr,))
    return 0


def getcap(shell: Shell, arguments: list[str]) -> Status:
    """``getcap path``: says which of the files have capabilities."""
    for name in arguments:
        node = shell.system.get(shell.resolve_path(name)) if not name.startswith("-") else None
        if node is not None and any(key == "security.capability" for key, _ in node.xattrs):
            shell.say(f"{name} {UNKNOWN}\n")
    return 0


# linux/capability.h, by number.
_CAPABILITIES = [
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
]  # fmt: skip


def encode_capabilities(text: str) -> bytes:
    """``cap_net_raw,cap_net_admin+ep`` as the kernel's ``struct vfs_cap_data``, revision 2. cap_text_formats(7).

    Raises:
        NotModelled: a form that is not known.
    """
    sets = dict.fromkeys("eip", 0)
    for clause in text.split():
        match = re.fullmatch(r"([a-z_,]*)((?:[=+-][eip]*)+)", clause.lower())
        if not match:
            raise NotModelled(f"the capabilities {text}")
        bits = 0
        for name in match[1].split(","):
            short = name.removeprefix("cap_")
            if short not in _CAPABILITIES:
                raise NotModelled(f"the capability {name}")
            bits |= 1 << _CAPABILITIES.index(short)
        for operator, flags in re.findall(r"([=+-])([eip]*)", match[2]):
            for flag in "eip" if operator == "=" else flags:
                kept = sets[flag] & ~bits
                sets[flag] = kept | bits if operator != "-" and flag in flags else kept
    effective, permitted, inheritable = sets["e"], sets["p"], sets["i"]
    if effective not in (0, permitted | inheritable):
        raise NotModelled(f"the capabilities {text}, which a file cannot have")
    low, high = 0xFFFFFFFF, 32
    words = (0x02000000 | bool(effective), permitted & low, inheritable & low, permitted >> high, inheritable >> high)
    return b"".join(word.to_bytes(4, "little") for word in words)


COMMANDS = make_models({"setcap": setcap, "getcap": getcap}, replayed=("setcap",))
