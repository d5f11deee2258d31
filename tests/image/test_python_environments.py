"""Python environments end to end: resolved by uv from directories and an index on loopback, built, imported."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.store import Store
from builder.debian.lock import Lock, LockedWheel
from builder.definition.load import load_container
from builder.locking import fetch_locked_wheels
from builder.python.choose import Chosen
from builder.python.locking import resolve_environment
from builder.python.target import Target
from builder.tree.tree import Tree
from tests.support.wheels import describe, make_wheel

pytestmark = pytest.mark.image

AMD64 = Target("3.13.5", 41, "x86_64")
ARM64 = Target("3.13.5", 41, "aarch64")
ENVIRONMENT = "/usr/lib/python-environments/shop"
HOST = "https://host.example"
HEAD = """\
kind: container
name: shop
version: "1"
arch: amd64
packages: [base-files, base-passwd, python3]
entrypoint: [/usr/lib/python-environments/shop/bin/shop]
"""


class Project:
    """A directory with a container's definition and wheels, and where indexes are for pip."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.wheels.mkdir()
        self.store = Store.open(root / "store")

    def write(self, environment: str, name: str = "shop.yaml") -> Path:
        path = self.root / name
        path.write_text(f"{HEAD}python:\n  shop: {environment}\n", encoding="utf-8")
        return path

    def resolve(
        self,
        environment: str,
        target: Target = AMD64,
        *,
        kept: tuple[LockedWheel, ...] = (),
        update: tuple[str, ...] = (),
    ) -> dict[str, Chosen]:
        (resolved,) = load_container(self.write(environment)).resolved.python
        chosen = resolve_environment(resolved, target, self.store, QuietConsole(), kept=kept, update=update)
        return {each.name: each for each in chosen}

    def complain(self, environment: str, target: Target = AMD64) -> str:
        with pytest.raises(InputError) as caught:
            self.resolve(environment, target)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def index(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An index on loopback: a page for each directory below the one that is returned."""
    root = project.root / "index"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
        yield root
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def publish(index: Path, *files: Path, yanked: str = "", name: str = "shop") -> None:
    """Put files onto a page of the index."""
    place = index / name
    place.mkdir(exist_ok=True)
    lines = []
    for file in files:
        data = file.read_bytes()
        (place / file.name).write_bytes(data)
        attribute = f' data-yanked="{yanked}"' if yanked else ""
        lines.append(f'<a href="{file.name}#sha256={hashlib.sha256(data).hexdigest()}"{attribute}>{file.name}</a>')
    (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>", encoding="utf-8")


def lock(chosen: dict[str, Chosen]) -> tuple[LockedWheel, ...]:
    return tuple(LockedWheel("image", "shop", c.name, c.version, c.file, c.sha256, 1) for c in chosen.values())


OWN = "{requirements: [shop], find_links: [wheels]}"


def test_dependencies_extras_and_markers_are_the_images(project: Project) -> None:
    make_wheel(
        project.wheels,
        metadata="Requires-Dist: helper>=2\nRequires-Dist: old; python_version < '3.13'\n"
        "Requires-Dist: arm-only; platform_machine == 'aarch64'\n"
        "Requires-Dist: more; extra == 'all'\nProvides-Extra: all\n",
    )
    for name, version in (("helper", "1.0"), ("helper", "2.1"), ("more", "1"), ("arm-only", "1")):
        make_wheel(project.wheels, name, version)
    assert {n: c.version for n, c in project.resolve(OWN).items()} == {"shop": "1.0", "helper": "2.1"}
    assert set(project.resolve(OWN, ARM64)) == {"shop", "helper", "arm-only"}
    assert set(project.resolve("{requirements: ['Shop[all]'], find_links: [wheels]}")) == {"shop", "helper", "more"}


def test_each_architecture_gets_its_own_wheel(project: Project) -> None:
    for tag in ("manylinux_2_17_x86_64", "manylinux_2_41_x86_64", "manylinux_2_42_x86_64", "manylinux_2_28_aarch64"):
        make_wheel(project.wheels, tag=f"cp313-cp313-{tag}")
    make_wheel(project.wheels, tag="cp312-cp312-manylinux_2_17_x86_64")
    assert "manylinux_2_28_aarch64" in project.resolve(OWN, ARM64)["shop"].file
    assert "x86_64" in project.resolve(OWN)["shop"].file
    assert "manylinux_2_42" not in project.resolve(OWN)["shop"].file


def test_what_is_locked_keeps_its_version(project: Project) -> None:
    make_wheel(project.wheels, version="1.0")
    kept = lock(project.resolve(OWN))
    make_wheel(project.wheels, version="2.0")
    assert project.resolve(OWN, kept=kept)["shop"].version == "1.0"
    assert project.resolve(OWN, kept=kept, update=("shop",))["shop"].version == "2.0"


def test_a_project_with_only_its_source_is_told_how_to_make_a_wheel(project: Project, index: Path) -> None:
    source = project.root / "shop-1.0.tar.gz"
    source.write_bytes(b"source")
    publish(index, source)
    text = project.complain("{requirements: [shop]}")
    assert "shop has no wheel for Python 3.13 on x86_64, and an image is made of wheels alone" in text
    assert "pip wheel --no-deps -w wheels shop" in text
    assert "shop.yaml:8" in text
    assert "find_links" in text


def test_a_wheel_for_another_python_is_none(project: Project) -> None:
    make_wheel(project.wheels, tag="cp312-cp312-manylinux_2_17_x86_64")
    assert "shop has no wheel" in project.complain(OWN)


def test_a_yanked_version_is_refused_with_its_reason(project: Project, index: Path) -> None:
    publish(index, make_wheel(project.root / "made"), yanked="it eats carts")
    text = project.complain("{requirements: [shop==1.0]}")
    assert "shop 1.0 is yanked (it eats carts)" in text
    assert "shop.yaml:8" in text


def test_an_index_of_another_distribution_squats_no_name(project: Project, index: Path) -> None:
    publish(index, make_wheel(project.root / "made", "Foo_Bar"), name="foo-bar")
    assert project.resolve("{requirements: [foo.bar]}")["foo-bar"].file.startswith("Foo_Bar")
    publish(index, make_wheel(project.root / "made", "evil"))
    assert "shop" in project.complain("{requirements: [shop]}")


def test_an_index_that_does_not_answer_is_no_fault_of_the_definition(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(SourceError, match="the Python index does not answer"):
        project.resolve("{requirements: [shop]}")


def test_requirements_that_exclude_each_other_are_explained(project: Project) -> None:
    make_wheel(project.wheels, metadata="Requires-Dist: helper<2\n")
    make_wheel(project.wheels, "helper", "2.0")
    text = project.complain(OWN)
    assert "shop" in text
    assert "helper<2" in text


def test_a_file_with_hashes_is_taken_as_it_is(project: Project, index: Path) -> None:
    """Of several files of one version, the one whose hash is written; no dependency is added."""
    wheels = [
        make_wheel(project.root / "made", tag=tag, metadata="Requires-Dist: not-there\n")
        for tag in ("cp313-cp313-manylinux_2_17_x86_64", "cp313-cp313-manylinux_2_28_x86_64")
    ]
    publish(index, *wheels)
    for wheel in wheels:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (project.root / "r.txt").write_text(f"shop==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
        assert project.resolve("{requirements: r.txt}")["shop"].file == wheel.name
    (project.root / "r.txt").write_text(f"shop==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    text = project.complain("{requirements: r.txt}")
    assert "no wheel of shop 1.0 has one of the hashes" in text
    assert "r.txt:1" in text


def test_a_pylock_has_decided(project: Project, index: Path) -> None:
    wheel = make_wheel(project.root / "made")
    make_wheel(project.root / "made", version="2.0")
    publish(index, *sorted((project.root / "made").iterdir()))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    text = (
        f'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "shop"\nversion = "1.0"\n'
        f'wheels = [{{name = "{wheel.name}", url = "{HOST}/{wheel.name}", hashes = {{sha256 = "DIGEST"}}}}]\n'
    )
    (project.root / "pylock.toml").write_text(text.replace("DIGEST", digest), encoding="utf-8")
    assert project.resolve("{lock: pylock.toml}")["shop"].sha256 == digest
    (project.root / "pylock.toml").write_text(text.replace("DIGEST", "0" * 64), encoding="utf-8")
    assert "one of the hashes" in project.complain("{lock: pylock.toml}")


def test_a_container_with_an_environment(project: Project) -> None:
    """From the definition to the archive: locked, unpacked, imported, in the bill of materials, the same bits twice."""
    make_wheel(
        project.wheels,
        files={"shop/__init__.py": "from helper import answer\ndef main():\n    print(answer)\n", "shop/sub.py": ""},
        metadata="Requires-Dist: helper\nLicense-Expression: MIT\n",
        entry_points="[console_scripts]\nshop = shop:main\n",
    )
    make_wheel(project.wheels, "helper", files={"helper/__init__.py": "answer = 42\n", "helper/unused.py": ""})
    definition = project.write("{requirements: [shop], find_links: [wheels], imports: [shop], trim: [bytecode]}")
    digests = []
    trees: list[Tree] = []
    store = Store.open()
    for number in range(2):
        out = project.root / f"out{number}"
        with closing(QuietConsole(project.root / "build.log")) as console:
            request = BuildRequest(
                definition, out, store, console, no_cache=bool(number), watch=lambda _, tree: trees.append(tree)
            )
            manifest = json.loads(build_container(request).manifest.read_text())
        digests.append(manifest["artifacts"]["oci"]["sha256"])
    assert digests[0] == digests[1]
    names = [path.rpartition("/")[2] for path, _ in trees[-1].walk(ENVIRONMENT) if path.endswith(".pyc")]
    compiled = {name.partition(".")[0] for name in names}
    assert compiled == {"__init__", "sub"}, "what was not imported has no bytecode"
    text = definition.with_suffix(".lock").read_text()
    locked = Lock.load(definition.with_suffix(".lock"))
    assert [(w.name, w.version, w.environment) for w in locked.wheels] == [
        ("helper", "1.0", "shop"),
        ("shop", "1.0", "shop"),
    ]
    assert "wheels/" not in text
    assert "http" not in text
    bill = json.loads((project.root / "out0" / manifest["artifacts"]["sbom"]["path"]).read_text())
    (component,) = [each for each in bill["components"] if each.get("purl") == "pkg:pypi/shop@1.0"]
    assert component["licenses"] == [{"license": {"id": "MIT"}}]
    assert component["hashes"][0]["content"] == locked.wheels[1].sha256

    broken = project.write("{requirements: [shop], find_links: [wheels], imports: [shop, shop.gone]}")
    with pytest.raises(InputError, match=r"1 modules cannot be imported: shop.gone: ModuleNotFoundError"):
        build_container(BuildRequest(broken, project.root / "broken", store, QuietConsole()))
    assert not (project.root / "broken" / "build.json").exists()

    # The file under the locked name is another one now: it is never taken for the locked one.
    make_wheel(project.wheels, files={"shop/__init__.py": "evil = 1\n"})
    request = BuildRequest(definition, project.root / "out3", store, QuietConsole(), relock=False)
    with pytest.raises(InputError, match="Python environment shop"):
        build_container(request)
    resolved = load_container(definition).resolved
    with pytest.raises(SourceError, match="1 wheel is not in the store, and downloading is off"):
        fetch_locked_wheels(locked, resolved, project.store, QuietConsole(), offline=True)


def squat(wheels: Path) -> None:
    """A wheel of another distribution under the name that somebody asks for, as PEP 503 normalises it."""
    make_wheel(wheels, "Foo.Bar").rename(wheels / "foo_bar-1.0-py3-none-any.whl")
    make_wheel(wheels, "evil").rename(wheels / "shop-1.0-py3-none-any.whl")


@pytest.mark.parametrize(
    ("environment", "make", "words"),
    [
        ("{requirements: r.txt, find_links: [wheels]}", {}, "no wheel of shop 1.0 has one of the hashes"),
        (OWN, {"tag": "cp312-cp312-manylinux_2_17_x86_64"}, "shop has no wheel for Python 3.13"),
        ("{requirements: [shop, Foo_Bar], find_links: [wheels]}", squat, "shop==1.0 has an invalid package format"),
        (OWN, {"record": {"shop/__init__.py": describe(b"other")}}, "is not what its RECORD says: the hash differs"),
        (OWN, {"record": {"shop/__init__.py": None}}, "its RECORD does not name 'shop/__init__.py'"),
        (OWN, {"files": {"../../../etc/passwd": "x"}}, "'../../../etc/passwd' leads out of the environment"),
        (OWN, {"files": {"shop-1.0.data/data/../../etc/x": "x"}}, "leads out of the environment"),
        (
            "{requirements: [shop, other], find_links: [wheels]}",
            lambda wheels: [make_wheel(wheels, name, files={"both.py": name}) for name in ("shop", "other")],
            "two have one file: /usr/lib/python-environments/shop/lib/python3.13/site-packages/both.py",
        ),
        (OWN, {"metadata": "Requires-Dist: other @ git+https://host.example/other"}, "host.example"),
        ("{requirements: [-e .]}", {}, "an editable requirement points at a directory that the image does not have"),
        ("{requirements: ['shop @ git+https://host.example/shop']}", {}, "this names a repository"),
        ("{requirements: ['shop @ https://host.example/shop.tar.gz']}", {}, "this names a place instead of a version"),
    ],
)
def test_what_is_refused_leaves_nothing(
    project: Project, environment: str, make: dict[str, Any] | Callable[[Path], object], words: str
) -> None:
    (project.root / "r.txt").write_text(f"shop==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    if callable(make):
        make(project.wheels)
    else:
        make_wheel(project.wheels, **make)
    definition, store = project.write(environment), Store.open()
    before = {path.name for path in project.root.iterdir()}
    refused = (
        [] if callable(make) else [hashlib.sha256(path.read_bytes()).hexdigest() for path in project.wheels.iterdir()]
    )
    with pytest.raises(BuildError) as caught:
        build_container(BuildRequest(definition, project.root / "out", store, QuietConsole()))
    assert words in str(caught.value)
    out = project.root / "out"
    assert not out.exists() or {path.name for path in out.iterdir()} <= {".lock"}
    # Names and hashes may have been locked before a file was looked into; nothing was made of it.
    assert {path.name for path in project.root.iterdir()} - before <= {"out", "shop.lock"}
    assert not [path for path in (store.root / "packs").iterdir() if path.name.startswith(tuple(refused))]


def test_a_file_for_etc_is_refused_in_the_systems_environment(project: Project) -> None:
    make_wheel(project.wheels, files={"shop-1.0.data/data/etc/shop.conf": "x"})
    definition = project.write(OWN)
    definition.write_text(definition.read_text().replace("  shop: {", "  system: {"), encoding="utf-8")
    with pytest.raises(BuildError, match=r"a file for /etc, 'etc/shop.conf', and wheels cannot configure the system"):
        build_container(BuildRequest(definition, project.root / "out", Store.open(), QuietConsole()))
    assert not (project.root / "out" / "build.json").exists()
