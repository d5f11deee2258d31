"""Which packages are chosen for those that are asked for."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from builder.debian.archive import PackageArchive
from builder.debian.resolve import ResolveError, ResolveRequest, resolve

pytestmark = pytest.mark.unit
Make = Callable[..., PackageArchive]


def P(name: str, version: str = "1.0-1", **fields: str) -> dict[str, str]:
    return {"Package": name, "Version": version} | {key.replace("_", "-"): value for key, value in fields.items()}


def names(archive: PackageArchive, *wanted: str, **options: object) -> list[str]:
    options.setdefault("essential", False)
    return [package.name for package in resolve(archive, ResolveRequest(wanted, **options))]  # type: ignore[arg-type]


def versions(archive: PackageArchive, *wanted: str) -> dict[str, str]:
    return {p.name: p.version for p in resolve(archive, ResolveRequest(wanted, essential=False))}


def test_dependencies_and_pre_dependencies_come_along_sorted(archive_of: Make) -> None:
    archive = archive_of(P("z", Depends="b, a (>= 1)"), P("a", Pre_Depends="c"), P("b"), P("c"), P("other"))
    assert names(archive, "z") == ["a", "b", "c", "z"]


def test_circles_are_no_problem(archive_of: Make) -> None:
    assert names(archive_of(P("a", Depends="b"), P("b", Depends="a")), "a") == ["a", "b"]


def test_essential_packages_are_included_unless_they_are_not_wanted(archive_of: Make) -> None:
    archive = archive_of(P("a"), P("base", Essential="yes", Depends="libbase"), P("libbase"))
    assert names(archive, "a", essential=True) == ["a", "base", "libbase"]
    assert names(archive, "a") == ["a"]


def test_recommended_packages_are_included_on_request(archive_of: Make) -> None:
    archive = archive_of(P("a", Recommends="b, absent | gone"), P("b", Recommends="c"), P("c"))
    assert names(archive, "a") == ["a"]
    assert names(archive, "a", recommends=True) == ["a", "b", "c"]


def test_a_recommendation_that_conflicts_is_left_out(archive_of: Make) -> None:
    archive = archive_of(P("a", Recommends="b", Depends="c"), P("b", Conflicts="c"), P("c"))
    assert names(archive, "a", recommends=True) == ["a", "c"]


def test_the_newest_version_is_taken(archive_of: Make) -> None:
    archive = archive_of(P("a", "9"), P("a", "10"), more=[[P("a", "10+deb13u1"), P("a", "2")]])
    assert versions(archive, "a") == {"a": "10+deb13u1"}


def test_a_version_can_be_asked_for_and_its_siblings_follow(archive_of: Make) -> None:
    archive = archive_of(
        P("a", "2", Depends="a-data (= 2)"),
        P("a-data", "2"),
        P("a", "1", Depends="a-data (= 1)"),
        P("a-data", "1"),
    )
    assert versions(archive, "a") == {"a": "2", "a-data": "2"}
    assert versions(archive, "a=1") == {"a": "1", "a-data": "1"}


def test_of_alternatives_the_first_is_taken(archive_of: Make) -> None:
    packages = [P("a", Depends="x | b"), P("x", Depends="y, b"), P("b"), P("y")]
    assert names(archive_of(*packages), "a") == ["a", "b", "x", "y"]


def test_an_alternative_that_is_there_already_is_enough(archive_of: Make) -> None:
    packages = [P("a", Depends="c, x | b"), P("x"), P("b"), P("c", Depends="b")]
    assert names(archive_of(*packages), "a") == ["a", "b", "c"]


def test_an_alternative_that_is_wanted_by_name_is_enough(archive_of: Make) -> None:
    packages = [P("a", Depends="x | z"), P("x"), P("z")]
    assert names(archive_of(*packages), "a") == ["a", "x"]
    assert names(archive_of(*packages), "a", "z") == ["a", "z"]


def test_a_long_chain_of_dependencies_is_no_problem(archive_of: Make) -> None:
    packages = [P(f"p{i}", Depends=f"p{i + 1}") for i in range(3000)]
    assert len(names(archive_of(*packages, P("p3000")), "p0")) == 3001


def test_an_alternative_that_does_not_exist_is_passed_over(archive_of: Make) -> None:
    archive = archive_of(P("a", Depends="gone | b (>= 2) | c"), P("b", "1"), P("c"))
    assert names(archive, "a") == ["a", "c"]


def test_an_alternative_that_conflicts_is_passed_over(archive_of: Make) -> None:
    archive = archive_of(P("a", Depends="x | b, c"), P("x", Conflicts="c"), P("b"), P("c"))
    assert names(archive, "a") == ["a", "b", "c"]


def test_where_apt_s_way_ends_in_a_conflict_another_is_found(archive_of: Make) -> None:
    # x looks possible when it is chosen; that its own dependency is not shows only later.
    archive = archive_of(P("a", Depends="x | b, c"), P("x", Depends="deep"), P("deep", Breaks="c"), P("b"), P("c"))
    assert names(archive, "a") == ["a", "b", "c"]


def test_virtual_packages_are_fulfilled_by_the_most_important_provider(archive_of: Make) -> None:
    archive = archive_of(
        P("a", Depends="awk"),
        P("gawk", Provides="awk", Priority="optional"),
        P("mawk", Provides="awk", Priority="required"),
        P("original-awk", Provides="awk"),
    )
    assert names(archive, "a") == ["a", "mawk"]
    assert names(archive, "a", "original-awk") == ["a", "original-awk"]


def test_a_provided_name_has_a_version_only_if_it_says_so(archive_of: Make) -> None:
    archive = archive_of(P("a", Depends="v (>= 2)"), P("b", "5", Provides="v"), P("c", Provides="v (= 3)"))
    assert names(archive, "a") == ["a", "c"]
    with pytest.raises(ResolveError, match="cannot be installed together"):
        names(archive_of(P("a", Depends="v (>= 2)"), P("b", "5", Provides="v")), "a")


def test_a_package_may_conflict_with_what_it_provides_itself(archive_of: Make) -> None:
    packages = [P("exim", Provides="mta", Conflicts="mta"), P("postfix", Provides="mta", Conflicts="mta")]
    assert names(archive_of(*packages), "exim") == ["exim"]
    with pytest.raises(ResolveError) as caught:
        names(archive_of(*packages), "exim", "postfix")
    assert any("conflicts with" in line for line in caught.value.details)


TIMESYNCD = P("timesyncd", Provides="time-daemon", Conflicts="time-daemon")
CHRONY = P("chrony", Provides="time-daemon", Conflicts="time-daemon")


def test_of_a_kind_that_excludes_itself_what_is_named_later_is_taken(archive_of: Make) -> None:
    archive = archive_of(TIMESYNCD, CHRONY, P("a"))
    assert names(archive, "a", "chrony", "timesyncd", layers=(("a", "timesyncd"),)) == ["a", "chrony"]
    assert names(archive, "a", "chrony", "timesyncd", layers=(("timesyncd",), ("chrony", "a"))) == ["a", "chrony"]
    assert names(archive, "a", "chrony", "timesyncd", layers=(("chrony",), ("timesyncd",))) == ["a", "timesyncd"]


def test_two_of_a_kind_that_are_named_together_are_refused(archive_of: Make) -> None:
    for layers in ((), (("chrony", "timesyncd"),), (("a",),)):
        with pytest.raises(ResolveError, match="cannot be installed together"):
            names(archive_of(TIMESYNCD, CHRONY, P("a")), "a", "chrony", "timesyncd", layers=layers)


def test_what_a_package_needs_takes_the_place_of_a_feature_s_as_well(archive_of: Make) -> None:
    archive = archive_of(TIMESYNCD, CHRONY, P("client", Depends="chrony"))
    assert names(archive, "client", "timesyncd", layers=(("timesyncd",),)) == ["chrony", "client"]
    archive = archive_of(TIMESYNCD, CHRONY, P("client", Depends="chrony | time-daemon"))
    assert names(archive, "client", "timesyncd", layers=(("timesyncd",),)) == ["client", "timesyncd"]


def test_what_needs_the_one_that_is_replaced_goes_with_it(archive_of: Make) -> None:
    resolved = P("resolved", Provides="resolvconf", Conflicts="resolvconf")
    archive = archive_of(resolved, P("openresolv", Provides="resolvconf"), P("libnss-resolve", Depends="resolved"))
    found = names(archive, "resolved", "libnss-resolve", "openresolv", layers=(("resolved", "libnss-resolve"),))
    assert found == ["openresolv"]


def test_what_a_system_cannot_do_without_is_never_replaced(archive_of: Make) -> None:
    systemd = P("systemd", Priority="important", Provides="sysusers", Conflicts="sysusers")
    with pytest.raises(ResolveError, match="cannot be installed together"):
        names(archive_of(systemd, P("small", Provides="sysusers")), "systemd", "small", layers=(("systemd",),))


def test_an_ordinary_conflict_with_a_feature_s_package_is_refused(archive_of: Make) -> None:
    with pytest.raises(ResolveError, match="cannot be installed together"):
        names(archive_of(P("a", Conflicts="b"), P("b")), "a", "b", layers=(("b",),))


def test_a_bare_version_does_not_mean_any_revision(archive_of: Make) -> None:
    assert names(archive_of(P("a", Depends="libc6 (>> 2.41)"), P("libc6", "2.41-12")), "a") == ["a", "libc6"]
    with pytest.raises(ResolveError):
        names(archive_of(P("a", Depends="libc6 (= 2.41)"), P("libc6", "2.41-12")), "a")


def test_qualifiers_are_understood(archive_of: Make) -> None:
    packages = [P("a", Depends="python3:any, b:amd64"), P("python3"), P("b"), P("c", Depends="b:arm64")]
    assert names(archive_of(*packages), "a") == ["a", "b", "python3"]
    with pytest.raises(ResolveError, match="cannot be installed"):
        names(archive_of(*packages), "c")


def test_packages_for_all_architectures_fit(archive_of: Make) -> None:
    assert names(archive_of(P("a", Depends="b"), P("b", Architecture="all")), "a") == ["a", "b"]


def test_an_excluded_package_is_taken_as_installed(archive_of: Make) -> None:
    archive = archive_of(
        P("linux", Depends="initramfs-tools (>= 0.120) | linux-initramfs-tool, kmod"),
        P("initramfs-tools", "0.148", Depends="klibc", Provides="linux-initramfs-tool"),
        P("dracut", Provides="linux-initramfs-tool"),
        P("klibc"),
        P("kmod"),
    )
    assert names(archive, "linux") == ["initramfs-tools", "klibc", "kmod", "linux"]
    assert names(archive, "linux", excluded=("initramfs-tools",)) == ["kmod", "linux"]


def test_an_excluded_essential_package_stays_out(archive_of: Make) -> None:
    archive = archive_of(P("dpkg", Essential="yes", Depends="tar"), P("tar"), P("a", Pre_Depends="dpkg (>= 1)"))
    assert names(archive, "a", essential=True, excluded=("dpkg",)) == ["a"]


def test_an_unknown_package_gets_the_nearest_names(archive_of: Make) -> None:
    with pytest.raises(ResolveError, match=r"no package 'podmann' in .*; did you mean podman\?") as caught:
        names(archive_of(P("podman")), "podmann")
    assert caught.value.exit_code == 2


def test_all_unknown_names_are_shown_together(archive_of: Make) -> None:
    with pytest.raises(ResolveError, match="some packages do not exist") as caught:
        names(
            archive_of(P("a", "1"), P("b", Provides="v")),
            "x", "a=2", "v", "A b", "a=?", excluded=("y",)
        )  # fmt: skip
    assert sorted(line.split(";")[0] for line in caught.value.details) == [
        "'A b' is neither a package's name nor NAME=VERSION",
        "'a=?' is neither a package's name nor NAME=VERSION",
        "a has no version 2",
        "there is no package 'x' in  for amd64",
        "there is no package 'y' in  for amd64",
        "v is a virtual package",
    ]


def test_a_package_cannot_be_wanted_and_excluded(archive_of: Make) -> None:
    with pytest.raises(ResolveError, match="a is both wanted and excluded"):
        names(archive_of(P("a")), "a", excluded=("a",))


def test_an_unsatisfiable_wish_is_explained(archive_of: Make) -> None:
    archive = archive_of(
        P("top", Depends="middle"), P("middle", "2", Depends="bottom (>= 3) | other"), P("bottom", "1")
    )
    with pytest.raises(ResolveError, match="cannot be installed together") as caught:
        names(archive, "top")
    assert "middle 2 needs bottom (>= 3) | other, which no package is or provides" in caught.value.details
    assert caught.value.hint


def test_a_conflict_is_explained_with_both_names(archive_of: Make) -> None:
    archive = archive_of(P("a", Conflicts="b (<< 5)"), P("b", "4"))
    with pytest.raises(ResolveError) as caught:
        names(archive, "a", "b")
    assert "a 1.0-1 conflicts with b 4" in caught.value.details


def test_two_versions_of_one_package_exclude_each_other(archive_of: Make) -> None:
    archive = archive_of(P("a", "1"), P("a", "2"), P("b", Depends="a (= 1)"))
    with pytest.raises(ResolveError) as caught:
        names(archive, "b", "a=2")
    assert any("of which there can be one version" in line for line in caught.value.details)


def test_the_answer_does_not_depend_on_the_order_of_the_list(archive_of: Make) -> None:
    packages = [P(f"p{i}", Depends=f"v{i % 5} | p{(i * 7) % 30}, w{i % 3}") for i in range(30)]
    packages += [P(f"q{i}-{j}", Provides=f"v{i}", Conflicts=f"v{i}") for i in range(5) for j in range(4)]
    packages += [P(f"r{i}-{j}", Provides=f"w{i}") for i in range(3) for j in range(4)]
    first = names(archive_of(*packages), "p1", "p2", "p29")
    for seed in range(5):
        shuffled = packages[:]
        random.Random(seed).shuffle(shuffled)
        assert names(archive_of(*shuffled), "p29", "p2", "p1") == first
