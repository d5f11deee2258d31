"""Accounts, configuration, certificates and indexes: what a fresh Debian has after its scripts have run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.debian.scripts.effects import Effect, EffectKind, Evaluation
from builder.debian.scripts.handlers import INDEXES
from builder.debian.scripts.subjects.base_accounts import install_base_accounts, install_system_accounts
from builder.debian.scripts.subjects.certificates import install_bundle
from builder.debian.scripts.subjects.configuration_files import install_defaults
from builder.debian.scripts.subjects.indexes import (
    make_hardware_database,
    make_library_cache,
    make_message_catalog,
    make_module_index,
)
from builder.debian.scripts.subjects.python import install_bytecode
from builder.debian.scripts.work import Work
from builder.tree.node import make_symlink

pytestmark = pytest.mark.unit

MASTERS = {
    "/usr/share/base-passwd/passwd.master": "root:*:0:0:root:/root:/bin/bash\ndaemon:*:1:1:daemon:/usr/sbin:/bin/sh\n",
    "/usr/share/base-passwd/group.master": "root:*:0:\nadm:*:4:syslog,core\nshadow:*:42:\n",
}


# --- accounts --------------------------------------------------------------------------------------


def test_static_accounts_come_from_the_masters_and_have_no_password(work_on: Callable[..., Work]) -> None:
    work = work_on({**MASTERS, "/usr/sbin/shadowconfig": ""})
    install_base_accounts(work)
    tree = work.tree
    assert tree.read_text("/etc/passwd") == ("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\n")
    assert tree.read_text("/etc/group") == "root:x:0:\nadm:x:4:syslog,core\nshadow:x:42:\n"
    assert tree.read_text("/etc/shadow") == "root:*::0:99999:7:::\ndaemon:*::0:99999:7:::\n"
    assert tree.read_text("/etc/gshadow") == "root:*::\nadm:*::syslog,core\nshadow:*::\n"
    modes = {
        name: (tree.require(f"/etc/{name}").mode, tree.require(f"/etc/{name}").gid)
        for name in tree.list_children("/etc")
    }
    assert modes == {
        "group": (0o644, 0),
        "gshadow": (0o640, 42),
        "passwd": (0o644, 0),
        "shadow": (0o640, 42),
        "subgid": (0o644, 0),
        "subuid": (0o644, 0),
    }


def test_accounts_that_are_there_are_kept(work_on: Callable[..., Work]) -> None:
    work = work_on({**MASTERS, "/usr/sbin/shadowconfig": "", "/etc/passwd": "mine:x:5:5::/:/bin/sh\n"})
    install_base_accounts(work)
    assert work.tree.read_text("/etc/passwd") == "mine:x:5:5::/:/bin/sh\n"
    assert work.tree.read_text("/etc/shadow") == "mine:*::0:99999:7:::\n"


def test_where_nobody_reads_them_there_are_no_shadow_files(work_on: Callable[..., Work]) -> None:
    work = work_on(MASTERS)
    install_base_accounts(work)
    assert work.tree.read_text("/etc/passwd") == MASTERS["/usr/share/base-passwd/passwd.master"]
    assert work.tree.list_children("/etc") == ["group", "passwd"]


def test_a_tree_without_base_passwd_gets_no_accounts(work_on: Callable[..., Work]) -> None:
    work = work_on({})
    install_base_accounts(work)
    install_system_accounts(work)
    assert "/etc" not in work.tree
    assert work.tools.calls == []


def test_declared_accounts_are_made_and_nothing_else_is_left(work_on: Callable[..., Work]) -> None:
    work = work_on(
        {
            "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "/etc/group": "root:x:0:\n",
            "/etc/shadow": "root:*::::::::\n",
            "/usr/lib/sysusers.d/a.conf": "u a - \n",
        }
    )

    def sysusers(root: str) -> str:
        where = Path(root.removeprefix("--root="))
        (where / "etc/passwd-").write_text("backup")
        (where / "etc/.pwd.lock").touch()
        (where / "etc/group").write_text("root:x:0:\na:x:999:\n")
        return ""

    work.tools.programs["systemd-sysusers"] = sysusers
    install_system_accounts(work)
    assert work.tree.read_text("/etc/group") == "root:x:0:\na:x:999:\n"
    assert work.tree.list_children("/etc") == ["group", "passwd", "shadow"]
    assert work.tree.list_children("/usr/lib/sysusers.d") == ["a.conf"]
    assert list(work.scratch.iterdir()) == []


# --- configuration ---------------------------------------------------------------------------------


def test_a_system_gets_an_fstab_that_says_who_mounts(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/lib/systemd/systemd": ""})
    install_defaults(work)
    assert work.tree.read_text("/etc/fstab").startswith("#")
    own = work_on({"/usr/lib/systemd/systemd": "", "/etc/fstab": "own"})
    install_defaults(own)
    assert own.tree.read_text("/etc/fstab") == "own"
    container = work_on({})
    install_defaults(container)
    assert len(container.tree) == 1


# --- certificates ----------------------------------------------------------------------------------


def test_every_certificate_is_in_the_bundle_and_found_by_its_hash(work_on: Callable[..., Work]) -> None:
    base = "/usr/share/ca-certificates/mozilla"
    work = work_on({f"{base}/A Root, 1.crt": "first\n", f"{base}/B.crt": "second", f"{base}/notes.txt": "x"})

    def openssl(command: str, where: str) -> str:
        assert command == "rehash"
        for number, link in enumerate(sorted(Path(where).iterdir())):
            assert link.read_text().strip() in ("first", "second"), "links lead into the copy"
            (Path(where) / f"{number:08x}.0").symlink_to(link.name)
        return ""

    work.tools.programs["openssl"] = openssl
    install_bundle(work)
    tree = work.tree
    assert tree.read("/etc/ssl/certs/ca-certificates.crt") == b"first\nsecond\n"
    assert tree.read_text("/etc/ca-certificates.conf") == "mozilla/A Root, 1.crt\nmozilla/B.crt\n"
    assert {
        name: tree.require(f"/etc/ssl/certs/{name}", follow=False).target
        for name in tree.list_children("/etc/ssl/certs")
    } == {
        "00000000.0": "A_Root__1.pem",
        "00000001.0": "B.pem",
        "A_Root__1.pem": f"{base}/A Root, 1.crt",
        "B.pem": f"{base}/B.crt",
        "ca-certificates.crt": "",
    }


# --- indexes ---------------------------------------------------------------------------------------


def test_hardware_is_not_indexed_for_an_image_without_udev(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/lib/udev/hwdb.d/20-pci.hwdb": ""})
    make_hardware_database(work)
    assert "/usr/lib/udev/hwdb.bin" not in work.tree


def test_only_a_tree_with_a_c_library_has_a_library_cache(work_on: Callable[..., Work]) -> None:
    work = work_on({"/etc/ld.so.conf": "/usr/lib/own\n", "/usr/lib/own/liba.so.1": ""})
    make_library_cache(work)
    assert "/etc/ld.so.cache" not in work.tree
    for triplet in ("x86_64-linux-gnu", "aarch64-linux-gnu"):
        work = work_on({"/etc/ld.so.conf": "", f"/usr/lib/{triplet}/libc.so.6": ""})
        make_library_cache(work)
        assert work.tree.read("/etc/ld.so.cache").startswith(b"glibc-ld.so.cache1.1")


def test_modules_are_indexed_for_each_kernel(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/lib/modules/6.12/kernel/a.ko": "", "/usr/lib/modules/6.1/kernel/b.ko": ""})

    def depmod(flag: str, root: str, release: str) -> str:
        (Path(root) / "usr/lib/modules" / release / "modules.dep").write_text(release)
        return ""

    work.tools.programs["depmod"] = depmod
    make_module_index(work)
    assert work.tree.read("/usr/lib/modules/6.12/modules.dep") == b"6.12"
    assert work.tree.read("/usr/lib/modules/6.1/modules.dep") == b"6.1"


def test_systemds_databases_are_made_where_there_is_something_to_index(work_on: Callable[..., Work]) -> None:
    files = ("/usr/lib/udev/hwdb.d/20-pci.hwdb", "/usr/lib/systemd/catalog/systemd.catalog", "/usr/bin/systemd-hwdb")
    work = work_on(dict.fromkeys(files, ""))

    def hwdb(*arguments: str) -> str:
        assert not [word for word in arguments if "root" in word]  # the names of its sources are as on the machine
        (next(work.scratch.iterdir()) / "usr/lib/udev/hwdb.bin").write_text("hwdb")
        return ""

    def journalctl(*arguments: str) -> str:
        (Path(arguments[-1].removeprefix("--root=")) / "var/lib/systemd/catalog/database").write_text("catalog")
        return ""

    work.tools.programs.update({"systemd-hwdb": hwdb, "journalctl": journalctl})
    make_hardware_database(work)
    make_message_catalog(work)
    assert work.tree.read("/usr/lib/udev/hwdb.bin") == b"hwdb"
    assert work.tree.read("/var/lib/systemd/catalog/database") == b"catalog"


def test_the_hardware_database_has_no_names_of_makers_for_people(work_on: Callable[..., Work]) -> None:
    sources = ("20-pci-vendor-model.hwdb", "20-OUI.hwdb", "20-net-ifname.hwdb", "60-keyboard.hwdb")
    work = work_on(dict.fromkeys([*(f"/usr/lib/udev/hwdb.d/{name}" for name in sources), "/usr/bin/systemd-hwdb"], ""))

    def hwdb(*arguments: str) -> str:
        udev = next(work.scratch.iterdir()) / "usr/lib/udev"
        (udev / "hwdb.bin").write_text(" ".join(sorted(path.name for path in (udev / "hwdb.d").iterdir())))
        return ""

    work.tools.programs.update({"systemd-hwdb": hwdb})
    make_hardware_database(work)
    assert work.tree.read_text("/usr/lib/udev/hwdb.bin") == "20-net-ifname.hwdb 60-keyboard.hwdb"
    assert all(f"/usr/lib/udev/hwdb.d/{name}" in work.tree for name in sources)


def test_nothing_is_indexed_in_an_empty_tree(work_on: Callable[..., Work]) -> None:
    work = work_on({})
    for _, handler in INDEXES:
        handler(work)
    assert work.tools.calls == []
    assert len(work.tree) == 1


def test_modules_that_a_script_names_are_compiled_beside_their_source_and_tests_are_not(
    work_on: Callable[..., Work],
) -> None:
    def python3(*arguments: str) -> str:
        assert arguments[:5] == ("-I", "-B", "-W", "ignore", "-c")
        for source in Path(arguments[-1]).rglob("*.py"):
            cache = source.parent / "__pycache__"
            cache.mkdir(exist_ok=True)
            (cache / f"{source.stem}.cpython-313.pyc").write_bytes(b"code")
        return ""

    lib = "/usr/lib/python3.13"
    paths = (f"{lib}/json/tool.py", f"{lib}/test/bad.py", f"{lib}/x.so", f"{lib}/unasked.py", "/etc/site.py")
    work = work_on(dict.fromkeys(paths, "x"))
    work.tree.put(f"{lib}/site.py", make_symlink("/etc/site.py", origin="x"))
    named = (f"{lib}/json/tool.py", f"{lib}/test/bad.py", f"{lib}/site.py")
    effect = Effect(EffectKind.BYTECODE, "json", data=named)
    work.evaluations.append(Evaluation("json", "postinst", (effect,), ()))
    work.tools.programs["python3"] = python3
    install_bytecode(work)
    assert [path for path, _ in work.tree.walk() if path.endswith(".pyc")] == [
        f"{lib}/__pycache__/site.cpython-313.pyc",
        f"{lib}/json/__pycache__/tool.cpython-313.pyc",
    ]
    assert list(work.scratch.iterdir()) == []


def test_a_part_of_the_tree_is_gone_when_a_handler_fails(work_on: Callable[..., Work]) -> None:
    work = work_on({"/etc/a": "content of a"})

    def fail(root: Path) -> None:
        raise ValueError((root / "etc/a").read_text())

    with pytest.raises(ValueError, match="content of a"), work.materialise_parts("/etc") as part:
        fail(part.root)
    assert list(work.scratch.iterdir()) == []


def test_a_link_that_leads_nowhere_is_nothing_to_rely_on(work_on: Callable[..., Work]) -> None:
    work = work_on({"/etc/a": "x"})
    work.tree.put("/l", make_symlink("etc/a", origin="x"))
    work.tree.put("/dangling", make_symlink("nowhere", origin="x"))
    assert work.has("/l")
    assert not work.has("/dangling")
