"""The finished root: what is writable has moved, /var is declared, nothing differs between two builds."""

from __future__ import annotations

import pytest

from builder.stages.seal import (
    MOUNT_POINTS,
    Seal,
    declare_var,
    keep_kernel,
    move_writable,
    redirect_tmpfiles,
    remove_matching,
)
from builder.stages.stage import Context
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


def text(data: str, mode: int = 0o644, **more: int) -> Node:
    return make_file(data, mode, origin="package:a", **more)


def folder(mode: int = 0o755, **more: int) -> Node:
    return make_directory(mode, origin="package:a", **more)


def link(target: str) -> Node:
    return make_symlink(target, origin="package:a")


def make(**nodes: Node) -> Tree:
    tree = Tree()
    for path, node in nodes.items():
        tree.put(path, node)
    return tree


def files(tree: Tree, below: str = "/") -> list[str]:
    return [path for path, node in tree.walk(below) if node.kind is not Kind.DIRECTORY]


# --- what is writable ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "where", "mode"),
    [
        ("/home", "var/home", "/var/home", 0o755),
        ("/root", "var/roothome", "/var/roothome", 0o700),
        ("/opt", "var/opt", "/var/opt", 0o755),
        ("/srv", "var/srv", "/var/srv", 0o755),
        ("/mnt", "var/mnt", "/var/mnt", 0o755),
        ("/media", "var/media", "/var/media", 0o755),
        ("/usr/local", "../var/usrlocal", "/var/usrlocal", 0o755),
    ],
)
def test_what_users_of_a_machine_write_is_below_var(path: str, target: str, where: str, mode: int) -> None:
    tree = make(**{f"{path}/a/file": text("kept"), f"{path}/a": folder(0o750, uid=5), f"{path}/l": link("a")})
    move_writable(tree)
    assert tree.require(path, follow=False).target == target
    assert tree.resolve(path) == where
    assert tree.require(where).mode == mode
    assert tree.read(f"{where}/a/file") == b"kept"
    assert tree.read(f"{path}/a/file") == b"kept"
    assert (tree.require(f"{where}/a").mode, tree.require(f"{where}/a").uid) == (0o750, 5)
    assert tree.require(f"{where}/l", follow=False).target == "a"


def test_places_that_no_package_has_are_made_all_the_same() -> None:
    tree = Tree()
    move_writable(tree)
    assert tree.resolve("/home") == "/var/home"
    assert tree.require("/var/home").kind is Kind.DIRECTORY


def test_a_link_that_somebody_made_on_purpose_stays() -> None:
    tree = make(**{"/srv": link("/data")})
    move_writable(tree)
    assert tree.require("/srv", follow=False).target == "/data"


def test_tmpfiles_lines_speak_of_the_new_place() -> None:
    lines = (
        "# /home is a comment\n"
        "Q /home 0755 - - -\n"
        "q   /srv    0755 - - -\n"
        "d- /root :0700 root :root -\n"
        "d /home/core 0755 - - -\n"
        "d /run/x 0755 - - -\n"
        "\n"
    )
    tree = make(**{"/usr/lib/tmpfiles.d/home.conf": text(lines, 0o640), "/usr/lib/tmpfiles.d/x.conf": text("d /x\n")})
    untouched = tree.require("/usr/lib/tmpfiles.d/x.conf")
    redirect_tmpfiles(tree)
    assert tree.read_text("/usr/lib/tmpfiles.d/home.conf") == (
        "# /home is a comment\n"
        "Q /var/home 0755 - - -\n"
        "q /var/srv 0755 - - -\n"
        "d- /var/roothome :0700 root :root -\n"
        "d /home/core 0755 - - -\n"
        "d /run/x 0755 - - -\n"
        "\n"
    )
    found = tree.require("/usr/lib/tmpfiles.d/home.conf")
    assert (found.mode, found.origin) == (0o640, "package:a")
    assert tree.require("/usr/lib/tmpfiles.d/x.conf") is untouched


# --- /var ------------------------------------------------------------------------------------------

GOLDEN = """\
# What the image's packages have in /var. Written by build-os.
d /var/lib 0755 0 0 - -
C /var/lib/100%% 0644 0 0 - /usr/share/factory/var/lib/100%%
C "/var/lib/a b" 0644 0 0 - /usr/share/factory/var/lib/a b
d /var/lib/app 2750 33 34 - -
C /var/lib/app/db 0600 33 34 - /usr/share/factory/var/lib/app/db
C /var/lib/back\\\\slash 0644 0 0 - /usr/share/factory/var/lib/back\\\\slash
L /var/lib/link - - - - ../some where/100%%
C "/var/lib/tic'k" 0644 0 0 - /usr/share/factory/var/lib/tic'k
L /var/run - - - - /run
"""


