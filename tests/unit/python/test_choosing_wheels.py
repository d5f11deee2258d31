"""``builder/python/``: which wheels, from where, and what of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.store import Store
from builder.debian.contents import Owner
from builder.debian.lock import LockedPackage
from builder.python.choose import NotChosen, choose_wheels
from builder.python.environment import Environment, require_libraries, trim_bytecode
from builder.python.fetch import add_credentials
from builder.python.install import Installed, add_bytecode, install_wheel
from builder.python.libraries import Missing, find_missing, guess_package
from builder.python.pack import Needs, WheelPack, unpack_wheels
from builder.python.pip_config import PipConfig, read_pip_config
from builder.python.scheme import make_scheme
from builder.python.target import Target, find_target
from builder.python.trim import trim
from builder.python.uv import make_environment, make_index_options
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.wheels import lock_wheel, make_wheel

pytestmark = pytest.mark.unit

AMD64 = Target("3.13.5", 41, "x86_64")
ARM64 = Target("3.13.5", 41, "aarch64")
SHA = {letter: letter * 64 for letter in "abcdef"}


def package(name: str, version: str) -> LockedPackage:
    return LockedPackage(name, version, "amd64", "0" * 64, 1, "pool/x.deb", f"{name} {version}", "trixie")


def test_the_target_is_what_the_packages_bring() -> None:
    packages = [
        package("python3-minimal", "3.13.5-1"),
        package("python3.13-minimal", "3.13.5-2"),
        package("libc6", "2.41-12"),
    ]
    assert find_target(packages, "arm64", "web") == ARM64


def test_an_image_without_python_is_told_so() -> None:
    with pytest.raises(InputError, match="environment 'web' has no Python to run in"):
        find_target([package("libc6", "2.41-12")], "amd64", "web")


def test_tags_go_up_to_the_images_c_library() -> None:
    tags = {str(tag) for tag in AMD64.list_tags()}
    assert {"cp313-cp313-manylinux_2_41_x86_64", "cp313-abi3-manylinux2014_x86_64", "py3-none-any"} <= tags
    assert {"cp39-abi3-manylinux1_x86_64", "cp313-none-linux_x86_64"} <= tags
    assert not {"cp313-cp313-manylinux_2_42_x86_64", "cp314-cp314-manylinux_2_17_x86_64"} & tags
    assert not any("manylinux1_aarch64" in str(tag) for tag in ARM64.list_tags())


HOST = "https://host.example"
NUMPY = {"manylinux_2_28_aarch64": "a", "manylinux_2_28_x86_64": "b", "manylinux_2_17_x86_64": "c"}


def make_row(file: str, letter: str) -> str:
    return f'{{ url = "{HOST}/{file}", size = 5, hashes = {{ sha256 = "{SHA[letter]}" }} }}'


LOCK = f"""\
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "numpy"
version = "2.0"
wheels = [{", ".join(make_row(f"numpy-2.0-cp313-cp313-{platform}.whl", letter) for platform, letter in NUMPY.items())}]
[[packages]]
name = "colorama"
version = "1"
marker = "sys_platform == 'win32'"
wheels = [{make_row("colorama-1-py3-none-any.whl", "d")}]
"""


def test_each_architecture_has_its_wheels_and_markers_are_the_images() -> None:
    assert [each.sha256 for each in choose_wheels(LOCK, AMD64)] == [SHA["b"]]
    assert [(each.name, each.sha256, each.size) for each in choose_wheels(LOCK, ARM64)] == [("numpy", SHA["a"], 5)]


def test_hashes_that_are_written_decide() -> None:
    (chosen,) = choose_wheels(LOCK, AMD64, hashes={"numpy": [f"sha256:{SHA['c']}"]})
    assert chosen.file == "numpy-2.0-cp313-cp313-manylinux_2_17_x86_64.whl"
    with pytest.raises(NotChosen, match=r"no wheel of numpy 2.0 has one of the hashes that are written here"):
        choose_wheels(LOCK, AMD64, hashes={"numpy": [f"sha256:{SHA['f']}"]})


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (f"sdist = {make_row('x-1.tar.gz', 'a')}", "only its source"),
        ('vcs = { type = "git", url = "https://h.example/x.git", commit-id = "abc" }', "repository"),
        ('directory = { path = "../x" }', "a directory"),
    ],
)
def test_what_is_no_wheel_is_refused_with_how_to_make_one(package: str, words: str) -> None:
    text = f'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "x"\nversion = "1"\n{package}\n'
    with pytest.raises(NotChosen, match=words) as caught:
        choose_wheels(text, AMD64)
    assert "pip wheel --no-deps -w wheels x==1" in str(caught.value)
    assert "find_links" in str(caught.value)


def test_a_lock_without_a_wheel_for_the_image_names_the_distribution() -> None:
    text = LOCK.replace("x86_64", "ppc64le")
    with pytest.raises(InputError) as caught:
        choose_wheels(text, AMD64)
    assert "numpy" in str(caught.value)


def test_what_is_no_lock_is_said_to_be_none() -> None:
    for text in ("", "= nonsense", 'lock-version = "9.0"\ncreated-by = "x"\npackages = []'):
        with pytest.raises(InputError, match="no lock file"):
            choose_wheels(text, AMD64)


def test_pips_configuration_says_where_the_index_is(tmp_path: Path) -> None:
    everybody, own = tmp_path / "pip.conf", tmp_path / "own.conf"
    everybody.write_text("[global]\nindex-url = https://one.example/simple\ncert = /ca.pem\n", encoding="utf-8")
    own.write_text(
        "[global]\nindex_url = https://two.example/simple\n[install]\nextra-index-url =\n  https://three.example/simple\n"
        "  https://four.example/simple\n",
        encoding="utf-8",
    )
    config = read_pip_config({"PIP_TRUSTED_HOST": "two.example"}, [everybody, own])
    three = "https://three.example/simple", "https://four.example/simple"
    assert config == PipConfig(("https://two.example/simple", *three), (), ("two.example",), "/ca.pem")
    assert read_pip_config({"PIP_INDEX_URL": "https://five.example/simple"}, [everybody]).indexes == (
        "https://five.example/simple",
    )
    assert read_pip_config({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/a /b"}, []) == PipConfig((), ("/a", "/b"))
    assert make_index_options(config, [Path("w")])[-4:] == ["--find-links", "w", "--allow-insecure-host", "two.example"]


def test_uv_sees_none_of_its_own_settings() -> None:
    seen = make_environment(
        PipConfig(certificates="/ca.pem"), {"UV_INDEX_URL": "x", "HOME": "/root", "VIRTUAL_ENV": "y"}
    )
    assert seen == {"HOME": "/root", "SSL_CERT_FILE": "/ca.pem", "NO_COLOR": "1", "CLICOLOR": "0"}


def test_files_are_asked_for_with_the_account_of_their_index() -> None:
    indexes = ["https://me:secret@one.example/simple"]
    assert add_credentials("https://one.example/x.whl", indexes) == "https://me:secret@one.example/x.whl"
    assert add_credentials("https://two.example/x.whl", indexes) == "https://two.example/x.whl"
    assert add_credentials("http://one.example/x.whl", indexes) == "http://one.example/x.whl"


def make_installed(tmp_path: Path, files: dict[str, str] | None = None) -> Installed:
    path = make_wheel(tmp_path, files=files)
    store = Store.open(tmp_path / "store")
    store.add_bytes(path.read_bytes())
    (pack,) = unpack_wheels([lock_wheel(path)], store, QuietConsole())
    return install_wheel(pack, make_scheme("web"), requested=False)


def with_needs(installed: Installed, needs: dict[str, Needs]) -> Installed:
    pack = installed.pack
    site = installed.scheme.site
    changed = Installed(
        WheelPack(pack.wheel, pack.path, pack.info, pack.data, pack.files, needs),
        installed.scheme,
        dict(installed.nodes),
    )
    for name in needs:
        changed.elves[f"{site}/{name}"] = name
        changed.nodes[f"{site}/{name}"] = make_file("", origin="test")
    return changed


def test_a_library_that_nobody_has_is_found(tmp_path: Path) -> None:
    tree = Tree()
    tree.put("/etc/ld.so.conf.d/x86_64-linux-gnu.conf", make_file("/usr/lib/x86_64-linux-gnu\n", origin="test"))
    tree.put("/usr/lib/x86_64-linux-gnu/libc.so.6", make_file("", origin="test"))
    needs = {
        "shop/a.so": Needs(
            62, "", ("libc.so.6", "libown.so.1", "libbeside.so", "libgomp.so.1"), ("$ORIGIN/../shop.libs",)
        ),
        "shop.libs/libown-1234.so": Needs(62, "libown.so.1", (), ()),
        "shop.libs/libbeside.so": Needs(62, "", ("ld-linux-x86-64.so.2",), ()),
    }
    installed = with_needs(make_installed(tmp_path), needs)
    assert find_missing([installed], tree, "amd64") == [Missing("libgomp.so.1", "shop", "shop/a.so")]
    with pytest.raises(InputError, match="is not for arm64"):
        find_missing([installed], tree, "arm64")


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("libgomp.so.1", "libgomp1"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libGL.so.1", "libgl1"),
    ],
)
def test_debians_name_for_a_library(library: str, name: str) -> None:
    assert guess_package(library) == name


TRIPLE = "/usr/lib/x86_64-linux-gnu"
OWNERS = {
    "libgomp.so.1": [Owner("libgomp1", f"{TRIPLE}/libgomp.so.1")],
    "libz.so.1": [Owner("zlib1g", "/lib/x86_64-linux-gnu/libz.so.1"), Owner("zlib-ng", f"{TRIPLE}/libz.so.1")],
    "libjvm.so": [Owner("openjdk", "/usr/lib/jvm/server/libjvm.so")],
    "libnone.so.9": [],
}


@pytest.mark.parametrize(
    ("library", "said", "hint"),
    [
        ("libgomp.so.1", "Debian's libgomp1 has it", "add to packages: libgomp1; "),
        ("libz.so.1", "Debian's zlib1g and zlib-ng have it", "add to packages: zlib1g; "),
        (
            "libjvm.so",
            "Debian's openjdk in /usr/lib/jvm/server, where the loader does not look",
            "what no package has, ",
        ),
        ("libnone.so.9", "no package of Debian has it", "what no package has, "),
    ],
)
def test_a_missing_library_is_named_with_debians_package_that_has_it(library: str, said: str, hint: str) -> None:
    tree = Tree()
    tree.put("/etc/ld.so.conf.d/x86_64-linux-gnu.conf", make_file(f"{TRIPLE}\n", origin="test"))
    tree.put(f"{TRIPLE}/libc.so.6", make_file("", origin="test"))
    missing = [Missing(library, "shop", "shop/a.so")]
    environment = Environment("web", AMD64, ())
    with pytest.raises(InputError) as raised:
        require_libraries(missing, environment, tree, lambda names: {name: OWNERS[name] for name in names})
    assert raised.value.what == (
        f"environment 'web' lacks shared libraries: {library}: shop needs it (shop/a.so); {said}"
    )
    assert (raised.value.hint or "").startswith(hint)
    # Who must not miss it is the user's to say, and then nobody is asked.
    allowed = Environment("web", AMD64, (), absent_libraries=(library,))
    require_libraries(missing, allowed, tree, lambda _: pytest.fail("nothing is missing"))


def test_where_the_archive_cannot_be_asked_the_name_has_to_do() -> None:
    missing = [Missing("libgomp.so.1", "shop", "shop/a.so")]
    for ask in (None, lambda _: None):
        with pytest.raises(InputError, match="by its name it is in Debian's libgomp1"):
            require_libraries(missing, Environment("web", AMD64, ()), Tree(), ask)


def test_what_is_trimmed_is_in_no_record(tmp_path: Path) -> None:
    names = ("shop/__init__.py", "shop/tests/test_a.py", "shop/a.pyi", "shop/b.pyx")
    installed = make_installed(tmp_path, dict.fromkeys(names, ""))
    assert trim(installed, ["tests", "stubs", "sources"]) == 0
    left = sorted(path.removeprefix(f"{installed.scheme.site}/") for path in installed.nodes)
    assert left == [
        "shop-1.0.dist-info/INSTALLER",
        "shop-1.0.dist-info/METADATA",
        "shop-1.0.dist-info/WHEEL",
        "shop/__init__.py",
    ]
    assert set(installed.rows) == set(installed.nodes)


def test_bytecode_of_what_is_not_imported_is_left_out(tmp_path: Path) -> None:
    installed = make_installed(tmp_path, dict.fromkeys(("shop/__init__.py", "shop/web.py", "shop/more/a.py"), ""))
    site = installed.scheme.site
    names = ("shop/__pycache__/__init__.cpython-313.pyc", "shop/__pycache__/web.cpython-313.pyc")
    unused = "shop/more/__pycache__/a.cpython-313.pyc"
    add_bytecode(installed, {f"{site}/{name}": make_file("code", origin="a") for name in (*names, unused)})
    tree = Tree()
    for path, node in installed.nodes.items():
        tree.put(path, node)
    assert trim_bytecode(tree, [installed], [f"{site}/shop/__init__.py", f"{site}/shop/web.py"]) == 4
    assert [f"{site}/{name}" in tree for name in (*names, unused)] == [True, True, False]
    assert f"{site}/shop/more/a.py" in tree
    assert f"{site}/shop/more/__pycache__" not in tree
    record = tree.read_text(installed.record)
    assert names[1] in record
    assert unused not in record
