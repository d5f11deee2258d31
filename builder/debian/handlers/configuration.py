"""Configuration that no package writes, because an installer would have."""

from __future__ import annotations

from builder.debian.handlers.work import Work
from builder.tree.node import file

ORIGIN = "stage:packages"
FSTAB = "# The root, /etc and /var are mounted by the initrd. See docs/architecture.md.\n"


def install_defaults(work: Work) -> None:
    """``/etc/fstab``, which some programs miss when it is not there."""
    if work.has("/usr/lib/systemd/systemd") and "/etc/fstab" not in work.tree:
        work.tree.put("/etc/fstab", file(FSTAB, origin=ORIGIN))
