"""dpkg's database, as dpkg would have left it: what ``dpkg -l``, ``dpkg -S`` and scanners of packages read.

``status`` and ``info/*`` are written byte by byte as dpkg writes them, so that nothing tells an assembled system from
an installed one. What scripts record (alternatives, diversions) is written by the handlers of those subjects.

Source: dpkg's ``lib/dpkg/dump.c``, ``parse.c`` (the order of fields), ``trigdeferred.c`` and ``triglib.c``;
deb-triggers(5), deb-conffiles(5).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from builder.debian.control import parse_relations
from builder.debian.pack import Pack
from builder.debian.unpack import can_overwrite
from builder.tree.node import Kind, make_directory, make_file
from builder.tree.tree import Tree

ORIGIN = "stage:packages"
DIRECTORY = "/var/lib/dpkg"
# Fields that dpkg knows, in its order; all others follow in the order of the control file.
BEFORE = (
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
)
RELATIONS = frozenset(
    ("Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts", "Enhances")
)
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
# deb-triggers(5): whether the package that triggers waits for the one that is interested.
INTERESTS = {"interest": "", "interest-await": "", "interest-noawait": "/noawait"}


def install_database(tree: Tree, packs: Sequence[Pack]) -> None:
    """Write the record of these packages as installed. Only what is in ``packs`` is recorded, in their names' order."""
    ordered = sorted(packs, key=lambda pack: pack.name)
    native = next((pack.package.architecture for pack in ordered if pack.package.architecture != "all"), "all")
    for name in ("info", "alternatives", "parts", "triggers", "updates"):
        tree.put(f"{DIRECTORY}/{name}", make_directory(origin=ORIGIN))
    texts = {
        "status": "".join(f"{stanza}\n" for stanza in map(make_status_stanza, ordered)),
        "arch": f"{native}\n",
        "arch-native": f"{native}\n",
        "info/format": "1\n",
    }
    texts |= {f"triggers/{name}": text for name, text in _interests(ordered).items()}
    for name, text in texts.items():
        tree.put(f"{DIRECTORY}/{name}", make_file(_encoded(text), origin=ORIGIN))
    lost = _lost_paths(ordered)
    for pack in ordered:
        base = f"{DIRECTORY}/info/{make_info_name(pack)}"
        for name, data in pack.files.items():
            tree.put(f"{base}.{name}", make_file(data, 0o755 if name in SCRIPTS else 0o644, origin=ORIGIN))
        paths = (m.path for m in pack.members if m.path not in lost.get(pack.name, ()))
        text = "".join(f"{'/.' if path == '/' else path}\n" for path in paths)
        tree.put(f"{base}.list", make_file(_encoded(text), origin=ORIGIN))


def make_info_name(pack: Pack) -> str:
    """A package's name in ``info/``: with its architecture if several of them may be installed beside each other."""
    return f"{pack.name}:{pack.package.architecture}" if pack.control.get("Multi-Arch") == "same" else pack.name


def make_status_stanza(pack: Pack) -> str:
    """A package's entry in ``status``."""
    fields = {**pack.control, "Status": "install ok installed", "Conffiles": make_conffiles_field(pack)}
    for name in RELATIONS & fields.keys():
        fields[name] = ", ".join(" | ".join(map(str, group)) for group in parse_relations(fields[name]))
    names = [*BEFORE, *(name for name in fields if name not in BEFORE)]
    lines = []
    for name in names:
        if value := fields.get(name):
            lines.append(f"{name}:{'' if value.startswith(chr(10)) else ' '}{value}\n")
    return "".join(lines)


def make_conffiles_field(pack: Pack) -> str:
    """The field that remembers what configuration files were when they were shipped, by MD5.

    One that an upgrade is to remove is in it too: dpkg writes ``newconffile`` where it has no file to sum up.
    """
    wanted = set(pack.list_conffiles())
    sums = {
        member.path: hashlib.md5(pack.read_member(member), usedforsecurity=False).hexdigest()
        for member in pack.members
        if member.path in wanted and member.kind is Kind.FILE
    }
    lines = []
    for words in map(str.split, (pack.find_script("conffiles") or "").splitlines()):
        match words:
            case ["remove-on-upgrade", path]:
                lines.append(f"\n {path} newconffile remove-on-upgrade")
            case [path] if path in sums:
                lines.append(f"\n {path} {sums[path]}")
            case _:
                pass
    return "".join(lines)


def _interests(packs: Sequence[Pack]) -> Mapping[str, str]:
    """The files of ``triggers/``: who is interested in what, from the packages' own ``triggers`` files."""
    files: dict[str, list[str]] = defaultdict(list)
    files["File"] = []
    files["Unincorp"] = []
    for pack in packs:
        for directive, what in _trigger_lines(pack):
            if directive in INTERESTS:
                who = make_info_name(pack) + INTERESTS[directive]
                files["File" if what.startswith("/") else what].append(f"{what} {who}" if what.startswith("/") else who)
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}


def _trigger_lines(pack: Pack) -> Iterator[tuple[str, str]]:
    for line in (pack.find_script("triggers") or "").splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2:
            yield words[0], words[1]


def _lost_paths(packs: Sequence[Pack]) -> Mapping[str, set[str]]:
    """Package -> files of its that are another package's now, because that one ``Replaces`` it."""
    owners: dict[str, list[Pack]] = defaultdict(list)
    for pack in packs:
        for member in pack.members:
            if member.kind is not Kind.DIRECTORY:
                owners[member.path].append(pack)
    lost: dict[str, set[str]] = defaultdict(set)
    for path, claims in owners.items():
        for pack in claims if len(claims) > 1 else ():
            if any(can_overwrite(other, pack) for other in claims if other is not pack):
                lost[pack.name].add(path)
    return lost


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
