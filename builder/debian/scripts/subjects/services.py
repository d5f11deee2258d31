"""Services: deb-systemd-helper(1p) says what starts at boot, which becomes a preset file; what starts something now
has nothing to start.

debhelper's snippet asks ``was-enabled`` for a unit that starts by default, and ``debian-installed`` first for one that
does not (``dh_installsystemd --no-enable``). What no package and no definition enables stays off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NOT_OURS, NotModelled
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import Kind, make_file

RUNNING = "there is no running system"


def deb_systemd_helper(shell: Shell, arguments: list[str]) -> Status:
    """On a first installation a unit counts as enabled before (``was-enabled``) and is not yet known otherwise."""
    options = [a for a in arguments if a.startswith("--")]
    words = [a for a in arguments if not a.startswith("--")]
    if not words:
        return 1
    action, units = words[0], words[1:]
    scope = "user" if "--user" in options else ""
    states = {e.name: e.data[1] for e in shell.system.journal if e.kind is EffectKind.UNIT and e.data[0] == scope}
    match action:
        case "was-enabled":
            return 0
        case "debian-installed":
            return int(not all(unit in states for unit in units))
        case "is-enabled":
            return int(not all(states.get(unit) == "enable" for unit in units))
        case "enable" | "disable" | "mask":
            for unit in units:
                if states.get(unit) != action:
                    shell.system.record(
                        EffectKind.UNIT, unit, f"{action}{' for users' if scope else ''}", scope, action
                    )
            return 0
        case "unmask" | "update-state" | "purge" | "reenable":
            return 0
        case "start" | "stop" | "restart" | "try-restart":
            return 0  # of deb-systemd-invoke; here the program does nothing
        case _:
            raise NotModelled(f"deb-systemd-helper {action}")


def systemctl(shell: Shell, arguments: list[str]) -> Status:
    """``systemctl``: enabling is done; the rest needs a running manager, which there is not."""
    words = [a for a in arguments if not a.startswith("-")]
    if not words:
        return 1
    action, units = words[0], words[1:]
    scope = "user" if {"--global", "--user"} & set(arguments) else ""
    if action in ("enable", "disable", "mask"):
        for unit in units:
            name = unit if "." in unit else f"{unit}.service"
            shell.system.record(EffectKind.UNIT, name, action, scope, action)
        return 0
    if action in ("is-active", "is-enabled", "is-failed", "is-system-running", "status", "show", "list-units"):
        return 1
    return running(f"systemctl {action}")(shell, units)


def running(what: str) -> Callable[[Shell, list[str]], Status]:
    """A command that acts on a running system only."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        named = " ".join([what, *(a for a in arguments if not a.startswith("-"))][:3])
        shell.system.record(EffectKind.DROPPED, named, RUNNING)
        return 0

    return run


def update_rc_d(shell: Shell, arguments: list[str]) -> Status:
    """``update-rc.d name defaults``: links for sysvinit, which is not in the image."""
    shell.system.record(EffectKind.DROPPED, f"update-rc.d {arguments[0] if arguments else ''}", "links for sysvinit")
    return 0


def systemd_tmpfiles(shell: Shell, arguments: list[str]) -> Status:
    """``systemd-tmpfiles --create [file ...]``: tmpfiles.d(5) makes the same at every boot."""
    shell.system.record(
        EffectKind.DROPPED,
        " ".join(["systemd-tmpfiles", *(a for a in arguments if not a.startswith("-"))]),
        "every boot does it",
    )
    return 0


def systemd_sysusers(shell: Shell, arguments: list[str]) -> Status:
    """``systemd-sysusers [file ...]``: all of ``sysusers.d`` is applied before any script is looked at."""
    options = read_options("systemd-sysusers", arguments, "inline", "root replace")
    if "inline" in options:
        raise NotModelled("systemd-sysusers --inline")
    shell.system.record(EffectKind.GENERATED, " ".join(["systemd-sysusers", *options.operands]), "users of sysusers.d")
    return 0


