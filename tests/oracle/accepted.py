"""Where our tree differs from dpkg's and should: each difference once, with its reason.

:data:`ACCEPTED` is about paths, :data:`FORMS` about bytes that mean the same. Both are checked: an entry that explains
nothing in a set that has its package makes the test fail, so none outlives its reason.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import translate

from builder.tree.tree import Tree
from tests.oracle.compare import Difference

MISSING, EXTRA = ("missing",), ("extra",)


@dataclass(frozen=True)
class Accepted:
    """A difference that is as it should be.

    Attributes:
        paths: globs, in which ``*`` crosses ``/``.
        what: the kinds of :class:`~tests.oracle.compare.Difference`.
        package: whose it is, or several with ``|``; the entry counts only in sets that have one of them.
        without: and not in sets that have this one.
        wherever: it counts in every set, and must explain something in those that have one of the packages.
    """

    paths: tuple[str, ...]
    what: tuple[str, ...]
    reason: str
    package: str = "base-files"
    wherever: bool = False
    without: str = ""

    def matches(self, difference: Difference) -> bool:
        """Whether this explains a difference."""
        return difference.what in self.what and any(re.match(translate(glob), difference.path) for glob in self.paths)


ACCEPTED = (
    # What mmdebstrap itself leaves behind.
    Accepted(
        ("/etc/apt/*", "/var/lib/apt*", "/var/cache/apt*", "/var/log/apt"),
        MISSING,
        "mmdebstrap's apt works in the tree from outside; no package of the set has these",
    ),
    Accepted(("/etc/hostname",), MISSING, "the name of the machine that ran mmdebstrap"),
    Accepted(
        ("/etc/resolv.conf", "/etc/.resolv.conf.systemd-resolved.bak"),
        ("missing", "type"),
        "the resolver of the machine that ran mmdebstrap, and where systemd-resolved's script moved it",
    ),
    Accepted(("/etc/fstab",), ("missing", "content"), "mmdebstrap's remark that nothing is mounted; ours says what is"),
    Accepted(("/dev/*",), MISSING, "the kernel makes devices (devtmpfs) and only root could have made these"),
    # What dpkg and its helpers keep for their own work on a system that changes.
    Accepted(
        ("/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*", "/var/lib/dpkg/triggers/Lock"),
        MISSING,
        "backups and locks of a database that is never written again",
    ),
    Accepted(
        ("/etc/xml/*.old", "/etc/sgml/*.old", "/var/lib/sgml-base/*.old"),
        MISSING,
        "what a catalog was before its last entry was added",
        package="xml-core|sgml-base",
    ),
    Accepted(
        ("/var/cache/debconf/*",),
        MISSING,
        "questions are answered when the image is built, by the template's default; nobody is asked a second time",
    ),
    Accepted(
        ("/var/lib/systemd/deb-systemd-*helper-*",),
        MISSING,
        "deb-systemd-helper's memory for the next upgrade; what starts is decided by preset files",
    ),
    Accepted(
        ("/usr/lib/systemd/*-preset", "/usr/lib/systemd/*-preset/80-packages.preset", "/usr/lib/systemd/*-preset/99-*"),
        EXTRA,
        "what packages enable, as preset files, so that a definition can decide otherwise",
    ),
    Accepted(
        ("/etc/systemd/system/*", "/etc/systemd/user/*"),
        ("target",),
        "systemctl writes /usr/lib where deb-systemd-helper writes /lib, which is a link to it",
    ),
    Accepted(
        ("/var/lib/pam/*",),
        MISSING,
        "pam-auth-update's memory of what it wrote, to know an administrator's words from its own at an upgrade",
        package="libpam-runtime",
    ),
    Accepted(
        ("/var/lib/ucf/*",),
        ("missing", "content"),
        "ucf's memory of what it installed, for the question it asks at an upgrade",
        package="ucf",
    ),
    Accepted(
        ("/etc/*-", "/etc/.pwd.lock"),
        MISSING,
        "what accounts were before the last one was added, and the lock for that",
        package="systemd|adduser",
    ),
    Accepted(
        ("/etc/rc[0-6S].d/*", "/etc/rc[0-6S].d"),
        MISSING,
        "links for SysV's init, which is not in the image; systemd has units",
        package="procps|cron",
        wherever=True,
    ),
    Accepted(
        ("/boot/initrd.img-*", "/initrd.img*", "/vmlinuz*"),
        MISSING,
        "build-os makes its own initrd; it and the kernel are one EFI program, and nothing boots by these names",
        package="linux-image-amd64|linux-image-cloud-amd64",
    ),
    Accepted(
        ("/etc/shadow", "/etc/gshadow"),
        ("mode", "group", "content"),
        "without passwd, dpkg's have only the accounts that systemd-sysusers added; ours have all",
        package="systemd|systemd-standalone-sysusers",
        without="passwd",
    ),
    # What belongs to one machine.
    Accepted(
        ("/etc/machine-id",),
        MISSING,
        "one image, many machines: the stage 'identity' leaves it unset",
        package="systemd",
    ),
    Accepted(
        ("/etc/ssh/ssh_host_*_key*",),
        MISSING,
        "host keys are made on the machine; in an image everybody would have them",
        package="openssh-server",
    ),
    Accepted(
        ("/etc/ssl/certs/*.0",),
        MISSING,
        "the link by the hash of a certificate that every machine makes for itself",
        package="ssl-cert",
    ),
    Accepted(
        ("/etc/runit*",),
        EXTRA,
        "runit-helper does nothing where policy-rc.d forbids to start services, as mmdebstrap's does",
        package="runit-helper",
    ),
    Accepted(
        ("/var/log/munin/munin-node-configure.log",),
        MISSING,
        "a log of the installation, with its time",
        package="munin-node",
    ),
    Accepted(
        ("/etc/console-setup/cached_*",),
        MISSING,
        "console-setup.service makes them where they are missing: the keymap and font of the console that is there",
        package="console-setup-linux",
    ),
    # systemd at work on the machine that is installed.
    Accepted(
        (
            "/etc/systemd/system/ctrl-alt-del.target",
            "/etc/systemd/system/dbus-org.freedesktop.network1.service",
            "/etc/systemd/system/*/systemd-*",
            "/etc/systemd/system/*/remote-cryptsetup.target",
            "/etc/systemd/system/*.wants",
            "/etc/systemd/user/*.wants",
            "/etc/systemd/user/*/systemd-*",
        ),
        EXTRA,
        "systemd's own presets (90-systemd.preset), which a machine without a machine-id applies at its first boot",
        package="systemd",
    ),
    # Indexes and bytecode.
    Accepted(
        ("/var/cache/man/*",),
        MISSING,
        "the index of manuals: man-db.timer makes it on the machine, where there are manuals at all",
        package="man-db",
    ),
    Accepted(
        ("/var/cache/fontconfig*", "/var/log/fontconfig.log"),
        ("missing", "content"),
        "it holds the times of directories, which a sealed image does not have; programs make it for themselves",
        package="fontconfig",
    ),
    Accepted(
        ("/usr/lib/python3*/test/*__pycache__*", "/usr/lib/python3*/tests/*__pycache__*"),
        MISSING,
        "test suites are not compiled: nobody imports them",
        package="python3.13",
    ),
)
DECLARED = Accepted(
    (),
    ("missing", "mode", "owner", "group", "xattrs"),
    "declared in the image's tmpfiles.d, which is carried out at every boot; dpkg's scripts carry it out at once",
)
OWN_DATA = Accepted(
    (),
    MISSING,
    "a secret or databases with an identity: every machine makes its own at its first boot, by own-data-*.service",
)
OWN_UNITS = Accepted(
    ("/usr/lib/build-os*", "/usr/lib/systemd/system/*own-data-*", "/usr/lib/systemd/system/*.wants"),
    EXTRA,
    "the units and programs for that",
)


def own_data(tree: Tree) -> frozenset[str]:
    """The paths that units ``own-data-PACKAGE.service`` make."""
    room = "/usr/lib/systemd/system"
    names = tree.children(room) if room in tree else []
    return frozenset(
        line.removeprefix("X-Makes=")
        for name in names
        if name.startswith("own-data-")
        for line in tree.read_text(f"{room}/{name}").splitlines()
        if line.startswith("X-Makes=")
    )


def declared(tree: Tree) -> frozenset[str]:
    """The paths that ``tmpfiles.d(5)`` of the tree speaks for, and the directories on the way to them."""
    room = "/usr/lib/tmpfiles.d"
    found = set()
    for name in tree.children(room) if room in tree else ():
        for line in tree.read_text(f"{room}/{name}").splitlines():
            words = line.split()
            if len(words) > 1 and not line.startswith("#"):
                path = tree.resolve(words[1], follow_last=False) if words[1].startswith("/") else ""
                while path:
                    found.add(path)
                    path = path.rpartition("/")[0]
    return frozenset(found)


def explain(
    differences: Iterable[Difference], installed: Collection[str], tree: Tree
) -> tuple[list[Difference], dict[Accepted, int], list[Accepted]]:
    """Differences that nothing explains; how many each entry explains; entries that should have and did not.

    Args:
        installed: the names of the set's packages.
        tree: ours.
    """
    expected = [
        entry
        for entry in ACCEPTED
        if any(name in installed for name in entry.package.split("|")) and entry.without not in installed
    ]
    entries = [entry for entry in ACCEPTED if entry.wherever or entry in expected]
    counts = dict.fromkeys(expected, 0)
    at_boot, own = declared(tree), own_data(tree)
    counts |= dict.fromkeys((OWN_DATA, OWN_UNITS) if own else (), 0)
    rest = []
    for difference in differences:
        found = next((entry for entry in entries if entry.matches(difference)), None)
        if found is None and difference.path in at_boot and difference.what in DECLARED.what:
            found = DECLARED
            counts.setdefault(DECLARED, 0)
        if found is None and difference.what in MISSING and _is_within(difference.path, own):
            found = OWN_DATA
        if found is None and own and OWN_UNITS.matches(difference):
            found = OWN_UNITS
        if found is None:
            rest.append(difference)
        else:
            counts[found] = counts.get(found, 0) + 1
    return rest, counts, [entry for entry in expected if not counts[entry]]


def _is_within(path: str, own: Collection[str]) -> bool:
    """Whether a machine makes a path: it is one that a unit names, below it, or on the way to it."""
    return any(
        path == each
        or path.startswith(f"{each.removesuffix('/*')}/")
        or (each.startswith(f"{path}/") and not each.endswith("/*"))
        for each in own
    )


@dataclass(frozen=True)
class Form:
    """Bytes that mean the same, brought into one form before they are compared."""

    path: str
    reason: str
    form: Callable[[bytes], bytes]


def _lines(data: bytes) -> bytes:
    return b"".join(sorted(data.splitlines(keepends=True)))


def _stanzas(size: int) -> Callable[[bytes], bytes]:
    def form(data: bytes) -> bytes:
        lines = data.splitlines()
        return b"\n".join(sorted(b"\n".join(lines[at : at + size]) for at in range(0, len(lines), size)))

    return form


def _accounts(*numbers: int) -> Callable[[bytes], bytes]:
    """Lines of passwd(5) and the like in order, without numbers that are given out one after the other."""

    def form(data: bytes) -> bytes:
        rows = []
        for line in data.splitlines():
            fields = line.split(b":")
            fields[1] = b""  # "x" says that the password, if any, is in shadow, and "*" that there is none
            for number in numbers:
                if 100 <= int(fields[number]) < 1000:
                    fields[number] = b"dynamic"
            rows.append(b":".join(fields))
        return b"\n".join(sorted(rows))

    return form


def _shadow(data: bytes) -> bytes:
    rows = [line.split(b":") for line in data.splitlines()]
    return b"\n".join(sorted(b":".join([row[0], b"" if row[1][:1] in b"*!" else row[1]]) for row in rows))


def _bytecode(data: bytes) -> bytes:
    """A module's code without the header (PEP 552), which says when it counts as stale."""
    return data[16:]


