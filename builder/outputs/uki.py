"""The unified kernel image (UAPI.5): kernel, initrd and command line in one EFI program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from builder.core.architecture import require_architecture
from builder.core.errors import InputError
from builder.core.tools import Tools
from builder.tree.modules import find_kernel_release
from builder.tree.node import Node
from builder.tree.tree import Tree
from firstboot.config.kernel_words import FULL_MARK

# Room for the signature of a policy, until the root hash is known: what is in it is not measured (systemd-stub(7)).
NO_POLICY = json.dumps({"build-os": "the signature of a policy that is still to be made"}).encode().ljust(4096)
EFI_STUBS = "/usr/lib/systemd/boot/efi"
# Stands for a root hash that is not known yet: as long as one, and like nothing else in a kernel image.
NO_ROOT_HASH = hashlib.sha256(b"build-os: the hash of a root that is still being written").hexdigest()

# What a kernel takes, without the NUL: COMMAND_LINE_SIZE of x86 and arm64 (arch/*/include/.../setup.h).
COMMAND_LINE = 2047
# systemd takes nothing from SMBIOS, fw_cfg, the boot loader and this command line (systemd.system-credentials(7)).
NO_CREDENTIALS = "systemd.import_credentials=no"
DEVELOPMENT_KEYS = "build_os.keys=development"  # a unit of the feature base says so on consoles


def find_kernel(tree: Tree) -> Node:
    """The kernel image that belongs to the tree's only modules directory.

    Raises:
        TreeError: the tree has no kernel, or not one.
    """
    release = find_kernel_release(tree)
    packaged = f"/usr/lib/modules/{release}/vmlinuz"
    return tree.require(packaged) if packaged in tree else tree.require(f"/boot/vmlinuz-{release}")


def make_command_line(roothash: str, extra: tuple[str, ...], *, import_credentials: bool) -> str:
    """What the kernel is started with: where the verified root is, what may be handed over, the definition's words."""
    words = (
        f"roothash={roothash}",
        "systemd.verity=yes",
        # Not just an error where it is read: the machine starts again, and another slot gets its chance.
        "systemd.verity_root_options=panic-on-corruption",
        "root=/dev/mapper/root",
        "rootfstype=erofs",
        "ro",
        *([] if import_credentials else [NO_CREDENTIALS]),
        *extra,
    )
    return " ".join(words)


def fill_command_line(words: str) -> str:
    """The command line made so long that nothing can be put behind it.

    systemd-stub(7) appends what the host hands over in SMBIOS (``io.systemd.stub.kernel-cmdline-extra``), also under
    Secure Boot, and there is no switch for that. The kernel drops whole words from the end until the rest fits.

    Raises:
        InputError: it is too long already.
    """
    left = COMMAND_LINE - len(words) - len(f" {FULL_MARK}")
    if left < 1:
        raise InputError(
            f"the kernel's command line has {len(words)} characters, {1 - left} more than a signed one can have",
            hint="take words out of kernel.command_line",
        )
    return f"{words} {FULL_MARK}{'-' * left}"


def read_parts(tree: Tree, arch: str) -> Mapping[str, bytes]:
    """What of the image's own goes into a unified kernel image; the EFI stub among it, so its architecture is right."""
    return {
        "linux": find_kernel(tree).content.read(),
        "stub": tree.read(f"{EFI_STUBS}/linux{require_architecture(arch).efi}.efi.stub"),
        "os-release": tree.read("/usr/lib/os-release"),
        "uname": find_kernel_release(tree).encode(),
    }


def make_uki(
    parts: Mapping[str, bytes], tools: Tools, scratch: Path, out: Path, *, arch: str, initrd: Path, cmdline: str
) -> None:
    """Join the parts with ``ukify``.

    Args:
        parts: those of :func:`read_parts`; with a ``pcrpkey``, the key (PEM) that signs policies for the TPM, there is
            room for the signature of one, which :func:`write_policy` fills.
    """
    for name, data in {**parts, "cmdline": cmdline.encode(), "pcrsig": NO_POLICY}.items():
        (scratch / name).write_bytes(data)
    with_policy = "pcrpkey" in parts
    tools.run(
        "ukify",
        "build",
        f"--linux={scratch / 'linux'}",
        f"--initrd={initrd}",
        f"--cmdline=@{scratch / 'cmdline'}",
        f"--os-release=@{scratch / 'os-release'}",
        f"--uname={parts['uname'].decode()}",
        f"--stub={scratch / 'stub'}",
        f"--efi-arch={require_architecture(arch).efi}",
        *([f"--pcrpkey={scratch / 'pcrpkey'}", f"--section=.pcrsig:@{scratch / 'pcrsig'}"] if with_policy else []),
        f"--output={out}",
    )


def write_root_hash(template: Path, out: Path, roothash: str) -> None:
    """The same image with ``roothash`` where it says :data:`NO_ROOT_HASH`: what ``ukify`` would have made with it.

    So the root need not be waited for, and most builds need no ``ukify`` at all. A signature is made after this.
    """
    data, place = template.read_bytes(), NO_ROOT_HASH.encode()
    start = data.index(place)
    end = start + len(place)
    if data.find(place, end) != -1:
        raise AssertionError(f"{template.name} has two places for the root hash")
    with out.open("wb") as file:
        file.writelines((memoryview(data)[:start], roothash.encode(), memoryview(data)[end:]))


def write_policy(program: Path, signature: str) -> None:
    """Put the signature of a policy, as systemd-measure(1) prints it, where :func:`make_uki` left room for one."""
    before, after = program.read_bytes().split(NO_POLICY)
    program.write_bytes(before + signature.strip().encode().ljust(len(NO_POLICY)) + after)
