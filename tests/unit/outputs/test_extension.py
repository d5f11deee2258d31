"""What an extension has: the difference of two trees, and what becomes of what cannot lie in /usr."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builder.core.errors import InputError
from builder.definition.extensions import ResolvedExtension
from builder.definition.model import ExtensionType
from builder.outputs.ddi import Ddi, make_partition_files
from builder.outputs.extension import SYSTEM_TMPFILES, make_extension_tree
from builder.outputs.root import Root
from builder.tree.node import make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

OS_RELEASE = "ID=debian\nVERSION_ID=13\nSYSEXT_LEVEL=fleet_42\nCONFEXT_LEVEL=fleet_42\n"
RELEASE = "/usr/lib/extension-release.d/extension-release.tools_42"
PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nadm:x:4:\ndaemon:x:1:\n"
LINES = "# What the image's packages have in /var.\nd /var/lib/old 0755 0 0 - -\n"


def describe(kind: ExtensionType = ExtensionType.SYSEXT, **more: Any) -> ResolvedExtension:
    system = SimpleNamespace(name="fleet", version="42", arch="amd64", source_date_epoch=None)
    return ResolvedExtension(Path("/tools.yaml"), "tools", kind, "", cast("Any", system), cast("Any", None), **more)


@pytest.fixture
def system() -> Tree:
    tree = Tree()
    files = {
        "/usr/lib/os-release": OS_RELEASE,
        "/etc/passwd": PASSWD,
        "/etc/group": GROUP,
        "/usr/bin/bash": "bash",
        SYSTEM_TMPFILES: LINES,
    }
    for path, text in files.items():
        tree.put(path, make_file(text, origin="package:base-files"))
    return tree


def test_it_has_what_the_system_lacks_and_says_for_which_it_is(system: Tree) -> None:
    whole = system.copy()
    whole.put("/usr/bin/strace", make_file("strace", 0o755, origin="package:strace"))
    tree = make_extension_tree(system, whole, describe())
    assert [path for path, node in tree.walk() if node.size] == ["/usr/bin/strace", RELEASE]
    assert tree.read_text(RELEASE).splitlines() == [
        "ID=debian",
        "SYSEXT_LEVEL=fleet_42",
        "ARCHITECTURE=x86-64",
        "IMAGE_ID=tools",
        "IMAGE_VERSION=42",
    ]


def test_the_directories_that_both_have_look_as_the_systems(system: Tree) -> None:
    system.put("/usr/share/private", make_directory(0o700, origin="package:base-files"))
    whole = system.copy()
    whole.put("/usr/share/private/x", make_file("x", origin="package:x"))
    assert make_extension_tree(system, whole, describe()).require("/usr/share/private").mode == 0o700


def test_a_collision_names_both_owners(system: Tree) -> None:
    whole = system.copy()
    whole.put("/usr/bin/bash", make_file("another", origin="overlay:mine"))
    whole.put("/usr/bin/new", make_file("new", origin="overlay:mine"))
    with pytest.raises(InputError) as caught:
        make_extension_tree(system, whole, describe())
    assert caught.value.details == (
        "/usr/bin/bash: the system has it from the package 'base-files', and the overlay 'mine' would bring another",
    )
    # Left out, it is no collision any more.
    tree = make_extension_tree(system, whole, describe(remove=("/usr/bin/bash",)))
    assert "/usr/bin/bash" not in tree


def test_what_the_system_has_cannot_be_taken_away(system: Tree) -> None:
    whole = system.copy()
    whole.remove("/usr/bin/bash")
    whole.put("/usr/bin/new", make_file("new", origin="overlay:mine"))
    with pytest.raises(InputError) as caught:
        make_extension_tree(system, whole, describe())
    assert "would take it away" in caught.value.details[0]


def test_units_that_start_are_wanted_from_usr(system: Tree) -> None:
    whole = system.copy()
    whole.put("/usr/lib/systemd/system/web.service", make_file("[Service]\n", origin="package:web"))
    link = make_symlink("/usr/lib/systemd/system/web.service", origin="stage:units")
    whole.put("/etc/systemd/system/multi-user.target.wants/web.service", link)
    tree = make_extension_tree(system, whole, describe())
    assert (
        tree.require("/usr/lib/systemd/system/multi-user.target.wants/web.service", follow=False).target == link.target
    )
    assert "EXTENSION_RELOAD_MANAGER=1" in tree.read_text(RELEASE)
    assert not [path for path, _ in tree.walk("/etc")]


def test_users_and_what_is_theirs_are_made_on_the_machine(system: Tree) -> None:
    whole = system.copy()
    whole.put("/etc/passwd", make_file(f"{PASSWD}web:x:101:102:the web:/var/lib/web:/usr/sbin/nologin\n", origin=""))
    whole.put("/etc/group", make_file("root:x:0:\nadm:x:4:web\ndaemon:x:1:\nweb:x:102:\nkeys:x:103:\n", origin=""))
    whole.put(SYSTEM_TMPFILES, make_file(f"{LINES}d /var/lib/web 0750 101 102 - -\nL /var/x - - - - y\n", origin=""))
    whole.put("/etc/web", make_directory(0o750, uid=0, gid=102, origin="package:web"))
    whole.put("/etc/web/open.conf", make_file("open", origin="package:web"))
    whole.put("/etc/web/secret.conf", make_file("secret", 0o640, gid=102, origin="package:web"))
    whole.put("/etc/alternatives/web", make_symlink("/usr/bin/web", origin="stage:packages"))
    tree = make_extension_tree(system, whole, describe())
    carried = "/usr/lib/build-os/extensions/tools/etc/web"
    assert tree.read_text("/usr/lib/sysusers.d/tools-extension.conf").splitlines()[1:] == [
        "g keys -",
        'u web - "the web" /var/lib/web /usr/sbin/nologin',
        "m web adm",
    ]
    assert tree.read_text("/usr/lib/tmpfiles.d/tools-extension.conf").splitlines()[1:] == [
        "d /etc/alternatives 0755 0 0 - -",
        "L /etc/alternatives/web - - - - /usr/bin/web",
        "d /etc/web 0750 0 web - -",
        f"L /etc/web/open.conf - - - - {carried}/open.conf",
        f"C /etc/web/secret.conf 0640 0 web - {carried}/secret.conf",
        "d /var/lib/web 0750 web web - -",
        "L /var/x - - - - y",
    ]
    secret = tree.require(f"{carried}/secret.conf")
    assert (secret.mode, secret.uid, secret.gid) == (0o600, 0, 0)


def test_a_user_that_a_package_declares_itself_is_not_declared_twice(system: Tree) -> None:
    whole = system.copy()
    whole.put("/etc/passwd", make_file(f"{PASSWD}web:x:101:101::/:/usr/sbin/nologin\n", origin=""))
    whole.put("/etc/group", make_file(f"{GROUP}web:x:101:\n", origin=""))
    whole.put("/usr/lib/sysusers.d/web.conf", make_file('u web - "web"\n', origin="package:web"))
    assert "/usr/lib/sysusers.d/tools-extension.conf" not in make_extension_tree(system, whole, describe())


@pytest.mark.parametrize(
    ("path", "owner", "words"),
    [
        ("/usr/bin/own", 101, "/usr/bin/own belongs to a user or group that the system lacks"),
        ("/etc/ld.so.conf.d/own.conf", 0, "says where libraries are"),
        ("/boot/own", 0, "/boot/own, of the package 'own', is not in /usr"),
    ],
)
def test_what_an_extension_cannot_have_is_refused(system: Tree, path: str, owner: int, words: str) -> None:
    whole = system.copy()
    whole.put(path, make_file("own", uid=owner, origin="package:own"))
    whole.put("/usr/bin/new", make_file("new", origin="package:own"))
    with pytest.raises(InputError) as caught:
        make_extension_tree(system, whole, describe())
    assert words in caught.value.details[0]


def test_an_account_of_the_system_stays_what_it_is(system: Tree) -> None:
    whole = system.copy()
    whole.put("/etc/passwd", make_file(PASSWD.replace("/usr/sbin/nologin", "/bin/bash"), origin=""))
    whole.put("/usr/bin/new", make_file("new", origin="package:own"))
    with pytest.raises(InputError) as caught:
        make_extension_tree(system, whole, describe())
    assert caught.value.details == ("/etc/passwd: 'daemon' would be another",)
    whole.put("/etc/passwd", make_file(PASSWD.replace("x:1:1:", "x:1:2:"), origin=""))
    with pytest.raises(InputError):
        make_extension_tree(system, whole, describe())


def test_nothing_new_is_no_extension(system: Tree) -> None:
    with pytest.raises(InputError, match="has nothing that the system lacks"):
        make_extension_tree(system, system.copy(), describe())


def test_a_confext_has_etc_and_nothing_else(system: Tree) -> None:
    whole = system.copy()
    whole.put("/etc/company/proxy", make_file("proxy", origin="overlay:company"))
    tree = make_extension_tree(system, whole, describe(ExtensionType.CONFEXT))
    release = "/etc/extension-release.d/extension-release.tools_42"
    assert [path for path, node in tree.walk() if node.size] == ["/etc/company/proxy", release]
    assert "CONFEXT_LEVEL=fleet_42" in tree.read_text(release)
    whole.put("/usr/bin/new", make_file("new", origin="package:own"))
    with pytest.raises(InputError) as caught:
        make_extension_tree(system, whole, describe(ExtensionType.CONFEXT))
    assert caught.value.details == ("/usr/bin/new, of the package 'own', is not in /etc",)


def test_the_partitions_are_found_by_their_types(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("root", "verity", "signature")]
    for path in paths:
        path.write_bytes(bytes(5000))
    root = Root(paths[0], paths[1], "00112233445566778899aabbccddeeff" * 2)
    files = make_partition_files(Ddi("tools_42", "arm64", "lz4"), root, paths[2])
    types = ["root-arm64", "root-arm64-verity", "root-arm64-verity-sig"]
    assert [f"Type={kind}\n" in text for kind, text in zip(types, files.values(), strict=True)] == [True] * 3
    assert "UUID=00112233-4455-6677-8899-aabbccddeeff\n" in files["10-root.conf"]
    assert all("SizeMinBytes=8192\nSizeMaxBytes=8192\n" in text for text in files.values())
    assert len(make_partition_files(Ddi("tools_42", "arm64", "lz4"), root, None)) == 2
