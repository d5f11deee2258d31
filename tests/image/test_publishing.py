"""Versions are published as docs/publishing.md says, by its commands, with the zstd that does it in earnest."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from builder.build.last_build import find_built_tree
from builder.core.files import hash_file
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.initrd import make_initrd_tree, write_initrd
from builder.outputs.manifest import Artifact, Manifest, Timings
from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.making import make_products
from builder.products.product import MIB, Identity, Part
from builder.publishing.deltas import make_delta
from builder.publishing.publish import find_release
from builder.publishing.repository import open_repository
from builder.tree.node import Inline
from builder.verify.artifacts import read_members
from tests.support.command import Outcome, run_command
from tests.support.registry import RegistryServer
from update.delta import apply_delta
from update.documents import make_release_path
from update.errors import UpdateError
from vm.fakes.web import WebServer

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "publishing.md"
NOISE = random.Random(5).randbytes(4 * MIB)
# 16 KiB in the middle are others, and what is behind them has moved.
ROOTS = {"1.0.0": NOISE, "1.1.0": NOISE[: 2 * MIB] + random.Random(6).randbytes(16384) + NOISE[2 * MIB :]}


def find_zstd(tools: Tools) -> tuple[str, ...]:
    """That of the tools tree, as a command of this machine."""
    loader, libraries = tools.require_loader(str(tools.root))
    return loader, "--library-path", libraries, f"{tools.root}{tools.require('zstd')}"


def build(version: str, tools: Tools) -> None:
    """What ``build-os build`` leaves in ``out``, as far as publishing looks at it."""
    out = Path("out")
    out.mkdir(exist_ok=True)
    hashes = hashlib.sha256(version.encode()).digest() * 1000
    parts = {Part.ROOT: ROOTS[version], Part.VERITY: hashes, Part.UKI: b"MZ" + NOISE[:MIB] + version.encode()}
    for part, data in parts.items():
        (out / part).write_bytes(data)
    roothash = hashlib.sha256(ROOTS[version]).hexdigest()
    identity = Identity("web", version, "amd64", roothash, 86400, roothash)
    made = make_products([SYSTEM_PRODUCTS["update"]], {part: out / part for part in parts}, out, tools, identity)
    artifacts = {name: Artifact.measure(path, "tar") for name, path in made.items()}
    texts = {"definition": "os.yaml", "lock_sha256": "", "command_line": "", "key": "", "roothash": roothash}
    Manifest(
        name="web",
        version=version,
        arch="amd64",
        features=(),
        source_date_epoch=86400,
        tools=str(tools.root),
        artifacts=artifacts,
        scripts={},
        timings=Timings(),
        **texts,
    ).write(out / "build.json")


def read_commands() -> list[str]:
    """What a reader of the page types."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with WebServer() as web:
        yield RegistryServer(web)


def test_the_page_publishes_two_versions_and_a_delta_makes_one_of_the_other(
    tools: Tools,
    registry: RegistryServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    versions = iter(ROOTS)
    run = partial(run_command, capsys)
    seen: list[Outcome] = []
    for line in read_commands():
        words = re.findall(r'"([^"]*)"|(\S+)', line.replace("registry.example", registry.host))
        program, *arguments = [quoted or plain for quoted, plain in words]
        if "--push" in arguments:
            arguments.append("--tls-verify=false")
        if arguments == ["build"]:
            build(next(versions), tools)
        elif program == "build-os":
            seen.append(run(*arguments))
            assert seen[-1].status == 0, seen[-1]
    assert next(versions, None) is None
    assert any("web for amd64: 1.0.0, 1.1.0" in outcome.out for outcome in seen)

    assert "timestamp.json" in registry.repository("team/web").tags

    repository = open_repository(Path("repository"), None)
    release = find_release(repository, "web", "amd64", "1.1.0")
    assert release is not None
    (delta,) = [delta for delta in release.deltas if delta.part == "root"]
    assert delta.source == "1.0.0"
    # Of 4 MiB that do not compress.
    assert delta.size < 20_000
    Path("old").write_bytes(ROOTS["1.0.0"] + bytes(MIB))  # a slot is larger than what is in it
    file = repository.locate(make_release_path("web", "amd64", "1.1.0", delta.name))
    part = release.parts["root"]
    zstd = find_zstd(tools)
    out = io.BytesIO()
    apply_delta(Path("old"), file, out, size=part.size, sha256=part.sha256, zstd=zstd)
    assert out.getvalue() == ROOTS["1.1.0"]

    Path("other").write_bytes(ROOTS["1.1.0"])
    damaged = Path("damaged")
    damaged.write_bytes(file.read_bytes()[:-9])
    for old, packed in ((Path("other"), file), (Path("old"), damaged), (Path("old"), Path("other"))):
        with pytest.raises(UpdateError):
            apply_delta(old, packed, io.BytesIO(), size=part.size, sha256=part.sha256, zstd=zstd)

    shown = run("publish", "repository", "--show", "1.1.0", "--json")
    assert json.loads(shown.out)["version"] == "1.1.0"
    for arguments, message in (
        (("--version", "7"), "7 is not in repository"),
        (("--rollout", "soon"), "'soon' is no duration"),
        (("--channel", "../x"), "'../x' is no name of a channel"),
        (("--prune", "0"), "--prune 0 makes no sense"),
        (("--keys", "nowhere"), "nowhere has 0 of the 1 keys"),
    ):
        refused = run("publish", "repository", *arguments)
        assert (refused.status, message in refused.err) == (2, True), refused


def test_a_library_that_is_also_in_the_initrd_costs_an_update_its_own_bytes(
    demo: Path, store: Store, tools: Tools, tmp_path: Path
) -> None:
    assert demo.exists()
    image = find_built_tree(store, REPOSITORY / "configs/demo.yaml")
    assert image is not None
    one = make_initrd_tree(image, [REPOSITORY / "overlays/initrd"])
    path = next(path for path, _ in one.walk() if path.endswith("/libcrypto.so.3"))
    library = one.require(path)
    # Nothing of it is where it was, as in another version.
    other = one.copy()
    other.put(path, library.copy_with(content=Inline(library.content.read()[::-1])))
    for name, tree in {"one": one, "other": other}.items():
        (tmp_path / "scratch").mkdir(exist_ok=True)
        write_initrd(tree, tools, tmp_path / "scratch", tmp_path / name)
    make_delta("uki", tmp_path / "one", tmp_path / "other", tmp_path / "delta", tools)
    (tmp_path / "library").write_bytes(other.require(path).content.read())
    tools.run("zstd", "-q", "-10", tmp_path / "library")
    alone, delta, whole = ((tmp_path / name).stat().st_size for name in ("library.zst", "delta", "other"))
    print(f"initrd {whole}, library {alone}, delta {delta} bytes")
    assert delta < alone * 1.2
    with (tmp_path / "made").open("wb") as out:
        digest = hash_file(tmp_path / "other")
        apply_delta(tmp_path / "one", tmp_path / "delta", out, size=whole, sha256=digest, zstd=find_zstd(tools))
    # The kernel unpacks one archive behind the other; so do we.
    tools.run("zstd", "-q", "-d", tmp_path / "other", "-o", tmp_path / "plain")
    with (tmp_path / "plain").open("rb") as file:
        paths = {f"/{name}" for name, _ in read_members(file)}
    assert {path for path, _ in other.walk() if path != "/" and not path.startswith("/usr/lib/modules/")} <= paths
