"""Which program reads what a config may write: without it the file has no effect."""

from __future__ import annotations

from typing import NamedTuple

from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.update_words import SETTINGS_FILE
from firstboot.engine.keyfiles import KEYFILES, NETWORK_MANAGER


class Reader(NamedTuple):
    """Who reads a file, or what is in a directory.

    Attributes:
        paths: of files, or of directories with their slash.
        program: is there if its package is.
        what: does it.
        hint: how to have it, or what to do instead.
    """

    paths: tuple[str, ...]
    program: str
    what: str
    hint: str


def _reads(program: str, hint: str, *paths: str) -> Reader:
    return Reader(paths, program, "reads it", hint)


def _package(name: str) -> str:
    return f"add the package {name} to the image's definition"


_UPDATES = "nothing on the machine updates it: a new image does"
_LAYERS = "packages belong to the image: add them to its definition"
_NETWORK = "'network:' of variant: buildos, or .network files in /etc/systemd/network"
READERS = (
    Reader(
        (QUADLETS[0],),
        "/usr/lib/systemd/system-generators/podman-system-generator",
        "makes a unit of it",
        "add the feature 'podman' to the image's definition",
    ),
    Reader(("/etc/sudoers.d/",), "/usr/bin/sudo", "becomes root by it", _package("sudo")),
    _reads("/usr/sbin/sshd", "add the feature 'ssh' to the image's definition", "/etc/ssh/sshd_config.d/"),
    _reads("/usr/lib/systemd/systemd-timesyncd", _package("systemd-timesyncd"), "/etc/systemd/timesyncd.conf.d/"),
    _reads("/usr/lib/systemd/systemd-resolved", _package("systemd-resolved"), "/etc/systemd/resolved.conf.d/"),
    _reads("/usr/sbin/cron", _package("cron"), "/etc/cron.d/", "/etc/crontab"),
    _reads("/usr/sbin/logrotate", _package("logrotate"), "/etc/logrotate.d/"),
    _reads(
        "/usr/lib/systemd/system-generators/zram-generator",
        _package("systemd-zram-generator"),
        *("/etc/systemd/zram-generator.conf", "/etc/systemd/zram-generator.conf.d/"),
    ),
    _reads("/usr/bin/os-update", "add the feature 'updates' to the image's definition", SETTINGS_FILE),
    _reads("/usr/libexec/zincati", _UPDATES, "/etc/zincati/"),
    _reads("/usr/sbin/update_engine", _UPDATES, "/etc/flatcar/update.conf", "/etc/coreos/update.conf"),
    _reads("/usr/bin/rpm-ostree", _LAYERS, "/etc/rpm-ostreed.conf", "/etc/yum.repos.d/"),
    _reads(NETWORK_MANAGER, _NETWORK, *(f"/etc/NetworkManager/{name}/" for name in ("conf.d", "dispatcher.d"))),
    _reads(NETWORK_MANAGER, _NETWORK, "/etc/NetworkManager/NetworkManager.conf"),
    _reads("/usr/sbin/ifup", _NETWORK, "/etc/network/interfaces", "/etc/network/interfaces.d/"),
    _reads("/usr/sbin/netplan", _NETWORK, "/etc/netplan/"),
    _reads("/usr/sbin/chronyd", _package("chrony"), "/etc/chrony.conf", "/etc/chrony/", "/etc/chrony.d/"),
    _reads("/usr/sbin/dockerd", _package("docker.io"), "/etc/docker/"),
    _reads(
        "/usr/bin/podman",
        "add the feature 'podman' to the image's definition",
        *(f"/etc/containers/{name}" for name in ("containers.conf", "policy.json", "registries.conf", "storage.conf")),
        *(f"/etc/containers/{name}/" for name in ("containers.conf.d", "registries.conf.d", "registries.d")),
    ),
    _reads("/usr/bin/cloud-init", "write it as variant: buildos, or as Butane or Ignition", "/etc/cloud/"),
    _reads("/usr/sbin/nft", _package("nftables"), "/etc/nftables.conf", "/etc/nftables/"),
    _reads("/usr/sbin/iptables-restore", _package("iptables"), "/etc/iptables/", "/etc/sysconfig/iptables"),
    _reads("/usr/sbin/auditctl", _package("auditd"), "/etc/audit/"),
    _reads("/usr/sbin/rsyslogd", _package("rsyslog"), "/etc/rsyslog.conf", "/etc/rsyslog.d/"),
    _reads("/usr/bin/fail2ban-server", _package("fail2ban"), "/etc/fail2ban/"),
)
# Connections of NetworkManager are translated where networkd is (firstboot/engine/keyfiles.py).
WITHOUT_NETWORKD = _reads(NETWORK_MANAGER, _NETWORK, KEYFILES)
