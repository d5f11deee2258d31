"""What tests of ``variant: buildos`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_plainly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.document import read
from tests.support.variant import HEAD, Read


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Read]:
    """``config("hostname: a", values={...})``: what a text below the first two lines is, with files in ``tmp_path``."""

    def make(text: str, **given: dict[str, str] | dict[str, bytes]) -> Read:
        surroundings = Surroundings(LocalFiles(tmp_path), encode_plainly)._replace(**given)
        return Read(read(HEAD + text, "x", surroundings))

    return make