def test_what_packages_have_in_var_is_declared() -> None:
    # Every line was read back by systemd-tmpfiles 257: see systemd's tmpfiles.d(5) for what is quoted where.
    tree = make(
        **{
            "/var/lib/app": folder(0o2750, uid=33, gid=34),
            "/var/lib/app/db": text("data", 0o600, uid=33, gid=34),
            "/var/lib/a b": text("x"),
            "/var/lib/tic'k": text("x"),
            "/var/lib/100%": text("x"),
            "/var/lib/back\\slash": text("x"),
            "/var/lib/link": link("../some where/100%"),
            "/var/run": link("/run"),
            "/var/lib/pipe": Node(Kind.FIFO),
        }
    )
    declare_var(tree)
    assert tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf") == GOLDEN


def test_files_in_var_have_a_copy_that_cannot_be_changed() -> None:
    tree = make(**{"/var/lib/app/db": text("data", 0o600, uid=33, gid=34)})
    declare_var(tree)
    found = tree.require("/usr/share/factory/var/lib/app/db")
    assert (found.content.read(), found.mode, found.uid, found.gid) == (b"data", 0o600, 33, 34)


def test_what_a_package_declares_itself_is_left_to_it() -> None:
    tree = make(
        **{
            "/var/log/journal": folder(0o2755),
            "/var/log/wtmp": text(""),
            "/var/cache/apt": folder(),
            "/var/lock": link("/run/lock"),
            "/usr/lib/tmpfiles.d/a.conf": text(
                "# d /var/cache/apt\nd /var/log/journal/ 2755 - - -\nf /var/log/wtmp 0664 - - -\n"
                "L+ /var/lock - - - - x\n"
            ),
        }
    )
    declare_var(tree)
    declared = [line.split()[1] for line in tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf").splitlines()[1:]]
    assert declared == ["/var/cache", "/var/cache/apt", "/var/log"]
    assert "/usr/share/factory/var/log/wtmp" in tree


def test_what_is_copied_to_var_cannot_be_written_in_usr_by_a_group() -> None:
    tree = make(**{"/usr/lib/tmpfiles.d": folder(), "/var/log": folder(), "/var/log/shared": text("", 0o664, gid=43)})
    declare_var(tree)
    assert tree.require("/usr/share/factory/var/log/shared").mode == 0o644
    line = "C /var/log/shared 0664 0 43 - /usr/share/factory/var/log/shared"
    assert line in tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf").splitlines()


# --- the kernel ------------------------------------------------------------------------------------


def test_the_kernel_lies_beside_its_modules() -> None:
    tree = make(
        **{
            "/boot/vmlinuz-6.12": text("kernel"),
            "/boot/vmlinuz-6.1": text("another"),
            "/boot/config-6.12": text(""),
            "/usr/lib/modules/6.12/modules.dep": text(""),
        }
    )
    keep_kernel(tree)
    assert tree.read("/usr/lib/modules/6.12/vmlinuz") == b"kernel"
    assert tree.list_children("/boot") == ["config-6.12", "vmlinuz-6.1"]
    keep_kernel(Tree())


def test_globs_for_boot_do_not_take_the_kernel(context: Context) -> None:
    tree = make(**{"/boot/vmlinuz-6.12": text("kernel"), "/usr/lib/modules/6.12/modules.dep": text("")})
    tree = Seal(("/boot/*",), (), 0).apply(tree, context)
    assert tree.read("/usr/lib/modules/6.12/vmlinuz") == b"kernel"
    assert tree.list_children("/boot") == []


# --- what is not wanted ----------------------------------------------------------------------------


@pytest.fixture
def documented() -> Tree:
    return make(
        **{
            "/usr/share/doc/a/copyright": text(""),
            "/usr/share/doc/a/changelog.gz": text(""),
            "/usr/share/doc/b/NEWS": text(""),
            "/usr/share/doc/b/sub/link": link("../NEWS"),
            "/usr/share/man/man1/a.1.gz": text(""),
            "/usr/share/empty": folder(),
            "/usr/bin/man": text(""),
        }
    )


def test_files_that_match_go_unless_they_are_kept(documented: Tree) -> None:
    remove_matching(documented, ["/usr/share/doc/*", "/usr/share/man/*"], ["/usr/share/doc/*/copyright"])
    assert files(documented) == ["/usr/bin/man", "/usr/share/doc/a/copyright"]


def test_directories_that_this_left_empty_go_as_well_and_no_others(documented: Tree) -> None:
    remove_matching(documented, ["/usr/share/doc/b/*", "/usr/share/man/*"], [])
    assert documented.list_children("/usr/share") == ["doc", "empty"]
    assert documented.list_children("/usr/share/doc") == ["a"]


def test_a_glob_means_the_whole_path(documented: Tree) -> None:
    remove_matching(documented, ["man", "/usr/bin/m", "*.1", "/usr/bin/ma[!n]"], [])
    assert len(files(documented)) == 6
    remove_matching(documented, ["*.gz", "/usr/bin/m?n"], [])
    assert files(documented) == ["/usr/share/doc/a/copyright", "/usr/share/doc/b/NEWS", "/usr/share/doc/b/sub/link"]


def test_no_globs_remove_nothing(documented: Tree) -> None:
    before = documented.copy()
    remove_matching(documented, [], [])
    assert documented == before


def test_everything_can_go_but_the_root(documented: Tree) -> None:
    remove_matching(documented, ["*"], [])
    assert [path for path, _ in documented.walk()] == ["/", "/usr", "/usr/share", "/usr/share/empty"]


# --- the whole stage -------------------------------------------------------------------------------


def test_no_time_is_later_than_the_epoch(context: Context) -> None:
    tree = make(**{"/usr/a": text("").copy_with(mtime=50), "/usr/b": text("").copy_with(mtime=500)})
    tree = Seal((), (), 100).apply(tree, context)
    assert (tree.require("/usr/a").mtime, tree.require("/usr/b").mtime) == (50, 100)
    assert max(node.mtime for _, node in tree.walk()) == 100


def test_mount_points_are_there_and_empty(context: Context) -> None:
    tree = make(
        **{
            "/dev/null": Node(Kind.CHARACTER, 0o666, device=(1, 3)),
            "/run/lock/x": text(""),
            "/tmp": folder(0o700),
            "/tmp/left": text(""),
            "/var/lib/a": text("x"),
            "/boot/loader": text("x"),
        }
    )
    tree = Seal((), (), 0).apply(tree, context)
    for path in MOUNT_POINTS:
        assert tree.require(path).kind is Kind.DIRECTORY
    for path in ("/dev", "/run", "/tmp", "/var"):
        assert tree.list_children(path) == []
    assert tree.require("/tmp").mode == 0o1777
    assert tree.require("/run").mode == 0o755
    assert tree.list_children("/boot") == ["loader"]
    assert "C /var/lib/a " in tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf")


def test_the_record_of_packages_is_the_images_own_and_no_machine_copies_it(context: Context) -> None:
    database = {
        "/var/lib/dpkg": folder(),
        "/var/lib/dpkg/status": text("Package: a\n"),
        "/var/lib/dpkg/info/a.list": text("/.\n"),
        "/var/lib/dpkg/info/a.postinst": text("#!/bin/sh\n", 0o755),
    }
    tree = Seal(("/var/lib/dpkg/info/*.postinst",), (), 0).apply(make(**database), context)
    for place in ("/usr/lib/sysimage/dpkg", "/var/lib/dpkg"):  # for the machine, for who looks from outside
        assert files(tree, place) == [f"{place}/info/a.list", f"{place}/status"]
        assert tree.read_text(f"{place}/status") == "Package: a\n"
    assert "dpkg" not in tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf")


def test_moved_places_are_declared_for_the_machine(context: Context) -> None:
    tree = make(**{"/root/.bashrc": text("x"), "/home": folder()})
    tree = Seal((), (), 0).apply(tree, context)
    lines = tree.read_text("/usr/lib/tmpfiles.d/zz-image.conf").splitlines()
    assert "d /var/home 0755 0 0 - -" in lines
    assert "d /var/roothome 0700 0 0 - -" in lines
    assert "C /var/roothome/.bashrc 0644 0 0 - /usr/share/factory/var/roothome/.bashrc" in lines


def test_programs_for_changing_accounts_lose_their_rights_and_su_keeps_them(context: Context) -> None:
    tree = make(
        **{
            "/usr/bin/passwd": text("", 0o4755),
            "/usr/bin/ssh-agent": text("", 0o2755, gid=9),
            "/usr/bin/su": text("", 0o4755),
        }
    )
    tree = Seal((), (), 0).apply(tree, context)
    assert {path: oct(tree.require(f"/usr/bin/{path}").mode) for path in ("passwd", "ssh-agent", "su")} == {
        "passwd": "0o755",
        "ssh-agent": "0o755",
        "su": "0o4755",
    }
