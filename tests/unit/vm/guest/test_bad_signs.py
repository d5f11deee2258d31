"""Which console lines are bad, and which only look so."""

from __future__ import annotations

import re

import pytest

from vm.guest.bad_signs import BAD_SIGNS, BadSign, find_bad_sign

pytestmark = pytest.mark.unit

BAD = [
    ("build-os first boot failed", "a failed first boot"),
    ("Press Enter for emergency shell or wait 5 minutes for reboot.", "an emergency shell"),
    ("[    1.2] systemd[1]: Starting Emergency Shell...", "an emergency shell"),
    ("[  OK  ] Reached target emergency.target - Emergency Mode.", "emergency mode"),
    ("You are in emergency mode. After logging in, type ...", "emergency mode"),
    ("Gave up waiting for root file system device.", "an initrd without a root file system"),
    ("[    0.9] Kernel panic - not syncing: Attempted to kill init!", "a kernel panic"),
    ("[    0.9] Oops: general protection fault, probably", "a kernel oops"),
    ("[    9.9] WARNING: CPU: 1 PID: 77 at fs/erofs/zdata.c:12 foo+0x1", "a kernel warning"),
    ("[    9.9] python3 invoked oom-killer: gfp_mask=0x140cca", "the kernel out of memory"),
    ("[    9.9] Buffer I/O error on dev vda1, logical block 0", "an I/O error"),
    ("[    9.9] I/O error, dev vda, sector 8 op 0x0", "an I/O error"),
    ("[    9.9] EXT4-fs error (device vda8): ext4_lookup:1", "an ext4 error"),
    ("[    9.9] EXT4-fs (vda8): Remounting filesystem read-only", "a file system gone read-only"),
    ("[    9.9] device-mapper: verity: 254:2: data block 77 is corrupted", "verity corruption"),
    ("alloc magic is broken at 0x7ff", "memory corruption in the boot loader"),
    ("[FAILED] Failed to start web.service - Web.", "a unit that failed"),
    ("[DEPEND] Dependency failed for multi-user.target", "a unit that could not start"),
    ("systemd[1]: sysinit.target: Found ordering cycle on x.service", "an ordering cycle"),
    ("systemd[1]: Freezing execution.", "a service manager that stopped"),
    ("(sd-exec[90]: /usr/lib/systemd/system-generators/x failed with exit status 1.", "a failed generator"),
    ("python3[80]: Traceback (most recent call last):", "a Python traceback"),
    ("panic: runtime error: invalid memory address", "a Go panic"),
    ("dockerd[80]: panic: runtime error", "a Go panic"),
    ("systemd[1]: x.service: Main process exited, code=dumped, status=11/SEGV", "a crash"),
    ("x[99]: segfault at 0 ip 00007f sp 00007f error 4", "a crash"),
    ('audit: type=1400 apparmor="DENIED" operation="open"', "an AppArmor denial"),
]

GOOD = [
    "[  OK  ] Listening on systemd-coredump.socket - Process Core Dump Socket.",
    "[    0.1] Kernel command line: panic=10 oops=panic",
    "[    0.2] rcu: Hierarchical RCU implementation.",
    "[    3.1] Buffer I/O error on dev sr0, logical block 0",
    "[    1.0] erofs: (device dm-0): mounted with root inode @ nid 36.",
    "[    1.0] device-mapper: verity: sha256 using implementation sha256-ni",
    "[    1.0] clocksource: Switched to clocksource tsc",
    'audit: type=1400 apparmor="STATUS" operation="profile_load"',
    "vm login: ",
]

ONLY_SLOW = [
    "[   40.1] watchdog: BUG: soft lockup - CPU#0 stuck for 23s!",
    "[   40.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
    "[   40.1] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
    "[   40.1] INFO: task systemd:1 blocked for more than 120 seconds.",
    "[   40.1] WARNING: CPU: 0 PID: 1 at kernel/time/timekeeping.c:1 x",
]


def names(line: str, *, emulated: bool = False) -> list[str]:
    return [sign.name for _, sign in find_bad_sign([line], emulated=emulated)]


@pytest.mark.parametrize(("line", "name"), BAD)
def test_a_bad_line_is_named(line: str, name: str) -> None:
    assert names(line) == [name]
    assert names(line, emulated=True) == [name]


@pytest.mark.parametrize("line", GOOD)
def test_a_good_line_is_left_alone(line: str) -> None:
    assert names(line) == []


@pytest.mark.parametrize("line", ONLY_SLOW)
def test_slowness_is_a_bad_sign_only_where_machines_are_fast(line: str) -> None:
    assert len(names(line)) == 1
    assert names(line, emulated=True) == []


def test_a_line_may_be_allowed() -> None:
    lines = ["Kernel panic - not syncing: x", "Oops: 1"]
    assert [index for index, _ in find_bad_sign(lines, emulated=False, allow=[re.compile("panic")])] == [1]


@pytest.mark.parametrize("sign", BAD_SIGNS, ids=lambda sign: sign.pattern.pattern)
def test_the_hint_is_part_of_every_line_that_the_pattern_finds(sign: BadSign) -> None:
    """Otherwise the fast test would hide what the exact one looks for."""
    lines = [line for line in [*(line for line, _ in BAD), *ONLY_SLOW] if sign.pattern.search(line)]
    assert all(sign.hint in line for line in lines)
