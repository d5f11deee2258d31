"""Where a config may write: on the disk, and not on the read-only image.

Apart from the stages, and without the models, because a machine without a config asks as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.apply.root import Seen
from firstboot.config.text import Path, Problem

NOT_ON_DISK = ("/proc", "/sys", "/dev")  # the kernel's own, gone or different after the boot
WRITABLE_HINT = "/etc and /var can be written to, and /home, /root, /opt, /srv, /mnt and /usr/local, which lead to /var"


def check_writable(seen: Seen, path: str, at: Path) -> Iterator[Problem]:
    """Whether something can be written there at all."""
    shown = f"'{path}'" if seen.path == path else f"'{path}' (which is {seen.path})"
    if seen.unsafe:
        yield Problem(
            at, f"nothing is written to {shown}: {seen.unsafe}", "remove the link, or write to where it leads"
        )
    elif seen.path == "/":
        yield Problem(at, f"{shown} is the root itself")
    elif any(seen.path == place or seen.path.startswith(place + "/") for place in NOT_ON_DISK):
        yield Problem(at, f"{shown} is not on the disk but belongs to the kernel")
    elif seen.read_only:
        yield Problem(at, f"{shown} is on the read-only image", WRITABLE_HINT)
