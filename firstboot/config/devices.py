"""The parts of the config that are about block devices: disks, RAID, encryption, filesystems.

Apart from :mod:`firstboot.config.models` because few machines have them and each model costs time to build.
"""

from typing import Annotated, Self

from firstboot.config.model import Model, Spelled
from firstboot.config.models import OWN, V3_1, V3_2, V3_4, V3_5, Int, Resource


class Partition(Model):
    """A partition; identified by its number, or by its label if that is 0.

    Attributes:
        guid: of this partition; random if not given.
        label: the name in the table, at most 36 bytes.
        match_label: without a number, the partition is the one that has this label already, if there is one.
        number: which one; 0 takes the next free number.
        resize: change the size of one that is there otherwise as given.
        should_exist: ``false`` deletes it.
        size_mib: MiB; 0 takes all the space after the start.
        start_mib: MiB; 0 takes the largest free block.
        type_guid: what it is for.
        wipe_partition_entry: delete or change one that is there.
    """

    guid: str | None = None
    label: str | None = None
    match_label: Annotated[bool | None, OWN] = None
    number: Int = 0
    resize: Annotated[bool | None, V3_2] = None
    should_exist: bool | None = None
    size_mib: Annotated[Int | None, Spelled("sizeMiB")] = None
    start_mib: Annotated[Int | None, Spelled("startMiB")] = None
    type_guid: str | None = None
    wipe_partition_entry: bool | None = None

    @property
    def key(self) -> str:
        if self.number:
            return f"number:{self.number}"
        return "" if self.label is None else f"label:{self.label}"


class Disk(Model):
    """A disk and its partition table.

    Attributes:
        device: the path of the disk.
        partitions: the partitions.
        wipe_table: forget the partition table that is there.
    """

    device: str = ""
    partitions: tuple[Partition, ...] = ()
    wipe_table: bool | None = None

    @property
    def key(self) -> str:
        return self.device


class Raid(Model):
    """A software RAID.

    Attributes:
        devices: what it is made of.
        level: ``raid1`` and the like.
        name: ``/dev/md/NAME``.
        options: for mdadm.
        reuse: keep the array of this name that these devices are, with what is on it; if they are none, make it.
        spares: how many of the devices only stand by.
    """

    UNKEYED = frozenset({"options"})

    devices: tuple[str, ...] = ()
    level: str | None = None
    name: str = ""
    options: tuple[str, ...] = ()
    reuse: Annotated[bool | None, OWN] = None
    spares: Int | None = None

    @property
    def key(self) -> str:
        return self.name


class LogicalVolume(Model):
    """A part of a volume group: ``/dev/GROUP/NAME``. One that is there is kept.

    Attributes:
        name: what it is called in its group.
        size_mib: MiB, rounded up to what the group divides itself into; all that is free if no size is given.
        size_percent: or so many percent of what is free when it is made.
        wipe_volume: make it anew if it is there.
    """

    name: str = ""
    size_mib: Annotated[Int | None, Spelled("sizeMiB")] = None
    size_percent: Int | None = None
    wipe_volume: bool | None = None

    @property
    def key(self) -> str:
        return self.name


class VolumeGroup(Model):
    """Devices together, and volumes on them (LVM). A group that is there and has these devices is kept.

    Attributes:
        devices: what it is made of.
        name: ``/dev/NAME/``.
        volumes: in the order in which they are made.
        wipe_group: make it anew, whatever is on the devices.
    """

    devices: tuple[str, ...] = ()
    name: str = ""
    volumes: tuple[LogicalVolume, ...] = ()
    wipe_group: bool | None = None

    @property
    def key(self) -> str:
        return self.name