def _key_store(data: bytes) -> bytes:
    """A JKS file's entries in order, without the times at which they were added and the checksum."""
    count, at, rows = struct.unpack_from(">I", data, 8)[0], 12, []
    for _ in range(count):
        alias = struct.unpack_from(">H", data, at + 4)[0]
        name_end = at + 6 + alias
        start = name_end + 8
        kind = struct.unpack_from(">H", data, start)[0]
        end = start + 2 + kind + 4 + struct.unpack_from(">I", data, start + 2 + kind)[0]
        rows.append(data[at:name_end] + data[start:end])
        at = end
    return b"".join(sorted(rows))


ORDER = "written in the order in which packages happened to be configured"
FORMS = (
    Form(
        "/etc/passwd", "dynamic numbers and the order of lines follow from the order of configuration", _accounts(2, 3)
    ),
    Form("/etc/group", "as /etc/passwd", _accounts(2)),
    Form("/etc/shadow", "as /etc/passwd; no account has a password, and no day on which it was changed", _shadow),
    Form("/etc/gshadow", "as /etc/passwd", _lines),
    Form("/etc/shells", ORDER, _lines),
    Form("/var/lib/dpkg/triggers/*", ORDER, _lines),
    Form("/var/lib/dpkg/diversions", ORDER, _stanzas(3)),
    Form("/var/lib/dpkg/statoverride", ORDER, _lines),
    Form("/var/lib/ucf/*", ORDER, _lines),
    Form("*.pyc", "bytecode that does not look at times; all else in it is the same", _bytecode),
    Form("/etc/ssl/certs/java/cacerts", "an order that is Java's, and the times of the build", _key_store),
)


def canonical(path: str, data: bytes) -> bytes:
    """The bytes of a file as they are compared."""
    return next((form.form(data) for form in FORMS if re.match(translate(form.path), path)), data)
