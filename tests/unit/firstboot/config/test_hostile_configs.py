"""Configs of the largest size and the worst shape: an answer in seconds, never a hang or a traceback."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from firstboot.config.document import read
from firstboot.config.origins import collect_by_document
from firstboot.config.text import MAX_BYTES, LocatedError, decode
from firstboot.engine.compile import check

pytestmark = pytest.mark.unit

FCOS = "variant: fcos\nversion: 1.7.0\n"
SECONDS = 10  # of processor time, on a slow machine; a quadratic step takes minutes


def ignition(**sections: Any) -> str:
    return json.dumps({"ignition": {"version": "3.6.0"}, **sections})


MERGES = "".join(f"m{each}: &m{each} {{<<: [{', '.join([f'*m{each - 1}'] * 9)}]}}\n" for each in range(1, 9))
HOSTILE = {
    "a bomb of merge keys": FCOS + "m0: &m0 {k: 1}\n" + MERGES + "storage: {<<: *m8}\n",
    "brackets in YAML": FCOS + "x: " + "[" * 200_000,
    "brackets in JSON": '{"a":' * 200_000,
    "a long scalar": FCOS + "x: " + "a" * (MAX_BYTES - 100),
    "only comments": FCOS + "# c\n" * 1_000_000,
    "millions of values": '{"ignition":{"version":"3.6.0"},"x":[' + "1," * 2_000_000 + "1]}",
    "many unknown settings": FCOS + "".join(f"k{each}: 1\n" for each in range(20_000)),
    "one path many times": ignition(storage={"files": [{"path": "/a"}] * 20_000}),
    "hard links and directories": ignition(
        storage={
            "directories": [{"path": f"/d{each}"} for each in range(8_000)],
            "links": [{"path": f"/l{each}", "target": "x", "hard": True} for each in range(8_000)],
        }
    ),
    "a unit of millions of lines": ignition(
        systemd={"units": [{"name": "a.service", "contents": "[Unit]\nA=b\n" * 300_000}]}
    ),
    "a unit without a section": ignition(systemd={"units": [{"name": "a.service", "contents": "a\n" * 2_000_000}]}),
    "control characters": FCOS + "x: \x1b[31m\n",
    "NUL": FCOS + "x: \0\n",
    "a tag that builds objects": FCOS + "x: !!python/object/apply:os.system [true]\n",
    "half a surrogate": ignition(storage={"files": [{"path": "/\ud800"}]}),
    "numbers of thousands of digits": FCOS + f"x: {'9' * 5000}\ny: 0x{'f' * 5000}\n",
}


def test_very_many_problems_are_drawn_by_going_through_the_text_once() -> None:
    text = FCOS + "".join(f"k{each}: 1\n" for each in range(20_000)) + "storage: 1\n"
    started = time.process_time()
    said = [str(error) for error in collect_by_document(check([("x", text)]))]
    assert "".join(said).count("unknown setting") == 20_000
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_worst_configs_get_an_answer_in_time(text: str) -> None:
    started = time.process_time()
    try:
        said = "x" if read(text, "x") else ""
    except LocatedError as error:
        said = str(error)
    assert said.startswith("x")
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("variant: fcos\n".encode("utf-16"), "UTF-16"),
        ("variant: fcos\n".encode("utf-16-be"), "UTF-16"),
        (b"variant: \xff\n", "not UTF-8"),
        (b"x" * (MAX_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, says: str) -> None:
    with pytest.raises(LocatedError) as caught:
        decode(data, "x")
    assert says in str(caught.value)
