"""Sets of packages that are compared. Those of one set can be installed together.

No package here needs a decision of the definition: one that does has a script that docs/packages.md is about, and what
is left of its tree to compare would be the decision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.definition.load import load

DEMO = Path(__file__).parent.parent.parent / "configs" / "demo.yaml"


def _demo() -> tuple[str, ...]:
    """What the demo names. What it excludes is in the set, because dpkg cannot install itself away."""
    resolved = load(DEMO).resolved
    return (*resolved.packages, resolved.kernel_package)


# Small and quick: compared in every run of the image tests.
QUICK: Mapping[str, tuple[str, ...]] = {
    "minimal": (),
    "demo": _demo(),
    "daemons": ("nginx", "redis-server", "chrony", "openssh-server", "haproxy", "prometheus-node-exporter"),
}
# From the corners of the archive: minutes each, on demand.
SLOW: Mapping[str, tuple[str, ...]] = {
    "servers": (
        "nginx",
        "redis-server",
        "haproxy",
        "memcached",
        "mosquitto",
        "prometheus-node-exporter",
        "etcd-server",
        "chrony",
        "openssh-server",
        "unbound",
        "tor",
    ),
    "databases": (
        "postgresql",
        "mariadb-server",
        "rabbitmq-server",
        "bind9",
        "ssl-cert",
        "nfs-kernel-server",
        "munin-node",
    ),
    "containers": (
        "docker.io",
        "podman",
        "iputils-ping",
        "mtr-tiny",
        "wireshark-common",
        "man-db",
        "git",
        "vim-tiny",
        "console-setup",
        "keyboard-configuration",
        "sudo",
        "zsh",
        "tmux",
        "cron",
        "rsyslog",
        "logrotate",
    ),
    "mail": (
        "samba",
        "opendkim",
    ),
    "services": (
        "dovecot-imapd",
        "exim4-daemon-light",
        "squid",
        "proftpd-core",
        "openvpn",
        "strongswan-starter",
        "freeradius",
        "prometheus",
        "tomcat10",
        "cups",
    ),
    "desktop": (
        "fontconfig",
        "fonts-dejavu",
        "libgtk-3-0t64",
        "shared-mime-info",
        "desktop-file-utils",
        "gsettings-desktop-schemas",
        "wamerican",
        "avahi-daemon",
        "polkitd",
        "network-manager",
        "dbus-x11",
        "librsvg2-common",
    ),
    "apps": (
        "apache2",
        "snmpd",
        "certbot",
        "fail2ban",
        "supervisor",
        "zabbix-agent",
        "collectd-core",
        "python3-flask",
    ),
    "localised": (
        "locales",
        "console-setup",
        "keyboard-configuration",
        "dictionaries-common",
        "wamerican",
        "aspell-en",
        "hunspell-en-us",
    ),
    "languages": (
        "php-cli",
        "php-fpm",
        "default-jre-headless",
        "ruby",
        "libxml-sax-expat-perl",
        "lua5.4",
        "tcl",
        "python3-pip",
        "guile-3.0",
        "nodejs",
    ),
    "editors": ("emacs-nox", "vim", "nano", "ne", "joe", "binfmt-support"),
    "display": (
        "xfonts-base",
        "xfonts-utils",
        "fonts-noto-core",
        "fonts-liberation",
        "xserver-xorg-core",
        "lightdm",
        "desktop-base",
        "plymouth",
    ),
}