class Subvolume(Model):
    """A subvolume of a btrfs filesystem. One that is there is kept.

    Attributes:
        compression: of what is written into it from then on: ``zlib``, ``lzo`` or ``zstd``.
        default: it is what a mount of the filesystem shows.
        mount_options: for mounting it.
        name: its path from the top of the filesystem, like ``home`` or ``var/log``.
        path: where it is mounted while files are written.
    """

    UNKEYED = frozenset({"mount_options"})

    compression: str | None = None
    default: bool | None = None
    mount_options: tuple[str, ...] = ()
    name: str = ""
    path: str | None = None

    @property
    def key(self) -> str:
        return self.name


class Filesystem(Model):
    """A filesystem on a device, and where it is mounted.

    Attributes:
        device: the path of the device.
        format: ``ext4``, ``btrfs``, ``xfs``, ``vfat``, ``swap``, ``none`` (from 3.3), ``virtiofs`` (from 3.7).
        label: the filesystem's label.
        mount_options: for mounting it while files are written.
        options: for mkfs.
        path: where it is mounted while files are written.
        subvolumes: of a btrfs filesystem.
        uuid: of the filesystem.
        wipe_filesystem: format it whatever is on it.
    """

    UNKEYED = frozenset({"options", "mount_options"})

    device: str = ""
    format: str | None = None
    label: str | None = None
    mount_options: Annotated[tuple[str, ...], V3_1] = ()
    options: tuple[str, ...] = ()
    path: str | None = None
    subvolumes: Annotated[tuple[Subvolume, ...], OWN] = ()
    uuid: str | None = None
    wipe_filesystem: bool | None = None

    @property
    def key(self) -> str:
        return self.device

    def derive_for_subvolume(self, subvolume: Subvolume) -> Self:
        """It, as one of its subvolumes is mounted."""
        options = (*subvolume.mount_options, f"subvol={subvolume.name}")
        return self.model_copy(update={"path": subvolume.path, "mount_options": options, "subvolumes": ()})


class Tang(Model):
    """A Tang server that releases a key.

    Attributes:
        advertisement: what the server says of itself, so that it need not be asked.
        thumbprint: of the server's key.
        url: the server.
    """

    advertisement: Annotated[str | None, V3_4] = None
    thumbprint: str | None = None
    url: str = ""

    @property
    def key(self) -> str:
        return self.url


class ClevisCustom(Model):
    """A Clevis pin with its own configuration.

    Attributes:
        config: of the pin, JSON.
        needs_network: unlocking needs the network.
        pin: the name of the pin.
    """

    config: str | None = None
    needs_network: bool | None = None
    pin: str | None = None


class Clevis(Model):
    """How a key is bound.

    Attributes:
        custom: a pin of another kind.
        tang: servers.
        threshold: how many of them must answer; 1 if not given.
        tpm2: the machine's TPM.
    """

    custom: ClevisCustom = ClevisCustom()
    tang: tuple[Tang, ...] = ()
    threshold: Int | None = None
    tpm2: bool | None = None


class Cex(Model):
    """IBM Crypto Express.

    Attributes:
        enabled: use it; s390x only.
    """

    enabled: bool | None = None


class Luks(Model):
    """An encrypted device.

    Attributes:
        cex: a key of an IBM Crypto Express card.
        clevis: what may unlock it without a person.
        device: what is encrypted.
        discard: pass deletions on to the device.
        key_file: the key; a random one if not given.
        label: of the volume, at most 47 bytes.
        name: ``/dev/mapper/NAME``.
        open_options: for opening it.
        options: for formatting it.
        uuid: of the volume.
        wipe_volume: format it whatever is on it.
    """

    UNKEYED = frozenset({"options"})

    cex: Annotated[Cex, V3_5] = Cex()
    clevis: Clevis = Clevis()
    device: str | None = None
    discard: Annotated[bool | None, V3_4] = None
    key_file: Resource = Resource()
    label: str | None = None
    name: str = ""
    open_options: Annotated[tuple[str, ...], V3_4] = ()
    options: tuple[str, ...] = ()
    uuid: str | None = None
    wipe_volume: bool | None = None

    @property
    def key(self) -> str:
        return self.name
