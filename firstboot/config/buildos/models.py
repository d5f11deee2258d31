"""The settings of ``variant: buildos`` that are more than a text: about files, and smaller things.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from firstboot.config.buildos.model import OwnModel
from firstboot.config.models import HttpHeader, Int, Owner, Verification


class Secret(OwnModel):
    """A value that is named in a config and never written in it.

    Attributes:
        name: what it is called, also as a credential of services.
        file: a file beside the config, when that is compiled.
        env: an environment variable, when the config is compiled.
        credential: a credential that the platform hands to systemd (systemd.exec(5)), at every boot.
        path: where it is put; ``/etc/credstore/NAME`` if not given, where ``LoadCredential=NAME`` finds it.
        user: who may read it; root if not given.
        group: its group; root's if not given.
        mode: permissions, never for everybody; 0600 if not given.
    """

    name: str = ""
    file: str | None = None
    env: str | None = None
    credential: str | None = None
    path: str | None = None
    user: Owner = Owner()
    group: Owner = Owner()
    mode: Int | None = None


class SwapFile(OwnModel):
    """A file to swap to, made when the machine needs it first.

    Attributes:
        path: where it is, below ``/var``; ``/var/swapfile`` if not given.
        size_mib: how large, in MiB.
    """

    path: str | None = None
    size_mib: Int = 0


class RecoveryKey(OwnModel):
    """Who is handed the recovery key of an encrypted state partition, instead of whoever looks at the console.

    Attributes:
        url: the machine sends it there, once, by PUT: JSON with ``machine_id``, ``hostname`` and ``key``.
        http_headers: sent with it.
    """

    url: str = ""
    http_headers: tuple[HttpHeader, ...] = ()


class Parents(OwnModel):
    """The directories between a place that is there and a file, directory or link.

    Attributes:
        below: the directory that they are in, which is left as it is; the home for what is in ``/home/NAME``.
        user: their owner.
        group: their group.
        mode: their permissions; 0755 if not given.
    """

    below: str | None = None
    user: Owner = Owner()
    group: Owner = Owner()
    mode: Int | None = None


class Archive(OwnModel):
    """A tar or zip archive, unpacked into a directory.

    Attributes:
        path: the directory.
        local: the archive, beside the config.
        source: or a URL of it, which the machine fetches; ``oci://HOST/NAME@sha256:DIGEST`` is in a registry.
        http_headers: sent with a request over HTTP.
        special_bits: take over setuid, setgid and sticky bits of what the machine fetches.
        strip: so many leading parts of each name in it are left out.
        user: the owner of everything in it.
        group: the group of everything in it.
        verification: what the archive must be.
    """

    path: str = ""
    local: str | None = None
    source: str | None = None
    http_headers: tuple[HttpHeader, ...] = ()
    special_bits: bool | None = None
    strip: Int | None = None
    user: Owner = Owner()
    group: Owner = Owner()
    verification: Verification = Verification()
