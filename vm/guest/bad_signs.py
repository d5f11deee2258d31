"""Lines on a console that mean the machine is not well, so that a wait can end early and a test can say why.

The union of what Fedora CoreOS's and Flatcar's test suites look for (``kola/harness.go``, ``consoleChecks``), and
what our own images can add: Python, AppArmor, the first boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BadSign:
    """A kind of bad line.

    Attributes:
        name: completes "the console shows".
        hint: text that every such line contains; a fast test that lets a flood of other lines pass.
        pattern: the exact test.
        slow_only: seen on healthy machines too when they are emulated; ignored there.
        fatal: the machine does not go on after it.
    """

    name: str
    hint: str
    pattern: re.Pattern[str]
    slow_only: bool = False
    fatal: bool = False


def _sign(name: str, hint: str, pattern: str | None = None, *, slow_only: bool = False, fatal: bool = False) -> BadSign:
    return BadSign(name, hint, re.compile(pattern or re.escape(hint)), slow_only, fatal)


FIRST_BOOT_FAILED = "build-os first boot failed"

BAD_SIGNS: tuple[BadSign, ...] = (
    _sign("a failed first boot", FIRST_BOOT_FAILED, fatal=True),
    # The machine gave up.
    _sign("an emergency shell", "Press Enter for emergency shell", fatal=True),
    _sign("an emergency shell", "Starting Emergency Shell", fatal=True),
    _sign("emergency mode", "You are in emergency mode", fatal=True),
    _sign("emergency mode", "emergency.target", r"Reached target .*emergency\.target", fatal=True),
    _sign("an initrd that gave up", "dracut: Refusing to continue", fatal=True),
    _sign("an initrd without a root file system", "Gave up waiting for root file system device", fatal=True),
    _sign("a default target that cannot be reached", "Failed to isolate default target", fatal=True),
    _sign("a service manager that stopped", "Freezing execution", fatal=True),
    # Kernel.
    _sign("a kernel panic", "Kernel panic - not syncing", fatal=True),
    _sign("a kernel oops", "Oops:"),
    _sign("a general protection fault", "general protection fault"),
    _sign("a kernel BUG", "kernel BUG at"),
    _sign(
        "a kernel timer warning",
        "at kernel/time/",
        r"WARNING: CPU: \d+ PID: \d+ at kernel/time/",
        slow_only=True,
    ),
    _sign("a kernel warning", "WARNING: CPU: ", r"WARNING: CPU: \d+ PID: \d+ at (?!kernel/time/)"),
    _sign("a corrupt page table", "Bad page", r"[Bb]ad page (?:state|map|table)"),
    _sign("a corrupt page table", "bad page table"),
    _sign("the kernel out of memory", "invoked oom-killer"),
    _sign("a process killed for memory", "Out of memory: Killed process"),
    _sign("a soft lockup", "soft lockup", r"BUG: soft lockup", slow_only=True),
    _sign("a hard lockup", "hard LOCKUP", r"[Ww]atchdog.*hard LOCKUP", slow_only=True),
    _sign("an RCU stall", "rcu", r"rcu.*(?:self-detected stall|detected stalls?)", slow_only=True),
    _sign("a hung task", "blocked for more than", r"task .* blocked for more than \d+ seconds", slow_only=True),
    _sign("an unstable clock", "clocksource: timekeeping watchdog", slow_only=True),
    # Disks and file systems.
    _sign("I/O to a device that is gone", "rejecting I/O to offline device"),
    # sr0 is an empty drive; a failed read-ahead there means nothing.
    _sign("an I/O error", "Buffer I/O error on dev", r"Buffer I/O error on dev (?!sr0|fd0)"),
    _sign("an I/O error", "I/O error, dev", r"I/O error, dev (?!sr0|fd0)"),
    _sign("an ext4 error", "EXT4-fs error"),
    _sign("a file system gone read-only", "emounting filesystem read-only"),
    _sign("an aborted journal", "borting journal"),
    _sign("lost writes", "Delayed block allocation failed"),
    _sign("a broken file system", "UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY"),
    _sign("a corrupt erofs", "erofs", r"erofs.*(?:corrupted|failed to decompress|bogus)"),
    _sign("verity corruption", "verity", r"device-mapper: verity:.*block.* is corrupted"),
    # Boot loader.
    _sign("memory corruption in the boot loader", "magic", r"(?:alloc|free) magic (?:is )?broken"),
    _sign("firmware without anything to boot", "No bootable device", fatal=True),
    _sign("firmware without anything to boot", "BdsDxe: No bootable option", fatal=True),
    _sign("a refused boot image", "Security Violation", fatal=True),
    # Services.
    _sign("a unit that failed", "Failed to start", r"Failed to start (.*)"),
    _sign("a unit that could not start", "Dependency failed for", r"Dependency failed for (.*)"),
    _sign("an ordering cycle", "rdering cycle", r"[Oo]rdering cycle found|(?:Found|to break) ordering cycle"),
    _sign("a failed generator", "-generators/", r"/system-generators/\S+ (?:failed with exit|terminated by)"),
    _sign("a cancelled fetch", "fetch: context canceled"),
    _sign("initrd cleanup killed", "initrd-cleanup.service", r"initrd-cleanup\.service.*status=15/TERM"),
    # Programs.
    _sign("a Python traceback", "Traceback (most recent call last)"),
    _sign("a Go panic", "panic: ", r"(?:^|[\]:] ?)panic: "),
    _sign("a crash", "SIGSEGV"),
    _sign("a crash", "=11/SEGV"),
    _sign("a crash", "segfault at "),
    _sign("a crash", "ore dump", r"[Cc]ore dump"),
    _sign("an AppArmor denial", 'apparmor="DENIED"'),
)


_FAILED_UNIT = re.compile(r"(?:Failed to start|Dependency failed for) (\S+\.[a-z]+)")


def find_failed_unit(line: str) -> str | None:
    """The unit that a line of the console says has failed, or could not be started."""
    match = _FAILED_UNIT.search(line)
    return None if match is None else match[1]


def find_bad_sign(
    lines: Sequence[str], *, emulated: bool, allow: Iterable[re.Pattern[str]] = ()
) -> Iterator[tuple[int, BadSign]]:
    """Index and kind of each bad line; a line that an ``allow`` pattern finds something in is never bad."""
    text = "\n".join(lines)
    signs = [sign for sign in BAD_SIGNS if sign.hint in text and not (emulated and sign.slow_only)]
    if not signs:
        return
    allowed = tuple(allow)
    for index, line in enumerate(lines):
        sign = next((sign for sign in signs if sign.hint in line and sign.pattern.search(line)), None)
        if sign is not None and not any(pattern.search(line) for pattern in allowed):
            yield index, sign
