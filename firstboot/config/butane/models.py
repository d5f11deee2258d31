"""The settings that Butane adds to Ignition's, where they are more than a text. Imported when they are used.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from typing import Annotated

from firstboot.config.devices import Cex, Tang
from firstboot.config.model import Model, Since
from firstboot.config.models import V3_4, V3_5, Int, Owner

V3_6 = Since((3, 6))


class Tree(Model):
    """A directory beside the config, whose files and links go into the machine.

    Attributes:
        local: the directory beside the config.
        path: where its contents go; ``/`` if not given.
        user: the owner of everything in it.
        group: the owning group of everything in it.
        file_mode: of its files; if not given 0755 for what is executable, else 0644.
        dir_mode: of its directories.
    """

    local: str = ""
    path: str | None = None
    user: Annotated[Owner, V3_6] = Owner()
    group: Annotated[Owner, V3_6] = Owner()
    file_mode: Annotated[Int | None, V3_6] = None
    dir_mode: Annotated[Int | None, V3_6] = None


class QuadletDropin(Model):
    """A piece of configuration added to a quadlet.

    Attributes:
        name: the file name, ending in ``.conf``.
        contents: the text.
        contents_local: the text, from a file beside the config.
    """

    name: str = ""
    contents: str | None = None
    contents_local: str | None = None


class Quadlet(Model):
    """A container, volume, network, ... that Podman makes units of (podman-systemd.unit(5)).

    Attributes:
        name: with its suffix: ``web.container``; ``web@1.container`` is an instance of ``web@.container``.
        contents: the text.
        contents_local: the text, from a file beside the config.
        dropins: files in ``NAME.d/``.
        rootful: run by the system, not by every user.
    """

    name: str = ""
    contents: str | None = None
    contents_local: str | None = None
    dropins: tuple[QuadletDropin, ...] = ()
    rootful: bool | None = None


class BootLuks(Model):
    """How the root filesystem is encrypted.

    Attributes:
        cex: a key of an IBM Crypto Express card.
        device: of s390x layouts.
        discard: pass deletions on to the device.
        tang: servers that release the key.
        threshold: how many of them must answer.
        tpm2: the machine's TPM.
    """

    cex: Annotated[Cex, V3_5] = Cex()
    device: Annotated[str | None, V3_5] = None
    discard: Annotated[bool | None, V3_4] = None
    tang: tuple[Tang, ...] = ()
    threshold: Int | None = None
    tpm2: bool | None = None


class BootMirror(Model):
    """The disks that the boot disk is mirrored on.

    Attributes:
        devices: two or more disks.
    """

    devices: tuple[str, ...] = ()


class BootDevice(Model):
    """Encryption and mirroring of the boot disk.

    Attributes:
        layout: of the disk: ``x86_64``, ``aarch64``, ``ppc64le``; from 1.6 also ``s390x-eckd``, ``-zfcp``, ``-virt``.
        luks: encrypt the root filesystem.
        mirror: RAID 1 over several disks.
    """

    layout: str | None = None
    luks: BootLuks = BootLuks()
    mirror: BootMirror = BootMirror()


class GrubUser(Model):
    """Who may edit boot entries.

    Attributes:
        name: who.
        password_hash: as ``grub2-mkpasswd-pbkdf2`` writes it.
    """

    name: str = ""
    password_hash: str | None = None


class Grub(Model):
    """The boot loader.

    Attributes:
        users: who may edit boot entries.
    """

    users: tuple[GrubUser, ...] = ()
