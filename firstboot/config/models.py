"""The Ignition config, all of specs 3.0.0 to 3.7.0-experimental in one set of models.

What differs between versions is data: :class:`Since` on a field says with which version it came; rules that
changed are in :mod:`firstboot.config.checks`. How lists merge is data too: the ``key`` of their elements,
``UNKEYED`` lists and ``SHARED`` key spaces. Sources: Ignition's ``configuration-v3_*`` specifications, and
how it was seen to behave.

Attribute names in snake case are also the names that Butane uses; the aliases are Ignition's. Defaults are
Go's: a missing name is ``""``, everything that may be unset is ``None``. Nothing here says what makes sense.

Annotations are not deferred here (no ``from __future__ import annotations``): evaluating them from text is a
quarter of the time this module takes to import, and it is imported in the guest.
"""

from typing import Annotated, Any

from firstboot.config.model import Between, Device, Model, Since

Int = Annotated[int, Between(-(2**63), 2**63 - 1)]
OWN = Since((99, 0))
"""For what no version of Ignition has: only ``variant: buildos`` says it."""

BLOCK_DEVICES = ("disks", "raid", "lvm", "luks", "filesystems")
"""The parts of ``storage`` that are about them."""

V3_1, V3_2, V3_3, V3_4, V3_5 = (Since((3, minor)) for minor in range(1, 6))


class HttpHeader(Model):
    """A header for an HTTP request; in a merge one without a value removes its parent.

    Attributes:
        name: the header.
        value: what it is; without a value a parent's header is removed.
    """

    name: str = ""
    value: str | None = None

    @property
    def key(self) -> str:
        return self.name


class Verification(Model):
    """What the bytes of a resource must hash to: ``sha256-HEX`` or ``sha512-HEX``.

    Attributes:
        hash: ``sha256-HEX`` or ``sha512-HEX`` of the bytes, after decompression.
    """

    hash: str | None = None


class Resource(Model):
    """Bytes from somewhere. ``source`` is a URL; ``""`` means no bytes, ``None`` no resource.

    Attributes:
        source: a URL: ``data``, ``http``, ``https``, ``tftp``, ``s3``, ``arn`` (from 3.4), ``gs`` (from 3.2).
        compression: ``gzip``, or empty.
        http_headers: sent with a request over HTTP.
        verification: what the bytes must be.
    """

    source: str | None = None
    compression: str | None = None
    http_headers: Annotated[tuple[HttpHeader, ...], V3_1] = ()
    verification: Verification = Verification()

    @property
    def key(self) -> str:
        return self.source or ""


class Reference(Resource):
    """A config or certificate bundle elsewhere; these could not be compressed in 3.0."""

    compression: Annotated[str | None, V3_1] = None


class ConfigSources(Model):
    """Other configs to merge, or one to use instead.

    Attributes:
        merge: configs to merge over this one, in order.
        replace: a config to use instead of this one.
    """

    merge: tuple[Reference, ...] = ()
    replace: Reference = Reference()


class Proxy(Model):
    """HTTP proxies for fetching.

    Attributes:
        http_proxy: for http:// URLs.
        https_proxy: for https:// URLs.
        no_proxy: hosts, domains and networks to reach directly.
    """

    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()


class Tls(Model):
    """Certificate authorities to trust besides the system's.

    Attributes:
        certificate_authorities: bundles of certificates in PEM form.
    """

    certificate_authorities: tuple[Reference, ...] = ()


class Security(Model):
    """How servers are trusted.

    Attributes:
        tls: certificates.
    """

    tls: Tls = Tls()


class Timeouts(Model):
    """Seconds; 0 is for ever.

    Attributes:
        http_response_headers: until a server begins to answer; 10 if not given.
        http_total: for everything about one request, retries included; 0 if not given.
    """

    http_response_headers: Int | None = None
    http_total: Int | None = None


class Ignition(Model):
    """About the config itself.

    Attributes:
        version: of the specification; Butane sets it.
        config: other configs.
        proxy: how to reach servers.
        security: whom to trust.
        timeouts: how long to wait.
    """

    version: str = ""
    config: ConfigSources = ConfigSources()
    proxy: Annotated[Proxy, V3_1] = Proxy()
    security: Security = Security()
    timeouts: Timeouts = Timeouts()


class KernelArguments(Model):
    """Arguments the kernel command line must and must not have.

    Attributes:
        should_exist: arguments to add.
        should_not_exist: arguments to remove.
    """

    SHARED = (("should_exist", "should_not_exist"),)

    should_exist: tuple[str, ...] = ()
    should_not_exist: tuple[str, ...] = ()


