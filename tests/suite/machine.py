"""What is promised of a machine that runs the demo: checks of the facts that :mod:`tests.suite.gather` brings."""

from __future__ import annotations

import errno
import json
import re
from typing import Any

from tests.suite.checking import Checks, table

Facts = dict[str, Any]
check = CHECKS = Checks[Facts]()

# kernel hardening: docs/security.md
SYSCTLS = {
    "dev.tty.ldisc_autoload": "0",
    "dev.tty.legacy_tiocsti": "0",
    "fs.protected_fifos": "2",
    "fs.protected_hardlinks": "1",
    "fs.protected_regular": "2",
    "fs.protected_symlinks": "1",
    "fs.suid_dumpable": "0",
    "kernel.dmesg_restrict": "1",
    "kernel.kexec_load_disabled": "1",
    "kernel.kptr_restrict": "2",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.perf_event_paranoid": "3",
    "kernel.randomize_va_space": "2",
    "kernel.sysrq": "0",
    "kernel.unprivileged_bpf_disabled": "1",
    "kernel.yama.ptrace_scope": "1",
    "net.core.bpf_jit_harden": "2",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv4.conf.all.secure_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.default.accept_source_route": "0",
    "net.ipv4.conf.default.secure_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_rfc1337": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.all.accept_source_route": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
    "net.ipv6.conf.default.accept_source_route": "0",
    "vm.mmap_min_addr": "65536",
    "vm.mmap_rnd_bits": "32",
    "vm.mmap_rnd_compat_bits": "16",
    "vm.unprivileged_userfaultfd": "0",
}
# What the kernel is told at its start: configs/features/base.yaml.
WORDS = {
    "bdev_allow_write_mounted=0",
    "init_on_alloc=1",
    "lockdown=integrity",
    "module.sig_enforce=1",
    "oops=panic",
    "page_alloc.shuffle=1",
    "panic=10",
    "proc_mem.force_override=ptrace",
    "randomize_kstack_offset=1",
    "slab_nomerge",
    "systemd.crash_action=reboot",
}
MODES = {
    "/": "drwxr-xr-x",
    "/dev/shm": "drwxrwxrwt",
    "/etc": "drwxr-xr-x",
    "/etc/group": "-rw-r--r--",
    "/etc/gshadow": "-rw-r-----",
    "/etc/machine-id": "-r--r--r--",
    "/etc/passwd": "-rw-r--r--",
    "/etc/shadow": "-rw-r-----",
    "/run": "drwxr-xr-x",
    "/run/firstboot": "drwx------",
    "/run/firstboot/result.json": "-rw-------",
    "/run/state": "drwx------",
    "/tmp": "drwxrwxrwt",
    "/var": "drwxr-xr-x",
    "/var/lib/private": "drwx------",
    "/var/lib/systemd/random-seed": "-rw-------",
    "/var/tmp": "drwxrwxrwt",
}
LINKS = {
    "/home": "var/home",
    "/root": "var/roothome",
    "/etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
}
# File system, and options that must be there.
MOUNTS = {
    "/": ("erofs", {"ro"}),
    "/etc": ("overlay", {"rw"}),
    "/var": ("ext4", {"rw", "nosuid", "nodev"}),
    "/run": ("tmpfs", {"rw", "nosuid", "nodev"}),
    "/run/state": ("ext4", {"rw", "nosuid", "nodev"}),
    "/tmp": ("tmpfs", {"rw", "nosuid", "nodev"}),
    "/dev/shm": ("tmpfs", {"rw", "nosuid", "nodev"}),
    "/proc": ("proc", {"nosuid", "nodev", "noexec"}),
    "/sys": ("sysfs", {"nosuid", "nodev", "noexec"}),
    "/sys/fs/cgroup": ("cgroup2", {"nosuid", "nodev", "noexec"}),
    "/var/lib/dpkg": ("none", {"ro"}),
}
# Who may have a shell, and as whom one can log in: with a key, never with a password.
SHELLS = {"root", "core", "sync"}
PORTS = {("tcp", 22), ("tcp", 8080)}
DHCP = {68, 546}
# Links of Debian's own that lead nowhere until somebody makes what they name; man pages are left out of the image.
DANGLING = re.compile(
    r"/etc/(vconsole\.conf|alternatives/[\w.-]+\.\d\.gz|alternatives/which\.\w+1\.gz)"
    r"|/var/lib/wtmpdb/wtmp\.db|/var/log/README"
)
SOFT_LOCKUP = 1 << 14  # tainted-kernels.rst: a processor got no time, as happens to emulated ones on a busy host


