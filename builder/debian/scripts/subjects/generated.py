"""Programs whose work is done once for the whole image, by a handler or a stage, or by the machine itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Model, Shell, make_models

INITRD = "build-os makes its own initrd"
LOADER = "build-os installs the boot loader"
IDENTITY = "first boot gives the machine its identity"


def note_generated(reasons: Mapping[str, str]) -> dict[str, Model]:
    """Models of programs whose work is not a script's: a call is noted with the reason, and nothing else happens."""
    return make_models({name: _note(name, reason) for name, reason in reasons.items()}, replayed=tuple(reasons))


def _note(name: str, reason: str) -> Callable[[Shell, list[str]], Status]:
    def run(shell: Shell, arguments: list[str]) -> Status:
        shell.system.record(EffectKind.GENERATED, name, reason)
        return 0

    return run


COMMANDS = note_generated({
    "update-initramfs": INITRD, "mkinitramfs": INITRD, "dracut": INITRD, "linux-update-symlinks": LOADER,
    "update-grub": LOADER, "grub-install": LOADER, "bootctl": LOADER, "kernel-install": LOADER, "zipl": LOADER,
    "update-grub2": LOADER, "flash-kernel": LOADER, "grub-mkconfig": LOADER, "run-parts-kernel": LOADER,
    "linux-run-hooks": INITRD, "dbus-uuidgen": IDENTITY, "systemd-machine-id-setup": IDENTITY,
}) | make_models({
    "ssh-keygen": _note("ssh-keygen", "keys belong to a machine: first boot makes them"),
}, accept_unknown=("ssh-keygen",), replayed=("ssh-keygen",))  # fmt: skip
