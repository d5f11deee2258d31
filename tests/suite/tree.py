"""What is promised of the demo's root before it ever boots: checks of the tree."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from io import BytesIO

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from builder.tree.node import Kind, Node
from builder.tree.tree import Tree
from tests.suite.checking import Checks, table

check = CHECKS = Checks[Tree]()

PRIVILEGED = {
    "/usr/bin/mount",
    "/usr/bin/newgidmap",
    "/usr/bin/newuidmap",
    "/usr/bin/su",
    "/usr/bin/umount",
    "/usr/sbin/unix_chkpwd",
}
STICKY = {"/tmp", "/var/tmp"}
MERGED = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
# Links of Debian's own that lead nowhere until a machine makes what they name, or whose man pages are left out.
DANGLING = re.compile(
    r"/etc/(vconsole\.conf|default/locale|mtab)|/usr/share/zoneinfo/localtime|.*/alternatives/[\w.-]+\.\d\.gz|.*/alternatives/which\.\w+1\.gz"
    r"|/usr/share/factory/.*|/usr/lib/modules/[^/]+/(build|source)"
)
# Where a machine makes what the image does not have.
ELSEWHERE = ("/run/", "/proc/", "/dev/", "/var/", "/sys/", "/tmp/")
SHELLS = {"root": "/bin/bash", "sync": "/bin/sync"}
CONTAINERS = "/usr/lib/build-os/container-images"
SECRETS = (b"PRIVATE KEY-----", b"AGE-SECRET-KEY-")
BYTECODE = re.compile(r"(.*)/__pycache__/([^/]+)\.cpython-313\.pyc")
UNCHECKED_HASH = 1  # PEP 552: never compared with its source
LOADER_PATHS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib")


def ours(tree: Tree) -> Iterator[tuple[str, Node]]:
    """Everything but what is inside containers."""
    return ((path, node) for path, node in tree.walk() if not path.startswith(CONTAINERS))


# Files


@check
def no_program_has_other_rights_but_the_known_ones(tree: Tree) -> None:
    assert {path for path, node in ours(tree) if node.is_privileged} == PRIVILEGED


@check
def no_program_has_capabilities(tree: Tree) -> None:
    assert [path for path, node in ours(tree) if "security.capability" in dict(node.xattrs)] == []


@check
def nothing_can_be_written_by_others(tree: Tree) -> None:
    open_ = {path for path, node in ours(tree) if node.kind in "fd" and node.mode & 0o022 and path not in STICKY}
    assert open_ == set()


@check
def sticky_directories_are_sticky(tree: Tree) -> None:
    assert {path for path, node in ours(tree) if node.kind is Kind.DIRECTORY and node.mode & 0o1000} <= STICKY


@check
def there_are_no_devices(tree: Tree) -> None:
    assert [path for path, node in ours(tree) if node.kind in "cbp"] == []


@check
def links_lead_somewhere(tree: Tree) -> None:
    lost = []
    for path, node in ours(tree):
        if node.kind is Kind.SYMLINK and not DANGLING.fullmatch(path):
            where = tree.resolve(path)
            if tree.get(where) is None and not f"{where}/".startswith(ELSEWHERE):
                lost.append(f"{path} -> {node.target}")
    assert lost == []


@check
def names_are_readable(tree: Tree) -> None:
    odd = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")
    assert [path for path, _ in ours(tree) if odd.search(path)] == []


@check
def everything_was_put_there_by_somebody(tree: Tree) -> None:
    assert [
        path for path, node in ours(tree) if not re.match(r"(package|overlay|stage|container|wheel):", node.origin)
    ] == []


@check
def directories_are_merged(tree: Tree) -> None:
    assert {path: tree.require(path, follow=False).target for path in MERGED} == MERGED


@check
def programs_can_be_run_by_everybody(tree: Tree) -> None:
    wrong = []
    for directory in ("/usr/bin", "/usr/sbin"):
        for name in tree.list_children(directory):
            node = tree.get(f"{directory}/{name}", follow=True)
            if node is not None and node.kind is Kind.FILE and not node.mode & 0o001:
                wrong.append(f"{directory}/{name}")
    assert wrong == []


@check
def libraries_are_there(tree: Tree) -> None:
    have = {name for path in LOADER_PATHS for name in tree.list_children(path)}
    missing = {}
    for directory in ("/usr/bin", "/usr/sbin", *LOADER_PATHS):
        for name in tree.list_children(directory):
            node = tree.get(f"{directory}/{name}")
            if node is not None and node.kind is Kind.FILE and (lacks := needed(node) - have):
                missing[f"{directory}/{name}"] = sorted(lacks)
    assert missing == {}


def needed(node: Node) -> set[str]:
    """The libraries that a program is linked with and that lie where the loader always looks."""
    data = node.content.read()
    if data[:4] != b"\x7fELF":
        return set()
    try:
        elf = ELFFile(BytesIO(data))
        dynamic = elf.get_section_by_name(".dynamic")
        if not isinstance(dynamic, DynamicSection):
            return set()
        tags = list(dynamic.iter_tags())
    except (ELFError, struct.error):
        return set()
    if any(tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH") for tag in tags):
        return set()
    return {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} - {"ld-linux-x86-64.so.2"}


@check
def bytecode_is_complete_and_never_stale(tree: Tree) -> None:
    sources = {path for path, _ in ours(tree) if re.match(r"/usr/lib/python3(\.13)?/.*\.py$", path)}
    compiled = {}
    for path, node in ours(tree):
        if (match := BYTECODE.fullmatch(path)) and path.startswith("/usr/lib/python3"):
            compiled[f"{match[1]}/{match[2]}.py"] = node
    # Some files of the standard library are examples of what cannot be compiled.
    assert {path for path in sources - compiled.keys() if "/lib2to3/" not in path and "/test/" not in path} == set()
    stale = [path for path, node in compiled.items() if node.content.read()[4] != UNCHECKED_HASH]
    assert stale == []


@check
def nothing_is_there_only_to_be_read_by_people(tree: Tree) -> None:
    found = [
        path
        for path, node in ours(tree)
        if node.kind is Kind.FILE and path.startswith(("/usr/share/man/", "/usr/share/info/"))
    ]
    documents = [path for path, node in ours(tree) if node.kind is Kind.FILE and path.startswith("/usr/share/doc/")]
    assert found == []
    assert [path for path in documents if not path.endswith("/copyright")] == []


# Identity and secrets


@check
def the_image_is_nobody_yet(tree: Tree) -> None:
    assert tree.read_text("/etc/machine-id") == "uninitialized\n"
    own = re.compile(
        r"/etc/ssh/ssh_host_.*|/var/lib/systemd/random-seed|/etc/hostname|.*/authorized_keys|/etc/crypttab"
    )
    assert [path for path, _ in ours(tree) if own.fullmatch(path)] == []


@check
def the_image_has_no_secrets(tree: Tree) -> None:
    found = []
    for path, node in ours(tree):
        if node.kind is Kind.FILE and path.startswith(("/etc/", "/usr/share/factory/")) and node.size < 1 << 20:
            data = node.content.read()
            found += [path for secret in SECRETS if secret in data]
    assert found == []


@check
def the_image_says_what_it_is(tree: Tree) -> None:
    release = dict(line.split("=", 1) for line in tree.read_text("/etc/os-release").splitlines() if line)
    assert (release["ID"], release["IMAGE_ID"], release["IMAGE_VERSION"]) == ("debian", "demo", "1.0.0")


@check
def all_packages_are_on_record(tree: Tree) -> None:
    status = tree.read_text("/usr/lib/sysimage/dpkg/status")
    stanzas = [dict(re.findall(r"^(Package|Status): (.+)$", stanza, re.MULTILINE)) for stanza in status.split("\n\n")]
    recorded = [stanza["Package"] for stanza in stanzas if stanza.get("Status") == "install ok installed"]
    known = json.loads(tree.read("/usr/lib/build-os/image.json"))["packages"]
    assert sorted(recorded) == sorted(package["name"] for package in known)


@check
def nothing_installs_packages(tree: Tree) -> None:
    assert [path for path in ("/usr/bin/apt", "/usr/bin/apt-get", "/usr/bin/dpkg") if path in tree] == []


# Users


@check
def nobody_has_a_password(tree: Tree) -> None:
    shadow = table(tree.read_text("/etc/shadow"))
    assert [name for name, fields in shadow.items() if not fields[1].startswith(("*", "!"))] == []


@check
def nobody_has_a_shell_who_does_not_need_one(tree: Tree) -> None:
    users = table(tree.read_text("/etc/passwd"))
    assert {name: fields[6] for name, fields in users.items() if not fields[6].endswith(("nologin", "false"))} == SHELLS


@check
def users_and_groups_are_one_each(tree: Tree) -> None:
    for path in ("/etc/passwd", "/etc/group"):
        lines = [line.split(":") for line in tree.read_text(path).splitlines()]
        assert len({fields[0] for fields in lines}) == len({fields[2] for fields in lines}) == len(lines), path


@check
def users_have_their_lines_in_shadow(tree: Tree) -> None:
    assert table(tree.read_text("/etc/passwd")).keys() == table(tree.read_text("/etc/shadow")).keys()
    assert table(tree.read_text("/etc/group")).keys() == table(tree.read_text("/etc/gshadow")).keys()


@check
def secrets_of_users_are_for_root(tree: Tree) -> None:
    for path in ("/etc/shadow", "/etc/gshadow"):
        node = tree.require(path)
        assert (node.mode, node.uid, node.gid) == (0o640, 0, 42), path


@check
def owners_exist(tree: Tree) -> None:
    users = {int(fields[2]) for fields in table(tree.read_text("/etc/passwd")).values()}
    groups = {int(fields[2]) for fields in table(tree.read_text("/etc/group")).values()}
    assert [path for path, node in ours(tree) if node.uid not in users or node.gid not in groups] == []


# Units


@check
def enabled_units_exist(tree: Tree) -> None:
    lost = []
    for path, node in ours(tree):
        if node.kind is Kind.SYMLINK and re.fullmatch(
            r"/(etc|usr/lib)/systemd/(system|user)/[^/]+\.(wants|requires)/[^/]+", path
        ):
            where = tree.resolve(path)
            template = re.sub(r"@[^/]*(?=\.[a-z]+$)", "@", where)
            if tree.get(where) is None and tree.get(template) is None:
                lost.append(path)
    assert lost == []


@check
def programs_of_enabled_units_exist(tree: Tree) -> None:
    lost = []
    for path, node in ours(tree):
        if node.kind is Kind.SYMLINK and re.fullmatch(
            r"/(etc|usr/lib)/systemd/system/[^/]+\.wants/[^/]+\.service", path
        ):
            unit = tree.get(path, follow=True)
            text = unit.content.read().decode() if unit is not None else ""
            for line in re.findall(r"^ExecStart=[@+!:]*(/(?:.*\\\n)*.*)", text, re.MULTILINE):
                # The first word, and what a shell is told to start.
                for program in {line.split()[0], *re.findall(r"(?<=[\s'])/usr/s?bin/[\w.+-]+", line)}:
                    if tree.get(program, follow=True) is None:
                        lost.append(f"{path}: {program}")
    assert lost == []


@check
def what_should_start_is_enabled(tree: Tree) -> None:
    wants = "/etc/systemd/system/multi-user.target.wants"
    assert {"ssh.service", "systemd-networkd.service"} <= set(tree.list_children(wants))


# Kernel


@check
def the_kernel_has_its_modules(tree: Tree) -> None:
    [version] = tree.list_children("/usr/lib/modules")
    for name in ("modules.dep", "modules.dep.bin", "modules.alias.bin"):
        assert tree.require(f"/usr/lib/modules/{version}/{name}").size > 1000, name
    listed = re.findall(r"^(\S+):", tree.read_text(f"/usr/lib/modules/{version}/modules.dep"), re.MULTILINE)
    assert [name for name in listed if tree.get(f"/usr/lib/modules/{version}/{name}") is None] == []