def mountpoint(shell: Shell, arguments: list[str]) -> Status:
    """``mountpoint [-q] path``: of all file systems, an installation has those of the kernel."""
    return int(not all(NOT_OURS.match(shell.resolve_path(name)) for name in arguments if not name.startswith("-")))


def deny(shell: Shell, arguments: list[str]) -> Status:
    """A question about what runs: nothing does."""
    return 1


ENABLED = "/etc/systemd/system"
PRESETS = {"": "/usr/lib/systemd/system-preset", "user": "/usr/lib/systemd/user-preset"}


def install_presets(work: Work) -> None:
    """Write what packages enable (``80``), below definitions' own choices, and "all else is off" last (``99``)."""
    if not work.has("/usr/lib/systemd/system"):
        return
    for scope, directory in PRESETS.items():
        states = {
            effect.name: effect.data[1] for effect in work.list_effects(EffectKind.UNIT) if effect.data[0] == scope
        }
        if not scope:
            states |= dict.fromkeys(_linked_by_hand(work), "enable")
        units = sorted(unit for unit, state in states.items() if state == "enable")
        text = "# Units that their packages enable.\n" + "".join(f"enable {unit}\n" for unit in units)
        work.tree.put(f"{directory}/80-packages.preset", make_file(text, origin=ORIGIN))
        work.tree.put(f"{directory}/99-off.preset", make_file("# All else is off.\ndisable *\n", origin=ORIGIN))


def _linked_by_hand(work: Work) -> Iterator[str]:
    """Units that a script enables by a link of its own, as display managers do; their presets would remove it."""
    for effect in work.list_effects(EffectKind.LINK):
        node = work.tree.get(effect.name)
        if effect.name.startswith(f"{ENABLED}/") and node is not None:
            unit = node.target.rpartition("/")[2]
            text = work.tree.get(f"/usr/lib/systemd/system/{unit}", follow=True)
            if text is not None and text.kind is Kind.FILE and b"[Install]" in text.content.read():
                yield unit


_COMMANDS = {
    "deb-systemd-helper": deb_systemd_helper, "systemctl": systemctl, "update-rc.d": update_rc_d,
    "systemd-tmpfiles": systemd_tmpfiles, "systemd-sysusers": systemd_sysusers,
    **{name: running(name) for name in (
        "deb-systemd-invoke", "invoke-rc.d", "service", "start-stop-daemon", "udevadm", "modprobe", "rmmod", "lsmod",
        "insserv", "sysctl", "systemd-sysctl",
        "killall", "kill", "pkill", "reload", "restart", "initctl", "telinit", "dbus-send", "busctl", "loginctl",
        "mount", "umount", "apparmor_parser", "restorecon", "setupcon", "swapoff", "swapon", "ldmtool", "partprobe",
        "vgcfgbackup", "vgscan", "vgchange", "vgdisplay", "vgs", "pvs", "lvs", "pvscan", "lvchange", "smartctl",
        "ip", "ifup", "ifdown", "iptables", "ip6tables", "auditctl", "nft", "setsebool", "semodule", "wall", "logger",
        "lpstat", "lpadmin", "lpinfo", "cupsctl", "needrestart", "netplan", "timedatectl",
        "hostnamectl", "localectl", "who", "getcert",
    )},
    "mountpoint": mountpoint,
    **dict.fromkeys(("pidof", "pgrep", "runlevel", "selinuxenabled", "aa-status", "aa-enabled", "ischroot"), deny),
}  # fmt: skip
COMMANDS = make_models(_COMMANDS, replayed=tuple(_COMMANDS), accept_unknown=(
    "logger", "kill", "service", "invoke-rc.d", "systemctl", "udevadm", "modprobe", "ip", "pgrep", "pidof",
))  # fmt: skip