def said(facts: Facts, name: str) -> str:
    """The output of a program that was asked."""
    answer = facts["said"][name]
    assert answer["status"] == 0, f"{name}: {answer['err']}"
    return str(answer["out"])


# Identity and firmware


@check
def it_was_started_by_firmware_and_our_boot_loader(facts: Facts) -> None:
    names = {name.partition("-")[0] for name in facts["loader"]}
    assert facts["efi"]
    assert {"LoaderInfo", "LoaderDevicePartUUID", "StubInfo"} <= names


@check
def its_id_is_random_and_its_own(facts: Facts) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n", facts["files"]["/etc/machine-id"])


@check
def it_says_which_image_it_is(facts: Facts) -> None:
    release = dict(line.split("=", 1) for line in facts["files"]["/etc/os-release"].splitlines() if line)
    assert (release["ID"], release["IMAGE_ID"], release["IMAGE_VERSION"]) == ("debian", "demo", "1.0.0")


@check
def its_name_is_the_configs(facts: Facts) -> None:
    assert facts["hostname"] == facts["files"]["/etc/hostname"].strip() == "demo"


@check
def it_has_host_keys_of_its_own(facts: Facts) -> None:
    assert facts["host keys"] == ["/etc/ssh/ssh_host_ed25519_key"]


# The root and what is mounted


@check
def the_root_is_verified(facts: Facts) -> None:
    words = said(facts, "table").split()
    assert (words[2], words[10]) == ("verity", "sha256")
    assert f"roothash={words[11]} " in facts["files"]["/proc/cmdline"]


@check
def what_is_mounted_is_as_restricted_as_it_can_be(facts: Facts) -> None:
    mounted = {
        words[1]: (words[2], set(words[3].split(",")))
        for words in map(str.split, facts["files"]["/proc/mounts"].splitlines())
    }
    for place, (kind, options) in MOUNTS.items():
        assert place in mounted, place
        known, has = mounted[place]
        assert kind in ("none", known), (place, known)
        assert options <= has, (place, options - has)


@check
def nothing_swaps(facts: Facts) -> None:
    assert len(facts["files"]["/proc/swaps"].splitlines()) == 1


@check
def nothing_is_on_a_loop_device(facts: Facts) -> None:
    assert said(facts, "losetup").strip() == ""


@check
def important_files_have_their_modes_and_owners(facts: Facts) -> None:
    for path, mode in MODES.items():
        seen = facts["paths"][path]
        assert seen is not None, path
        assert seen[:2] == [mode, 0], (path, seen)


@check
def important_links_lead_where_they_should(facts: Facts) -> None:
    for path, target in LINKS.items():
        assert facts["paths"][path][3] == target, path


@check
def nothing_runs_as_somebody_else(facts: Facts) -> None:
    assert facts["odd"]["setuid"] == []


@check
def nothing_can_be_written_by_everybody(facts: Facts) -> None:
    assert facts["odd"]["world-writable"] == []


@check
def everything_belongs_to_somebody(facts: Facts) -> None:
    assert facts["odd"]["unowned"] == []


@check
def links_lead_somewhere(facts: Facts) -> None:
    assert [path for path in facts["odd"]["broken links"] if not DANGLING.fullmatch(path)] == []


# Users


@check
def nobody_has_a_password(facts: Facts) -> None:
    for name, fields in table(facts["files"]["/etc/shadow"]).items():
        assert fields[1].startswith(("*", "!")), name


@check
def only_those_who_may_have_a_shell(facts: Facts) -> None:
    users = table(facts["files"]["/etc/passwd"])
    with_shell = {name for name, fields in users.items() if not fields[6].endswith(("/nologin", "/false"))}
    assert with_shell == SHELLS


@check
def only_root_is_root(facts: Facts) -> None:
    users = table(facts["files"]["/etc/passwd"])
    assert [name for name, fields in users.items() if fields[2] == "0"] == ["root"]


@check
def no_two_users_and_no_two_groups_have_one_number(facts: Facts) -> None:
    for path in ("/etc/passwd", "/etc/group"):
        numbers = [fields[2] for fields in table(facts["files"][path]).values()]
        assert len(numbers) == len(set(numbers)), path


@check
def users_and_their_secrets_are_the_same_people(facts: Facts) -> None:
    assert table(facts["files"]["/etc/passwd"]).keys() == table(facts["files"]["/etc/shadow"]).keys()


