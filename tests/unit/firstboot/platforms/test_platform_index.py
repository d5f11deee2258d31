"""The index of platforms: what it says of them, and that an image has it ready."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from firstboot import platform_index
from firstboot.fetch.clock import Clock
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platform_index import fill_in, import_all, load_index, make_index
from firstboot.platforms import CLOUD, HYPERVISOR, import_platform
from firstboot.platforms.shared import metadata_service

pytestmark = pytest.mark.unit


def test_an_image_has_the_index_that_the_files_give() -> None:
    text = fill_in(Path(platform_index.__file__).read_text(encoding="utf-8"), make_index())
    module: dict[str, Any] = {"__name__": "filled_in", "__file__": "nowhere"}
    exec(compile(text, "platform_index.py", "exec"), module)
    assert tuple(module["load_index"]()) == tuple(make_index())


def test_a_cloud_is_recognised_before_what_it_is_made_of() -> None:
    layers = [import_all()[platform].layer for *_, platform in load_index().firmware]
    assert layers == sorted(layers)
    assert {CLOUD, HYPERVISOR} < set(layers)


def test_no_two_platforms_are_shown_by_the_same_words() -> None:
    entries = load_index().firmware
    for field, beginning, platform in entries:
        same = [other for where, words, other in entries if where == field and words.startswith(beginning)]
        assert set(same) == {platform}


@pytest.mark.parametrize("name", load_index().names)
def test_a_platform_says_whether_it_needs_a_network(
    name: str, tree: Path, programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fetch-offline`` goes by what its file says."""
    asked: list[str] = []

    def bring_up(*_arguments: object) -> None:
        asked.append(name)
        raise FetchError("there is none")

    monkeypatch.setattr(metadata_service, "bring_up", bring_up)
    places = Places(tree, programs, Connector(Clock(2000)))
    with contextlib.suppress(FetchError):
        import_platform(name).fetch_config(places, Log(io.StringIO(), priorities=False))
    assert bool(asked) == (name in load_index().with_network)
