"""The root broken on purpose, in each way that a check is there for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree
from tests.suite.checking import Mutation, breaks
from tests.suite.units import OURS, SYSTEM

ORIGIN = "overlay:mutation"


def put(path: str, node: Node) -> Callable[[Tree], object]:
    return lambda tree: tree.put(path, node)


def change(path: str, **fields: object) -> Callable[[Tree], object]:
    return lambda tree: tree.change(path, **fields)


def remove(path: str) -> Callable[[Tree], object]:
    return lambda tree: tree.remove(path)


def append(path: str, text: str, tree: Tree) -> None:
    node = tree.require(path)
    tree.put(
        path, make_file(node.content.read() + text.encode(), node.mode, origin=node.origin, uid=node.uid, gid=node.gid)
    )


def replace(path: str, old: str, new: str, tree: Tree) -> None:
    node = tree.require(path)
    text = node.content.read().decode()
    assert old in text
    tree.put(path, make_file(text.replace(old, new, 1), node.mode, origin=node.origin, uid=node.uid, gid=node.gid))


def any_module(tree: Tree) -> str:
    return next(path for path, _ in tree.walk("/usr/lib/modules") if path.endswith((".ko", ".ko.xz", ".ko.zst")))


def some_bytecode(tree: Tree) -> str:
    return next(path for path, _ in tree.walk("/usr/lib/python3.13/json") if path.endswith(".pyc"))


def flag_bytecode(tree: Tree) -> None:
    path = some_bytecode(tree)
    data = bytearray(tree.read(path))
    data[4] = 0
    tree.put(path, make_file(bytes(data), origin=ORIGIN))


def unit(name: str, text: str) -> Callable[[Tree], object]:
    return put(f"{SYSTEM}/{name}", make_file(text, origin=OURS))


# Roots whose units are wrong: systemd is asked about each, which takes a second.
UNIT_MUTATIONS: dict[str, Mutation[Callable[[Tree], object]]] = {
    "a setting that does not exist": breaks(
        partial(append, f"{SYSTEM}/ssh.service", "\n[Service]\nNonsense=1\n"), "systemd_understands_every_unit"
    ),
    "a value that makes no sense": breaks(
        partial(append, f"{SYSTEM}/tmp.mount", "\n[Unit]\nConditionPathExists=relative\n"),
        "systemd_understands_every_unit",
    ),
    "a program that is gone": breaks(
        remove("/usr/sbin/nft"), "systemd_understands_every_unit", "programs_of_enabled_units_exist"
    ),
    "a mount under another's name": breaks(
        unit("srv.mount", "[Mount]\nWhat=tmpfs\nWhere=/opt\nType=tmpfs\n"), "systemd_understands_every_unit"
    ),
    "a service that may do anything": breaks(
        unit("anything.service", "[Service]\nExecStart=/usr/bin/cat\n"),
        "services_of_ours_can_do_little_but_what_they_are_for",
    ),
    "a service with more rights": breaks(
        partial(replace, f"{SYSTEM}/state-grow.service", "CapabilityBoundingSet=CAP_SYS_RESOURCE\n", ""),
        "services_of_ours_can_do_little_but_what_they_are_for",
    ),
    "a service that may call the kernel for anything": breaks(
        partial(replace, f"{SYSTEM}/afterburn-checkin.service", "SystemCallFilter=@system-service\n", ""),
        "services_of_ours_can_do_little_but_what_they_are_for",
    ),
    "an exception that nobody needs": breaks(remove(f"{SYSTEM}/syslog.socket"), "exceptions_are_needed"),
}

MUTATIONS: dict[str, Mutation[Callable[[Tree], object]]] = {
    "a setuid program": breaks(change("/usr/bin/cat", mode=0o4755), "no_program_has_other_rights_but_the_known_ones"),
    "a setgid program": breaks(change("/usr/bin/cat", mode=0o2755), "no_program_has_other_rights_but_the_known_ones"),
    "a setuid bit that is missing": breaks(
        change("/usr/bin/su", mode=0o755), "no_program_has_other_rights_but_the_known_ones"
    ),
    "a capability": breaks(
        change("/usr/bin/cat", xattrs=(("security.capability", b"\x01"),)), "no_program_has_capabilities"
    ),
    "a file that all may write": breaks(
        put("/etc/open", make_file("", 0o666, origin=ORIGIN)), "nothing_can_be_written_by_others"
    ),
    "a directory that a group may write": breaks(change("/etc/ssh", mode=0o775), "nothing_can_be_written_by_others"),
    "another sticky directory": breaks(
        put("/usr/share/sticky", make_directory(0o1755, origin=ORIGIN)), "sticky_directories_are_sticky"
    ),
    "a device": breaks(
        put("/etc/null", Node(Kind.CHARACTER, 0o600, device=(1, 3), origin=ORIGIN)), "there_are_no_devices"
    ),
    "a link to nowhere": breaks(put("/etc/lost", make_symlink("nowhere", origin=ORIGIN)), "links_lead_somewhere"),
    "a name with a line break": breaks(put("/etc/two\nlines", make_file("", origin=ORIGIN)), "names_are_readable"),
    "a file of unknown origin": breaks(
        put("/etc/whence", make_file("", origin="")), "everything_was_put_there_by_somebody"
    ),
    "a program for root alone": breaks(change("/usr/bin/cat", mode=0o750), "programs_can_be_run_by_everybody"),
    "a library is missing": breaks(remove("/usr/lib/x86_64-linux-gnu/libcap.so.2"), "libraries_are_there"),
    "bytecode is missing": breaks(
        lambda tree: tree.remove(some_bytecode(tree)), "bytecode_is_complete_and_never_stale"
    ),
    "bytecode that can be stale": breaks(flag_bytecode, "bytecode_is_complete_and_never_stale"),
    "a man page": breaks(
        put("/usr/share/man/man1/cat.1.gz", make_file("", origin=ORIGIN)), "nothing_is_there_only_to_be_read_by_people"
    ),
    "a machine-id": breaks(partial(replace, "/etc/machine-id", "uninitialized", "0" * 32), "the_image_is_nobody_yet"),
    "a host key": breaks(
        put("/etc/ssh/ssh_host_rsa_key", make_file("", 0o600, origin=ORIGIN)), "the_image_is_nobody_yet"
    ),
    "a private key": breaks(
        put("/etc/key.pem", make_file("-----BEGIN PRIVATE KEY-----\n", 0o600, origin=ORIGIN)),
        "the_image_has_no_secrets",
    ),
    "another name": breaks(
        partial(replace, "/etc/os-release", "IMAGE_ID=demo", "IMAGE_ID=x"), "the_image_says_what_it_is"
    ),
    "a package without a record": breaks(
        partial(replace, "/usr/lib/sysimage/dpkg/status", "Package: bash\n", "Package: ash\n"),
        "all_packages_are_on_record",
    ),
    "a package manager": breaks(put("/usr/bin/apt", make_file("", 0o755, origin=ORIGIN)), "nothing_installs_packages"),
    "a password": breaks(partial(replace, "/etc/shadow", "root:*:", "root:$y$x:"), "nobody_has_a_password"),
    "an empty password": breaks(partial(replace, "/etc/shadow", "root:*:", "root::"), "nobody_has_a_password"),
    "a shell": breaks(
        partial(replace, "/etc/passwd", "/var/mail:/usr/sbin/nologin", "/var/mail:/bin/sh"),
        "nobody_has_a_shell_who_does_not_need_one",
    ),
    "two users with one number": breaks(
        lambda tree: (
            append("/etc/passwd", "toor:x:0:0::/:/usr/sbin/nologin\n", tree),
            append("/etc/shadow", "toor:*:::::::\n", tree),
        ),
        "users_and_groups_are_one_each",
    ),
    "a user without a line in shadow": breaks(
        partial(append, "/etc/passwd", "ghost:x:4242:100::/:/usr/sbin/nologin\n"), "users_have_their_lines_in_shadow"
    ),
    "an open shadow": breaks(change("/etc/shadow", mode=0o644), "secrets_of_users_are_for_root"),
    "a file of nobody": breaks(put("/etc/lost", make_file("", origin=ORIGIN, uid=4242)), "owners_exist"),
    "a unit that is gone": breaks(
        put("/etc/systemd/system/multi-user.target.wants/gone.service", make_symlink("../gone.service", origin=ORIGIN)),
        "enabled_units_exist",
        "links_lead_somewhere",
    ),
    "a service without its program": breaks(
        lambda tree: (
            tree.put(
                "/etc/systemd/system/hollow.service", make_file("[Service]\nExecStart=/usr/bin/gone\n", origin=ORIGIN)
            ),
            tree.put(
                "/etc/systemd/system/multi-user.target.wants/hollow.service",
                make_symlink("../hollow.service", origin=ORIGIN),
            ),
        ),
        "programs_of_enabled_units_exist",
    ),
    "ssh is not enabled": breaks(
        remove("/etc/systemd/system/multi-user.target.wants/ssh.service"), "what_should_start_is_enabled"
    ),
    "a module is missing": breaks(lambda tree: tree.remove(any_module(tree)), "the_kernel_has_its_modules"),
    "a directory of its own": breaks(
        lambda tree: (tree.remove("/lib64"), tree.put("/lib64", make_directory(origin=ORIGIN))),
        "directories_are_merged",
    ),
}
