"""The record that dpkg and scanners read: its exact text, because it must not differ from dpkg's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from builder.core.store import Store
from builder.debian.database import install_database, make_status_stanza
from builder.debian.pack import Pack, unpack
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

STATUS = """\
Package: app
Essential: yes
Status: install ok installed
Priority: optional
Section: net
Installed-Size: 12
Maintainer: Someone <someone@example.org>
Architecture: amd64
Multi-Arch: same
Source: app-src (2)
Version: 1.0-1
Depends: libc6 (>= 2.41), a:any | b (<= 3~)
Conffiles:
 /etc/z.conf fbade9e36a3f36d3d676c1b808451dd7
 /etc/old.conf newconffile remove-on-upgrade
 /etc/a.conf 0cc175b9c0f1b6a831c399e269772661
Description: does things
 Many things.
 .
 All well.
Homepage: https://example.org/
Ruby-Versions: all

"""


@pytest.fixture
def pack(debs: Any, put: Any, store: Store) -> Callable[..., Pack]:
    def make(name: str, *files: bytes, control: dict[str, bytes] | None = None, **fields: str) -> Pack:
        return unpack(store, put(debs(name, files=files, control_files=control, **fields)))

    return make


@pytest.fixture
def app(pack: Any, tars: Any) -> Pack:
    found: Pack = pack(
        "app",
        tars.directory("./etc"),
        tars.entry("./etc/z.conf", "z"),
        tars.entry("./etc/a.conf", "a"),
        tars.link("./etc/current", "a.conf"),
        control={
            "conffiles": b"/etc/z.conf\nremove-on-upgrade /etc/old.conf\n/etc/a.conf\n",
            "postinst": b"#!/bin/sh\n",
            "triggers": b"# comment\ninterest-noawait /usr/share/x\ninterest cache\nactivate-noawait ldconfig\n",
        },
        **{
            "arch": "amd64",
            "Homepage": "https://example.org/",
            "Description": "does things\n Many things.\n .\n All well.",
            "Depends": "libc6 (>=2.41),a:any|b(<3~)",
            "Multi-Arch": "same",
            "Essential": "yes",
            "Installed-Size": "12",
            "Priority": "optional",
            "Section": "net",
            "Maintainer": "Someone <someone@example.org>",
            "Source": "app-src (2)",
            "Ruby-Versions": "all",
        },
    )
    return found


def recorded(*packs: Pack) -> Tree:
    tree = Tree()
    install_database(tree, packs)
    return tree


def test_an_entry_is_written_as_dpkg_writes_it(app: Pack) -> None:
    assert make_status_stanza(app) + "\n" == STATUS


def test_status_has_the_packages_in_order_of_their_names(app: Pack, pack: Any) -> None:
    text = recorded(pack("zsh"), app, pack("bash")).read_text("/var/lib/dpkg/status")
    assert [line for line in text.splitlines() if line.startswith("Package:")] == [
        "Package: app",
        "Package: bash",
        "Package: zsh",
    ]
    assert STATUS in text


def test_lists_scripts_and_triggers_are_kept_under_the_name_that_dpkg_looks_for(app: Pack) -> None:
    tree = recorded(app)
    info = "/var/lib/dpkg/info"
    assert tree.read_text(f"{info}/app:amd64.list") == "/.\n/etc\n/etc/z.conf\n/etc/a.conf\n/etc/current\n"
    assert tree.require(f"{info}/app:amd64.postinst").mode == 0o755
    assert tree.require(f"{info}/app:amd64.conffiles").mode == 0o644
    assert tree.read_text("/var/lib/dpkg/triggers/File") == "/usr/share/x app:amd64/noawait\n"
    assert tree.read_text("/var/lib/dpkg/triggers/cache") == "app:amd64\n"
    assert tree.list_children("/var/lib/dpkg/triggers") == ["File", "Unincorp", "cache"]
    assert tree.read_text("/var/lib/dpkg/arch") == "amd64\n"


def test_a_file_that_another_package_took_over_is_listed_there_alone(pack: Any, tars: Any) -> None:
    entries = (tars.directory("./usr"), tars.entry("./usr/x", "x"))
    tree = recorded(pack("new", *entries, Replaces="old (<< 2)"), pack("old", *entries, version="1"))
    assert tree.read_text("/var/lib/dpkg/info/new.list") == "/.\n/usr\n/usr/x\n"
    assert tree.read_text("/var/lib/dpkg/info/old.list") == "/.\n/usr\n"
