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

from builder.core.tools import Tools
from builder.outputs.manifest import Artifact, Manifest, Timings
from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.making import make_products
from builder.products.product import MIB, Identity, Part
from builder.publishing.publish import find_release
from builder.publishing.repository import open_repository
from tests.support.command import Outcome, run_command
from tests.support.registry import RegistryServer
from update.delta import apply_delta
from update.documents import make_release_path
from update.errors import UpdateError
from vm.fakes.web import WebServer

pytestmark = pytest.mark.image

PAGE = Path(__file__).parents[2] / "docs" / "publishing.md"
NOISE = random.Random(5).randbytes(4 * MIB)
# 16 KiB in the middle are others, and what is behind them has moved.
ROOTS = {"1.0.0": NOISE, "1.1.0": NOISE[: 2 * MIB] + random.Random(6).randbytes(16384) + NOISE[2 * MIB :]}


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
    loader, libraries = tools.require_loader(str(tools.root))
    zstd = (loader, "--library-path", libraries, f"{tools.root}{tools.require('zstd')}")
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
