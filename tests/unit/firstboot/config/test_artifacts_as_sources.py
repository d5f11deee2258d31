"""What a config may have in a registry, and who may say so."""

from __future__ import annotations

import json

import pytest

from firstboot.config.document import read
from firstboot.config.text import LocatedError

pytestmark = pytest.mark.unit

DIGEST = f"oci://registry.example:5000/team/app@sha256:{'0' * 64}"
YAML = f"""variant: buildos
version: 1.0.0
storage:
  files:
    - path: /etc/app.conf
      contents:
        source: "{DIGEST}#app.conf"
"""


def problems(text: str) -> str:
    document = read(text, "m.yaml")
    return str(LocatedError(document.located, document.problems)) if document.problems else ""


def test_a_file_may_be_in_a_registry() -> None:
    document = read(YAML, "m.yaml")
    assert document.problems == ()
    compiled = document.compile()
    assert compiled["ignition"]["version"].endswith("+buildos")  # so that no Ignition tries
    again = read(json.dumps(compiled), "m.ign").config
    assert again is not None
    assert document.config is not None
    assert again.storage == document.config.storage


@pytest.mark.parametrize("source", ["oci://host/name", "oci://host", "oci://host/Name:1", "oci://host/n:1@sha256:1"])
def test_what_names_no_artifact_is_refused(source: str) -> None:
    said = problems(YAML.replace(f"{DIGEST}#app.conf", source))
    assert "an artifact in a registry is named oci://HOST/NAME@sha256:DIGEST, or with :TAG" in said
    assert "m.yaml:7:17" in said


def test_a_tag_is_worth_a_warning_unless_the_contents_have_a_hash() -> None:
    tagged = YAML.replace(f"{DIGEST}#app.conf", "oci://host/name:1")
    assert "this tag may be another artifact tomorrow" in problems(tagged)
    assert read(tagged, "m.yaml").errors == ()
    assert problems(f"{tagged}        verification: {{hash: sha256-{'0' * 64}}}\n") == ""


def test_a_registry_gets_no_other_header() -> None:
    text = f"{YAML}        http_headers: [{{name: X-Token, value: abc}}]\n"
    assert "a registry is only ever sent the header 'Authorization'" in problems(text)


@pytest.mark.parametrize("head", ["variant: fcos\nversion: 1.5.0", "variant: flatcar\nversion: 1.1.0"])
def test_butane_has_no_artifacts(head: str) -> None:
    assert "only variant: buildos has artifacts of registries" in problems(
        YAML.replace("variant: buildos\nversion: 1.0.0", head)
    )


def test_ignition_has_no_artifacts() -> None:
    merging = {"ignition": {"version": "3.4.0", "config": {"merge": [{"source": DIGEST}]}}}
    assert "only variant: buildos has artifacts of registries" in problems(json.dumps(merging))
