"""``builder/python/archive.py``, ``wheel.py`` and ``record.py``: what is refused of a wheel, and in which words."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.console import QuietConsole
from builder.core.errors import InputError, SourceError
from builder.core.store import Store
from builder.python.environment import Environment, check_conflicts, check_tags, make_virtual_environment
from builder.python.errors import WheelError
from builder.python.install import Installed, install_wheel
from builder.python.pack import WheelPack, unpack_wheels
from builder.python.scheme import SYSTEM, make_scheme
from builder.python.scripts import parse_entry_points
from builder.python.target import Target
from builder.python.wheel import verify_wheel
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.fuzz import examples, mutated
from tests.support.wheels import describe, lock_wheel, make_wheel

pytestmark = pytest.mark.unit


def read(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    verify_wheel(path, path.name, lambda member, data: found.update({member.name: data}))
    return found


def write_members(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, mode in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return path


def test_a_sound_wheel_is_read_whole(tmp_path: Path) -> None:
    assert read(make_wheel(tmp_path))["shop/__init__.py"] == b"answer = 42\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"record": {"shop/__init__.py": describe(b"other")}}, "is not what its RECORD says: the hash differs"),
        ({"record": {"shop/__init__.py": (describe(b"answer = 42\n")[0], "7")}}, "has 12 bytes, and its RECORD says 7"),
        ({"record": {"shop/__init__.py": None}}, "RECORD does not name 'shop/__init__.py'"),
        ({"record": {"shop/__init__.py": ("", "")}}, "RECORD has no hash of 'shop/__init__.py'"),
        ({"record": {"shop/__init__.py": ("md5=abc", "")}}, "RECORD has only md5 of"),
        ({"record": {"shop/gone.py": describe(b"")}}, "RECORD names 'shop/gone.py', which is not in it"),
        ({"extra": {"shop/hidden.py": "import os"}}, "RECORD does not name 'shop/hidden.py'"),
        ({"files": {"../../etc/passwd": "x"}}, "'../../etc/passwd' leads out of the environment"),
        ({"files": {"/etc/passwd": "x"}}, "'/etc/passwd' is an absolute path"),
        ({"files": {"shop\\x.py": "x"}}, "no path that a wheel can have"),
        ({"files": {"shop//x.py": "x"}}, "no path that a wheel can have"),
        ({"files": {f"shop/{'x' * 300}.py": "x"}}, "a name that no file system takes"),
        ({"files": {"shop-1.0.data/etc/x": "x"}}, "is in no directory that wheels have"),
        ({"files": {"other-1.0.data/data/x": "x"}}, "is in another wheel's directory"),
        ({"files": {"other-1.0.dist-info/x": "x"}}, "it has 2 .dist-info directories"),
    ],
)
def test_what_a_wheel_cannot_be(tmp_path: Path, changes: Mapping[str, Any], words: str) -> None:
    with pytest.raises(WheelError) as caught:
        read(make_wheel(tmp_path, **changes))
    assert words in str(caught.value)


def test_another_distribution_than_its_name_says(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "evil")
    other = path.rename(tmp_path / "shop-1.0-py3-none-any.whl")
    with pytest.raises(WheelError, match=r"it is named shop, and METADATA says 'evil'"):
        read(other)


def test_another_version_than_its_name_says(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, version="1.0")
    with pytest.raises(WheelError, match=r"it is named version 2.0, and METADATA says '1.0'"):
        read(path.rename(tmp_path / "shop-2.0-py3-none-any.whl"))


def test_names_are_normalised(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "Foo.Bar_baz".replace(".", "_"))
    assert read(path)


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    path = write_members(tmp_path / "shop-1.0-py3-none-any.whl", ("shop/link", b"/etc/shadow", 0o120777))
    with pytest.raises(WheelError, match="'shop/link' is a symbolic link, which a wheel cannot have"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_members(tmp_path / "shop-1.0-py3-none-any.whl", ("a.py", b"1", 0o100644), ("a.py", b"2", 0o100644))
    with pytest.raises(WheelError, match=r"'a.py' is in it twice"):
        read(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"shop/zeros": bytes(80 << 20)})
    with pytest.raises(WheelError, match="a zip bomb"):
        read(path)


def test_a_member_that_is_larger_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"shop/zeros": bytes(1 << 20)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.index(b"shop/zeros", data.index(b"PK\x01\x02")))
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(WheelError, match="has more bytes than the 100 that the archive declares"):
        read(path)


def test_a_member_with_two_names_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"shop/__init__.py", b"shop/__main__.py", 1))
    with pytest.raises(WheelError, match="has another name where its data is"):
        read(path)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"shop/a.py": "x" * 50, "shop/b.py": "x" * 50})
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    name = data.index(b"shop/b.py", second)
    data[name : name + 9] = b"shop/a.py"
    path.write_bytes(data)
    with pytest.raises(WheelError, match=r"twice|overlaps"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip archive at all", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_wheel_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shop-1.0-py3-none-any.whl"
    path.write_bytes(content)
    with pytest.raises(WheelError):
        read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[console_scripts]\n../evil = shop:main\n", "outside the directory for scripts"),
        ("[console_scripts]\nshop = shop\n", "has no module and function"),
        ("[console_scripts]\nshop = shop:main; import os\n", "has no module and function"),
        ("no section\n", "cannot be read"),
    ],
)
def test_scripts_that_are_none(text: str, words: str) -> None:
    with pytest.raises(WheelError, match=words):
        parse_entry_points(text)


def unpack(tmp_path: Path, *paths: Path) -> list[WheelPack]:
    store = Store.open(tmp_path / "store")
    for path in paths:
        store.add_bytes(path.read_bytes())
    return unpack_wheels([lock_wheel(path) for path in paths], store, QuietConsole())


def install(tmp_path: Path, *paths: Path, environment: str = "web") -> list[Installed]:
    scheme = make_scheme(environment, "3.13")
    return [install_wheel(pack, scheme, requested=False) for pack in unpack(tmp_path, *paths)]


def test_an_error_names_the_wheel_and_leaves_nothing(tmp_path: Path) -> None:
    bad = make_wheel(tmp_path, record={"shop/__init__.py": None})
    with pytest.raises(WheelError, match=r"^shop-1.0-py3-none-any.whl: its RECORD does not name"):
        unpack(tmp_path, bad)
    assert not list((tmp_path / "store" / "packs").glob("*"))


def test_a_wheel_that_is_damaged_in_the_store_is_not_used(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    store = Store.open(tmp_path / "store")
    sha256 = store.add_bytes(path.read_bytes())
    blob = store.locate_blob(sha256)
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(SourceError, match=r"shop 1.0 is not whole in the store"):
        unpack_wheels([lock_wheel(path)], store, QuietConsole())
    assert not blob.exists()


def test_a_pack_that_was_changed_is_made_again(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    (pack,) = unpack(tmp_path, path)
    pack.path.write_bytes(bytes(pack.path.stat().st_size))
    assert unpack(tmp_path, path)[0].read("shop/__init__.py") == b"answer = 42\n"


def test_two_wheels_with_one_file(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "one", files={"both.py": "1"})
    two = make_wheel(tmp_path, "two", files={"both.py": "2"})
    with pytest.raises(InputError) as caught:
        check_conflicts(install(tmp_path, one, two), Tree())
    assert (
        "two have one file: /usr/lib/python-environments/web/lib/python3.13/site-packages/both.py: of one and of two"
        in str(caught.value)
    )


def test_two_wheels_with_the_same_file_agree(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "one", files={"space/__init__.py": ""})
    two = make_wheel(tmp_path, "two", files={"space/__init__.py": ""})
    check_conflicts(install(tmp_path, one, two), Tree())


def test_a_file_where_another_wheel_has_a_directory(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "one", files={"space": "x"})
    two = make_wheel(tmp_path, "two", files={"space/__init__.py": ""})
    with pytest.raises(InputError, match="a file of one, and a directory of another"):
        check_conflicts(install(tmp_path, one, two), Tree())


def test_a_file_that_a_package_has(tmp_path: Path) -> None:
    tree = Tree()
    tree.put("/usr/bin/shop", make_file("", origin="package:shop"))
    wheel = make_wheel(tmp_path, entry_points="[console_scripts]\nshop = shop:main\n")
    with pytest.raises(InputError, match="/usr/bin/shop: of package shop and of shop"):
        check_conflicts(install(tmp_path, wheel, environment=SYSTEM), tree)


def test_a_file_for_etc_in_the_systems_environment(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, files={"shop-1.0.data/data/etc/shop.conf": "x"})
    with pytest.raises(WheelError, match=r"a file for /etc, 'etc/shop.conf', and wheels cannot configure the system"):
        install(tmp_path, wheel, environment=SYSTEM)
    (own,) = install(tmp_path, wheel)
    assert "/usr/lib/python-environments/web/etc/shop.conf" in own.nodes


@pytest.mark.parametrize("name", ["bin/python", "pyvenv.cfg", "lib64/python3.13/site-packages/shop/__init__.py"])
def test_a_file_that_makes_the_directory_an_environment(tmp_path: Path, name: str) -> None:
    wheel = make_wheel(tmp_path, "evil", files={f"evil-1.0.data/data/{name}": "x"})
    made = make_virtual_environment(make_scheme("web"), Target("3.13.5", 41, "x86_64"))
    with pytest.raises(InputError, match="two have one file"):
        check_conflicts(install(tmp_path, wheel, make_wheel(tmp_path)), Tree(), made)


def test_a_unit_in_the_systems_environment(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, files={"shop-1.0.data/data/lib/systemd/system/shop.service": "x"})
    with pytest.raises(WheelError, match="a file for /lib"):
        install(tmp_path, wheel, environment=SYSTEM)


def test_a_wheel_for_another_python(tmp_path: Path) -> None:
    wheel = lock_wheel(make_wheel(tmp_path, tag="cp312-cp312-manylinux_2_17_x86_64"))
    with pytest.raises(InputError, match=r"is not for Python 3.13 on x86_64 with glibc 2.41"):
        check_tags(Environment("web", Target("3.13.5", 41, "x86_64"), (wheel,)))


def test_a_wheel_for_a_newer_c_library(tmp_path: Path) -> None:
    target = Target("3.13.5", 41, "x86_64")
    newer = lock_wheel(make_wheel(tmp_path, tag="cp313-cp313-manylinux_2_42_x86_64"))
    older = lock_wheel(make_wheel(tmp_path, tag="cp313-cp313-manylinux_2_41_x86_64"))
    check_tags(Environment("web", target, (older,)))
    with pytest.raises(InputError, match="manylinux_2_42"):
        check_tags(Environment("web", target, (newer,)))


GOOD: list[bytes] = []


@given(data=st.data())
@examples(60)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("fuzz")
    if not GOOD:
        GOOD.append(make_wheel(directory, entry_points="[console_scripts]\nx = shop:main\n").read_bytes())
    path = directory / "shop-1.0-py3-none-any.whl"
    path.write_bytes(data.draw(mutated(GOOD[0])))
    try:
        found = read(path)
    except WheelError:
        return
    assert found["shop/__init__.py"] == b"answer = 42\n", "whatever was changed, RECORD vouches for what is read"
