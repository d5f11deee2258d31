"""The schema as pydantic models: what programs write with them is what machines read."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from builder.provisioning.typed import Config
from firstboot.config import models
from firstboot.config.building import Builder
from firstboot.config.document import read
from firstboot.config.text import Located
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

FULL: dict[str, Any] = {
    "ignition": {
        "version": "3.6.0",
        "config": {"merge": [{"source": "https://example.com/more", "httpHeaders": [{"name": "a", "value": "b"}]}]},
        "timeouts": {"httpTotal": 30},
        "proxy": {"noProxy": ["example.com"]},
    },
    "kernelArguments": {"shouldExist": ["quiet"]},
    "passwd": {"users": [{"name": "core", "uid": 1000, "groups": ["sudo"], "noCreateHome": True}]},
    "storage": {
        "disks": [{"device": "/dev/vdb", "partitions": [{"label": "data", "number": 1, "sizeMiB": 100}]}],
        "raid": [{"name": "r", "level": "raid1", "devices": ["/dev/vdb", "/dev/vdc"], "spares": 0}],
        "luks": [{"name": "l", "device": "/dev/md/r", "clevis": {"tpm2": True}}],
        "filesystems": [{"device": "/dev/vdb1", "format": "ext4", "path": "/var/data"}],
        "files": [{"path": "/etc/motd", "mode": 420, "contents": {"source": "data:,hello"}, "user": {"id": 0}}],
        "links": [{"path": "/etc/link", "target": "motd"}],
    },
    "systemd": {"units": [{"name": "a.service", "enabled": True, "dropins": [{"name": "b.conf", "contents": "x"}]}]},
}
JUNK = st.sampled_from([None, True, 0, -1, 2**63, 1.5, "", "text", [], {}, ["a"], [1], {"a": "b"}, {"name": "a"}])


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, inner in below for each in paths_of(inner, (*path, key)))][path == () :]


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(FULL)
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return data


def test_what_a_program_wrote_is_what_the_machine_reads() -> None:
    written = Config.model_validate(FULL).model_dump_json(by_alias=True, exclude_unset=True)
    assert json.loads(written) == FULL
    assert not read(written, "config.json").problems


def test_both_spellings_and_values_that_are_not_given() -> None:
    config: Any = Config(passwd={"users": [{"name": "core", "no_create_home": True}]})
    assert config.model_dump_json(by_alias=True, exclude_unset=True) == (
        '{"passwd":{"users":[{"name":"core","noCreateHome":true}]}}'
    )
    assert config.storage.files == ()
    assert config.ignition.timeouts.http_total is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("storage", "files", 0, "mode"), "0644", "valid integer"),
        (("storage", "files", 0, "mood"), 420, "Extra inputs"),
        (("ignition", "timeouts", "httpTotal"), 2**63, "less than or equal"),
        (("systemd", "units"), {}, "valid tuple"),
    ],
)
def test_what_is_not_of_its_type_is_refused(path: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate(replaced(path, value))


def test_all_settings_of_ignition_are_there_and_none_of_our_own() -> None:
    said = json.dumps(Config.model_json_schema())
    assert all(f'"{name}"' in said for name in ("sizeMiB", "noCreateHome", "thumbprint", "shouldNotExist"))
    assert not any(f'"{name}"' in said for name in ("hostname", "network", "secrets"))


@examples(300)
@given(path=st.sampled_from(paths_of(FULL)), value=JUNK)
def test_both_schemas_take_and_refuse_the_same(path: tuple[Any, ...], value: Any) -> None:
    """The machine's reader, after the walk that drops unknown keys, and pydantic."""
    data = replaced(path, value)
    try:
        Config.model_validate(data)
        taken = True
    except ValidationError as error:
        if any(each["type"] == "extra_forbidden" for each in error.errors()):
            return  # the walk's part
        taken = False
    builder = Builder(data, {}, Located("a", "", data, {}, {}))
    builder.build(models.Config, data, ())
    assert (builder.problems == []) == taken, builder.problems