class User(Model):
    """A user that must exist, or must not.

    Attributes:
        name: the login name.
        uid: the user id.
        gecos: the full name, or any comment.
        groups: further groups to be in.
        home_dir: the home directory.
        no_create_home: make no home directory.
        no_log_init: leave out lastlog and faillog.
        no_user_group: make no group of the user's name.
        password_hash: as in shadow(5); nobody can log in with a password without one. ``variant: buildos`` refuses
            what crypt(5) does not know, such as the password itself.
        primary_group: the group, instead of one of the user's name.
        shell: the login shell.
        should_exist: ``false`` deletes the user.
        ssh_authorized_keys: public keys that may log in; ``variant: buildos`` refuses one that is not whole.
        system: an account of the system: an id from that range, no ageing.
    """

    name: str = ""
    uid: Int | None = None
    gecos: str | None = None
    groups: tuple[str, ...] = ()
    home_dir: str | None = None
    no_create_home: bool | None = None
    no_log_init: bool | None = None
    no_user_group: bool | None = None
    password_hash: str | None = None
    primary_group: str | None = None
    shell: str | None = None
    should_exist: Annotated[bool | None, V3_2] = None
    ssh_authorized_keys: tuple[str, ...] = ()
    system: bool | None = None

    @property
    def key(self) -> str:
        return self.name


class Group(Model):
    """A group that must exist, or must not.

    Attributes:
        name: the name.
        gid: the group id.
        password_hash: as in gshadow(5); ``variant: buildos`` refuses what crypt(5) does not know.
        should_exist: ``false`` deletes the group.
        system: an id from the range of the system.
    """

    name: str = ""
    gid: Int | None = None
    password_hash: str | None = None
    should_exist: Annotated[bool | None, V3_2] = None
    system: bool | None = None

    @property
    def key(self) -> str:
        return self.name


class Passwd(Model):
    """Users and groups.

    Attributes:
        groups: made before the users.
        users: made or changed.
    """

    SECTIONS = True

    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()


class Owner(Model):
    """A user or a group, by id or by name.

    Attributes:
        id: the number.
        name: the name, as the machine knows it.
    """

    id: Int | None = None
    name: str | None = None


class Node(Model):
    """What files, directories and links have in common.

    Attributes:
        path: where it is, absolute.
        overwrite: remove what is there already.
        user: the owner; root if it is new.
        group: the owning group; root if it is new.
    """

    path: str = ""
    overwrite: bool | None = None
    user: Owner = Owner()
    group: Owner = Owner()

    @property
    def key(self) -> str:
        return self.path


class Directory(Node):
    """A directory.

    Attributes:
        mode: permissions; 0755 if it is new.
    """

    mode: Int | None = None


class File(Node):
    """A regular file.

    Attributes:
        mode: permissions; 0644 if it is new.
        contents: what is in it.
        append: what comes after that, or after what is there.
    """

    UNKEYED = frozenset({"append"})

    mode: Int | None = None
    contents: Resource = Resource()
    append: tuple[Resource, ...] = ()


class Link(Node):
    """A symbolic or hard link.

    Attributes:
        hard: a hard link.
        target: where it leads.
    """

    hard: bool | None = None
    target: str | None = None


class Storage(Model):
    """Everything on disks.

    Attributes:
        archives: what to unpack.
        directories: directories to make.
        disks: partition tables.
        files: files to write.
        filesystems: what to format and mount.
        links: symbolic and hard links.
        luks: encrypted volumes.
        lvm: volume groups.
        raid: software RAIDs.
    """

    SECTIONS = True

    SHARED = (("directories", "files", "links"),)

    archives: Annotated[tuple[Any, ...], OWN, Device("firstboot.config.archive:Archive")] = ()
    directories: tuple[Directory, ...] = ()
    disks: Annotated[tuple[Any, ...], Device("Disk")] = ()
    files: tuple[File, ...] = ()
    filesystems: Annotated[tuple[Any, ...], Device("Filesystem")] = ()
    links: tuple[Link, ...] = ()
    luks: Annotated[tuple[Any, ...], V3_2, Device("Luks")] = ()
    lvm: Annotated[tuple[Any, ...], OWN, Device("VolumeGroup")] = ()
    raid: Annotated[tuple[Any, ...], Device("Raid")] = ()


class Dropin(Model):
    """A piece of configuration added to a unit.

    Attributes:
        name: the file name, ending in ``.conf``.
        contents: the text.
    """

    name: str = ""
    contents: str | None = None

    @property
    def key(self) -> str:
        return self.name


class Unit(Model):
    """A systemd unit.

    Attributes:
        name: with its suffix: ``app.service``.
        contents: the text of the unit.
        dropins: files in ``NAME.d/``.
        enabled: started in every boot, or not.
        mask: never started, whoever asks.
    """

    name: str = ""
    contents: str | None = None
    dropins: tuple[Dropin, ...] = ()
    enabled: bool | None = None
    mask: bool | None = None

    @property
    def key(self) -> str:
        return self.name


class Systemd(Model):
    """Units.

    Attributes:
        units: units to write, enable, disable or mask.
    """

    SECTIONS = True

    units: tuple[Unit, ...] = ()


class Config(Model):
    """A whole machine config.

    Attributes:
        ignition: about the config itself.
        kernel_arguments: of the kernel command line.
        passwd: users and groups.
        storage: disks and files.
        systemd: units.
    """

    SECTIONS = True

    ignition: Ignition = Ignition()
    kernel_arguments: Annotated[KernelArguments, V3_3] = KernelArguments()
    passwd: Passwd = Passwd()
    storage: Storage = Storage()
    systemd: Systemd = Systemd()

    @property
    def has_devices(self) -> bool:
        """Whether it is about block devices."""
        return any(getattr(self.storage, name) for name in BLOCK_DEVICES)
