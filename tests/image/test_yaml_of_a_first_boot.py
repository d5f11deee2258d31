"""A first boot reads YAML with a part of PyYAML; it has to read what the whole package reads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tests.bench.firstboot import CONFIGS

pytestmark = pytest.mark.image

PROGRAM = """
import json, sys
if sys.argv[1] == "alone":
    from firstboot.config import yaml_parser
    yaml_parser.leave_out_the_rest()
from firstboot.config.text import LocatedError
from firstboot.config.yaml_text import load_yaml
for text in json.load(sys.stdin):
    try:
        located = load_yaml(text, "x.yaml")
        print(json.dumps([located.data, sorted(map(str, located.marks.items()))]))
    except LocatedError as error:
        print(json.dumps(str(error)))
print(json.dumps("yaml.constructor" in sys.modules and hasattr(sys.modules["yaml.constructor"], "SafeConstructor")))
"""
TEXTS = [
    next(text for title, text in CONFIGS.items() if title.startswith("typical")),
    "a: &x [1, 0644, 0o644, .5, yes, true, ~, 2001-01-01, 12:30]\nb: *x\nc: !!str 5\nd: {e: 'f', \"g\": |\n h}\n",
    "a: &x {b: 1}\nc: {<<: *x}\n",
    "a: [1\n",
    "a:\n\t- b\n",
    "a: b: c\n",
    "a: *nothing\n",
    "a: \x07\n",
    "a: 1\na: 2\n",
    "--- 1\n--- 2\n",
    "",
]


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="this PyYAML is without libyaml; images have it")
def test_a_first_boot_reads_yaml_as_everybody_does() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, how],
            input=json.dumps(TEXTS),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for how in ("alone", "whole")
    ]
    assert said[0][:-1] == said[1][:-1]
    assert len(said[0]) == len(TEXTS) + 1
    assert (said[0][-1], said[1][-1]) == ("false", "true")  # so that it was the part indeed