@check
def ssh_takes_keys_only_and_not_for_root(facts: Facts) -> None:
    settings = dict(line.split(None, 1) for line in said(facts, "sshd").splitlines() if " " in line)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitrootlogin"] == "no"
    assert settings["permitemptypasswords"] == "no"


# Services


@check
def nothing_has_failed(facts: Facts) -> None:
    assert said(facts, "failed") == ""


@check
def the_system_is_running_and_has_nothing_left_to_do(facts: Facts) -> None:
    assert said(facts, "state").strip() == "running"
    assert said(facts, "jobs").strip() == ""


@check
def units_do_not_wait_for_each_other(facts: Facts) -> None:
    assert [line for line in said(facts, "manager-log").splitlines() if "ordering cycle" in line] == []


@check
def units_make_sense_to_the_manager(facts: Facts) -> None:
    wrong = re.compile(r"Unknown (key|section|lvalue|directive)|Failed to parse|ignoring\b.*unit", re.IGNORECASE)
    assert [line for line in said(facts, "manager-log").splitlines() if wrong.search(line)] == []


@check
def nobody_complains(facts: Facts) -> None:
    lines = said(facts, "errors").splitlines()
    if any(line.startswith(("rcu: ", "watchdog: BUG: soft lockup")) for line in lines):
        # The machine was asleep, or its host busy: its kernel sees that time has passed, and says so at length.
        kernel = set(said(facts, "kernel-errors").splitlines())
        lines = [line for line in lines if line not in kernel]
    assert lines == []


@check
def only_these_listen(facts: Facts) -> None:
    found = set()
    for words in map(str.split, said(facts, "listeners").splitlines()):
        address, _, port = words[4].rpartition(":")
        if not address.startswith(("127.", "[::1]")) and not (words[0] == "udp" and int(port) in DHCP):
            found.add((words[0], int(port)))
    assert found == PORTS


@check
def timers_are_those_that_belong_here(facts: Facts) -> None:
    found = {word for word in said(facts, "timers").split() if word.endswith(".timer")}
    assert found == {"systemd-tmpfiles-clean.timer", "fstrim.timer", "e2scrub_all.timer", "state-health.timer"}


@check
def services_are_stopped_in_good_time(facts: Facts) -> None:
    properties = dict(line.split("=", 1) for line in said(facts, "manager").splitlines() if "=" in line)
    assert properties["DefaultTimeoutStopUSec"] == "1min 30s"
    assert int(properties["DefaultLimitNOFILE"]) >= 524288


@check
def a_person_can_log_in_at_the_serial_line(facts: Facts) -> None:
    units = said(facts, "units")
    assert re.search(r"serial-getty@ttyS0\.service\s+loaded\s+active\s+running", units)
    assert facts["files"]["/sys/class/tty/console/active"].split() == ["tty0", "ttyS0"]


# Time, place, language, logging


@check
def it_is_utc_here_and_the_clock_is_kept(facts: Facts) -> None:
    settings = dict(line.split("=", 1) for line in said(facts, "time").splitlines())
    assert settings["Timezone"] == "UTC"
    assert (settings["LocalRTC"], settings["CanNTP"], settings["NTP"]) == ("no", "yes", "yes")


@check
def text_is_utf8(facts: Facts) -> None:
    assert "LANG=C.UTF-8" in said(facts, "locale")
    assert facts["locale"]["LANG"] == "C.UTF-8"


@check
def the_journal_is_kept_over_a_reboot(facts: Facts) -> None:
    ours = facts["files"]["/etc/machine-id"].strip()
    assert f"File path: /var/log/journal/{ours}/system.journal" in said(facts, "journal")
    assert facts["paths"]["/var/log/journal"][0] == "drwxr-sr-x"


@check
def the_journal_has_what_happened_before_the_root_was_there(facts: Facts) -> None:
    assert "Finished firstboot.service - Provision This Machine." in said(facts, "manager-log").splitlines()


# Network


@check
def the_card_has_a_stable_name_and_an_address(facts: Facts) -> None:
    cards = {link["ifname"]: link for link in json.loads(said(facts, "addresses"))}
    [card] = [name for name in cards if name.startswith("en")]
    families = {address["family"] for address in cards[card]["addr_info"]}
    assert {"inet", "inet6"} <= families


@check
def there_is_no_network_before_the_root_unless_somebody_asks(facts: Facts) -> None:
    assert [line for line in said(facts, "manager-log").splitlines() if "firstboot-network.service" in line] == []


