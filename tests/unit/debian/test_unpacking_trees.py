"""Packs become one tree, as dpkg would have laid them out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from builder.core.errors import InputError, SourceError
from builder.core.store import Store
from builder.debian.deb import DebError
from builder.debian.pack import DamagedBlob, Pack, unpack
from builder.debian.unpack import can_overwrite, unpack_all, unpack_tree
from builder.tree.node import Kind, make_directory, make_symlink
from builder.tree.tree import Tree
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit


@pytest.fixture
def pack(debs: Any, put: Any, store: Store) -> Callable[..., Pack]:
    def make(name: str, *files: bytes, **fields: str) -> Pack:
        return unpack(store, put(debs(name, files=files, **fields)))

    return make


@pytest.fixture
def base(pack: Any, tars: Any) -> Pack:
    """base-files with the links of a merged /usr."""
    result: Pack = pack(
        "base-files",
        tars.link("./bin", "usr/bin"),
        tars.link("./lib64", "usr/lib64"),
        tars.directory("./run", mode=0o755),
        tars.directory("./tmp", mode=0o1777),
        tars.directory("./usr"),
        tars.directory("./usr/bin"),
        tars.directory("./usr/lib64"),
        tars.directory("./var"),
        tars.link("./var/run", "/run"),
    )
    return result


def test_files_of_a_merged_usr_land_below_usr(base: Pack, pack: Any, tars: Any) -> None:
    old = pack("old", tars.directory("./bin"), tars.entry("./bin/x", "x"), tars.entry("./lib64/ld.so", "elf"))
    tree = unpack_tree([old, base])
    assert [path for path, _ in tree.walk("/usr")] == [
        "/usr",
        "/usr/bin",
        "/usr/bin/x",
        "/usr/lib64",
        "/usr/lib64/ld.so",
    ]
    assert tree.require("/bin", follow=False).kind is Kind.SYMLINK
    assert tree.read("/bin/x") == b"x"


def test_nodes_say_which_package_they_are_of(base: Pack, pack: Any, tars: Any) -> None:
    tree = unpack_tree([base, pack("a", tars.entry("./usr/bin/x", "x", mode=0o755, uid=1, gid=2, mtime=3))])
    node = tree.require("/usr/bin/x")
    assert (node.origin, node.mode, node.uid, node.gid, node.mtime) == ("package:a", 0o755, 1, 2, 3)
    assert tree.require("/tmp").mode == 0o1777
    assert tree.require("/").origin == "package:base-files"


def test_a_directory_that_is_there_stays_as_it_is(base: Pack, pack: Any, tars: Any) -> None:
    tree = unpack_tree([pack("a", tars.directory("./tmp", mode=0o700, uid=5)), base])
    assert (tree.require("/tmp").mode, tree.require("/tmp").origin) == (0o1777, "package:base-files")


def test_a_directory_over_a_link_to_a_directory_keeps_the_link(base: Pack, pack: Any, tars: Any) -> None:
    tree = unpack_tree([base, pack("a", tars.directory("./var/run"), tars.directory("./var/run/a"))])
    assert tree.require("/var/run", follow=False).kind is Kind.SYMLINK
    assert tree.require("/run/a").kind is Kind.DIRECTORY


def test_a_link_over_a_directory_keeps_the_directory(pack: Any, tars: Any) -> None:
    tree = unpack_tree([pack("a", tars.directory("./d"), tars.entry("./d/x")), pack("b", tars.link("./d", "e"))])
    assert tree.require("/d", follow=False).kind is Kind.DIRECTORY


def test_hard_links_share_their_content(pack: Any, tars: Any) -> None:
    tree = unpack_tree([pack("a", tars.entry("./one", "data"), tars.entry("./two", kind=b"1", link="./one"))])
    assert tree.require("/one") == tree.require("/two")


def test_two_empty_files_are_not_one_file_with_two_names(pack: Any, tars: Any) -> None:
    tree = unpack_tree([pack("a", tars.entry("./one"), tars.entry("./two"))])
    assert tree.require("/one").content != tree.require("/two").content


def test_a_file_of_two_packages_is_an_error_that_names_both(pack: Any, tars: Any) -> None:
    one, two = pack("one", tars.entry("./etc/x", "1")), pack("two", tars.entry("./etc/x", "2"))
    with pytest.raises(InputError, match="two and one both have /etc/x") as caught:
        unpack_tree([one, two])
    assert caught.value.details == ("two 1.0-1", "one 1.0-1")


def test_a_file_below_a_link_and_its_real_place_are_one_file(base: Pack, pack: Any, tars: Any) -> None:
    with pytest.raises(InputError, match=r"both have (/bin/x|/usr/bin/x)"):
        unpack_tree([base, pack("a", tars.entry("./bin/x", "1")), pack("b", tars.entry("./usr/bin/x", "2"))])


@pytest.mark.parametrize("winner", ["a", "z"])
def test_the_package_that_replaces_the_other_wins_in_any_order(pack: Any, tars: Any, winner: str) -> None:
    loser = "z" if winner == "a" else "a"
    packs = [
        pack(winner, tars.entry("./f", winner), Replaces=f"{loser} (<< 2)"),
        pack(loser, tars.entry("./f", loser)),
    ]
    for order in itertools.permutations(packs):
        assert unpack_tree(order).read("/f") == winner.encode()


def test_replacing_takes_the_version_into_account(pack: Any, tars: Any) -> None:
    new = pack("new", tars.entry("./f"), Replaces="old (<< 1.0)")
    old = pack("old", tars.entry("./f"))
    assert not can_overwrite(new, old)
    with pytest.raises(InputError):
        unpack_tree([new, old])


def test_replacing_a_virtual_package_counts(pack: Any) -> None:
    new = pack("new", Replaces="mta, web (>= 3)")
    assert can_overwrite(new, pack("old", Provides="mta"))
    assert can_overwrite(new, pack("older", Provides="web (= 3)"))
    assert not can_overwrite(new, pack("oldest", Provides="web"))


def test_the_same_link_in_two_packages_is_no_conflict(pack: Any, tars: Any) -> None:
    packs = [pack(name, tars.link("./usr/lib/x", "y")) for name in ("a", "b")]
    assert unpack_tree(packs).require("/usr/lib/x", follow=False).origin == "package:a"
    with pytest.raises(InputError, match="both have"):
        unpack_tree([*packs, pack("c", tars.link("./usr/lib/x", "z"))])


def test_a_file_in_place_of_another_s_directory_is_a_conflict(pack: Any, tars: Any) -> None:
    packs = [pack("a", tars.directory("./d"), tars.entry("./d/x")), pack("b", tars.entry("./d"))]
    with pytest.raises(InputError, match="b and a both have /d"):
        unpack_tree(packs)
    packs = [
        pack("a2", tars.directory("./d"), tars.entry("./d/x")),
        pack("b2", tars.entry("./d"), Replaces="a2"),
    ]
    with pytest.raises(DebError, match=r"b2 1\.0-1: /d is a directory with content"):
        unpack_tree(packs)


def test_a_directory_below_another_s_file_is_a_fault_of_the_package(pack: Any, tars: Any) -> None:
    with pytest.raises((DebError, InputError), match="b "):
        unpack_tree([pack("a", tars.entry("./f")), pack("b", tars.entry("./f/x"))])


def test_links_of_packages_cannot_lead_out_of_the_tree(pack: Any, tars: Any) -> None:
    packs = [pack("a", tars.link("./d", "../../../../etc")), pack("b", tars.entry("./d/passwd", "x"))]
    tree = unpack_tree(packs)
    assert tree.read("/etc/passwd") == b"x"
    circle = [pack("c", tars.link("./l", "l")), pack("d", tars.entry("./l/x"))]
    with pytest.raises(DebError, match=r"d 1\.0-1: .*circle"):
        unpack_tree(circle)


def test_the_order_of_packages_does_not_matter(base: Pack, pack: Any, tars: Any) -> None:
    packs = [
        base,
        *(pack(f"p{i}", tars.directory("./shared", mode=0o700 + i), tars.entry(f"./bin/{i}")) for i in range(4)),
    ]
    trees = [unpack_tree(order) for order in itertools.permutations(packs)]
    assert all(tree == trees[0] for tree in trees)
    assert list(trees[0].walk()) == list(trees[-1].walk())


def test_a_given_tree_is_added_to_and_its_directories_stay(pack: Any, tars: Any) -> None:
    tree = Tree()
    tree.put("/etc", make_directory(0o711, origin="overlay:mine"))
    tree.put("/opt", make_symlink("var/opt", origin="overlay:mine"))
    result = unpack_tree([pack("a", tars.directory("./etc"), tars.entry("./opt/x", "x"))], tree)
    assert result is tree
    assert tree.require("/etc").mode == 0o711
    assert tree.read("/var/opt/x") == b"x"


def test_a_package_twice_is_an_error(pack: Any) -> None:
    with pytest.raises(InputError, match="a is there twice"):
        unpack_tree([pack("a"), pack("a")])


def test_all_packs_are_made_in_order_with_progress(debs: Any, put: Any, store: Store, tars: Any, console: Any) -> None:
    packages = [put(debs(f"p{i}", files=(tars.entry("./x", "y" * i * 1000),))) for i in range(12)]
    packs = unpack_all(packages, store, console, jobs=3)
    assert [p.package for p in packs] == packages
    total = sum(p.size for p in packages)
    assert console.steps[-1][1] == total
    assert max(done for done, _ in console.steps) == total
    assert unpack_all([], store, console, jobs=2) == []


def test_packs_survive_a_power_cut_because_snapshots_know_them_by_size_and_time(
    debs: Any, put: Any, store: Store, tars: Any, console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    for pack in unpack_all([put(debs(files=(tars.entry("./x", "y" * 1000),)))], store, console, jobs=1):
        assert disk.after_a_power_cut(pack.tar) == pack.tar.read_bytes()


def test_a_damaged_deb_is_fetched_again_once(debs: Any, put: Any, store: Store, console: Any) -> None:
    deb = debs()
    package = put(deb)
    store.locate_blob(package.sha256).write_bytes(b"?" * len(deb.data))
    fetched: list[str] = []

    def refetch(wanted: Any) -> None:
        fetched.append(wanted.name)
        store.add_bytes(deb.data)

    (pack,) = unpack_all([package], store, console, jobs=1, refetch=refetch)
    assert fetched == ["hello"]
    assert pack.control["Package"] == "hello"
    assert any("fetching it again" in line for line in console.said)


def test_a_damaged_deb_without_a_way_to_fetch_is_an_error(debs: Any, put: Any, store: Store, console: Any) -> None:
    packages = [put(debs(f"p{i}")) for i in range(6)]
    store.locate_blob(packages[3].sha256).write_bytes(b"?")
    with pytest.raises(DamagedBlob, match="p3"):
        unpack_all(packages, store, console, jobs=2)

    def failing(_: Any) -> None:
        raise SourceError("the mirror is down")

    with pytest.raises(SourceError, match="the mirror is down"):
        unpack_all(packages, store, console, jobs=2, refetch=failing)


def test_a_diverted_file_goes_out_of_the_way_of_the_package_that_diverts(pack: Any, tars: Any) -> None:
    theirs = pack("perl", tars.entry("./usr/bin/shasum", "theirs"))
    ours = pack("digest", tars.entry("./usr/bin/shasum", "ours"))
    tree = unpack_tree([theirs, ours], diversions={"/usr/bin/shasum": ("/usr/bin/shasum.bundled", "digest")})
    assert tree.read("/usr/bin/shasum") == b"ours"
    assert tree.read("/usr/bin/shasum.bundled") == b"theirs"
    with pytest.raises(InputError, match="both have /usr/bin/shasum"):
        unpack_tree([theirs, ours])
