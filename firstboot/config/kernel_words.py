"""What one argument on the kernel's command line may be, whoever asks for it: a definition or a machine's config."""

from __future__ import annotations

import re

ADDON_MARK = "build_os.firstboot="
"""Begins a word that only our addon has, and that counts those behind it: without it nobody looks for an addon."""

FULL_MARK = "build_os.full="
"""Begins the word that fills the command line of a signed image up to what a kernel takes: nothing goes behind it."""

# What build-os itself puts on the command line, or what would take the image away from under its root hash.
_RESERVED = {
    "root": "the root is the verity device",
    "rootfstype": "the root is EROFS",
    "rootflags": "the root's options follow from the image",
    "rootwait": "the initrd waits for the root",
    "roothash": "build-os computes it",
    "usrhash": "the whole root is verified, /usr with it",
    "init": "another init would run instead of systemd, before anything is checked",
    "rdinit": "the initrd is build-os's own",
    "initrd": "the initrd is part of the kernel image",
    "rw": "the root cannot be written",
    "systemd.import_credentials": "the definition's 'credentials' says what the image takes from the platform",
}
_RESERVED_PREFIX = {
    "systemd.verity": "the verity device is set up by its root hash",
    "mount.usr": "/usr is part of the root",
}


def is_one_argument(text: str) -> bool:
    """Whether it is one argument that needs no quoting: printable ASCII without spaces, quotes and backslashes."""
    return re.fullmatch(r"[!#-&(-\[\]-~]+", text) is not None


def find_objection(argument: str) -> str | None:
    """Why an argument cannot be given, or ``None``.

    Names are compared as kernel and systemd do: ``-`` is ``_``, and ``rd.`` means the same in the initrd
    (kernel-command-line(7)).
    """
    if argument == "--":
        return "what follows it would go to init"
    name = argument.partition("=")[0].replace("-", "_").removeprefix("rd.")
    for prefix, reason in _RESERVED_PREFIX.items():
        if name.startswith(prefix):
            return reason
    return _RESERVED.get(name)