@check
def names_are_asked_for_through_the_resolver(facts: Facts) -> None:
    hosts = next(line for line in facts["files"]["/etc/nsswitch.conf"].splitlines() if line.startswith("hosts:"))
    assert hosts.split()[1:] == ["files", "myhostname", "resolve", "[!UNAVAIL=return]", "dns"]
    assert "resolv.conf mode: stub" in said(facts, "resolved")


@check
def nobody_is_asked_by_shouting(facts: Facts) -> None:
    protocols = next(line for line in said(facts, "resolved").splitlines() if "Protocols:" in line)
    assert {"-LLMNR", "-mDNS"} <= set(protocols.split())


# Kernel


@check
def the_kernel_is_hardened(facts: Facts) -> None:
    assert {name: facts["sysctl"][name] for name in SYSCTLS} == SYSCTLS


@check
def the_kernel_was_told_to_be_hard(facts: Facts) -> None:
    assert WORDS - set(facts["files"]["/proc/cmdline"].split()) == set()
    unknown = [line for line in said(facts, "kernel-log").splitlines() if "Unknown kernel command line" in line]
    assert [word for word in WORDS if any(word in line for line in unknown)] == []


@check
def root_cannot_change_the_running_kernel(facts: Facts) -> None:
    assert "[integrity]" in facts["files"]["/sys/kernel/security/lockdown"]
    assert facts["files"]["/sys/module/module/parameters/sig_enforce"] == "Y\n"
    assert facts["attempts"]["write the kernel's memory"] == errno.EPERM
    assert re.search("Key was rejected|not permitted", facts["attempts"]["load an unsigned module"])


@check
def memory_is_empty_and_not_where_it_was_guessed_to_be(facts: Facts) -> None:
    assert "heap alloc:on" in said(facts, "kernel-log")
    assert facts["files"]["/sys/module/page_alloc/parameters/shuffle"] == "Y\n"
    # Caches that share their memory have names that begin so.
    assert [name for name in facts["slabs"] if name.startswith(":")] == []


@check
def a_mounted_device_is_written_by_its_file_system_alone(facts: Facts) -> None:
    assert facts["attempts"]["write a mounted device"] == errno.EBUSY


@check
def a_changed_block_stops_the_machine(facts: Facts) -> None:
    assert "panic_on_corruption" in said(facts, "table").split()


@check
def nothing_covers_what_is_verified(facts: Facts) -> None:
    assert facts["said"]["extensions"]["out"].split() == ["masked", "masked"]


@check
def the_kernel_is_not_tainted(facts: Facts) -> None:
    assert int(facts["sysctl"]["kernel.tainted"]) & ~SOFT_LOCKUP == 0


@check
def there_is_randomness(facts: Facts) -> None:
    assert int(facts["sysctl"]["kernel.random.entropy_avail"]) >= 256


@check
def randomness_was_there_before_the_first_program(facts: Facts) -> None:
    lines = said(facts, "kernel-log").splitlines()
    assert "random: crng init done" in lines
    assert lines.index("random: crng init done") < lines.index("Run /init as init process")


@check
def processes_and_files_are_not_scarce(facts: Facts) -> None:
    assert int(facts["sysctl"]["kernel.pid_max"]) >= 1 << 22
    assert int(facts["sysctl"]["fs.file-max"]) >= 1 << 20


@check
def security_modules_are_on(facts: Facts) -> None:
    assert {"lockdown", "capability", "landlock", "yama"} <= set(facts["files"]["/sys/kernel/security/lsm"].split(","))


@check
def there_is_one_control_group_tree_with_what_containers_need(facts: Facts) -> None:
    assert facts["files"]["/proc/self/cgroup"].startswith("0::/")
    assert {"cpu", "io", "memory", "pids"} <= set(facts["files"]["/sys/fs/cgroup/cgroup.controllers"].split())


# Python and containers


@check
def python_is_what_was_promised(facts: Facts) -> None:
    assert facts["python"][0].startswith("3.13.")


@check
def podman_is_set_up_as_we_mean_it(facts: Facts) -> None:
    info = json.loads(said(facts, "podman"))
    assert info["store"]["graphDriverName"] == "overlay"
    host = info["host"]
    assert (host["cgroupVersion"], host["cgroupManager"]) == ("v2", "systemd")
    assert (host["ociRuntime"]["name"], host["networkBackend"]) == ("crun", "netavark")
    assert host["security"]["seccompEnabled"]
