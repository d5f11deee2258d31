"""Any config, applied to any root: the second time there is nothing to do, and whatever was broken is made good."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from builder.provisioning.offline import OfflinePrograms
from firstboot.apply.action import Machine
from firstboot.apply.root import Root
from firstboot.config.loaded import LoadedConfig
from firstboot.config.origins import ConfigError
from firstboot.config.text import LocatedError
from firstboot.drift.changes import list_changes
from firstboot.drift.reapply import apply_again, prepare_again
from firstboot.engine.compile import load
from firstboot.engine.errors import ActionFailed
from firstboot.engine.record import read_record
from firstboot.log import Log

pytestmark = pytest.mark.unit

SETTINGS = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # disks are waited for, many times
PATHS = st.sampled_from(
    ["/etc/a", "/etc/b", "/etc/d/a", "/etc/d/e/b", "/etc/there", "/etc/full", "/etc/full/x", "/etc/l"]
)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o4755])
TEXTS = st.sampled_from(["data:,", "data:,x", "data:,a%0Ab%0A", "data:;base64,AP8="])
FLAGS = st.booleans()


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that may lack any of these."""
    return st.fixed_dictionaries({}, optional=fields)


def element(key: str, keys: st.SearchStrategy[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda name, more: {key: name, **more}, keys, some(**fields))


def several(one: st.SearchStrategy[Any], key: str) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, max_size=3, unique_by=lambda each: each[key])


RESOURCE = st.builds(lambda source: {"source": source}, TEXTS)
OWNER = st.sampled_from([{"id": 0}, {"id": 33}, {"name": "root"}, {"name": "core"}])
NODE: dict[str, st.SearchStrategy[Any]] = {"overwrite": FLAGS, "user": OWNER, "group": OWNER}
UNIT = "[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=a.target\n"
CONFIGS = some(
    passwd=some(
        users=several(
            element(
                "name",
                st.sampled_from(["core", "root"]),
                shell=st.sampled_from(["/bin/sh", "/bin/bash"]),
                gecos=st.sampled_from(["", "A B"]),
                groups=st.sampled_from([[], ["adm"]]),
                passwordHash=st.sampled_from(["", "*", "$6$x"]),
                sshAuthorizedKeys=st.sampled_from([[], ["ssh-ed25519 A"]]),
                noCreateHome=FLAGS,
                system=FLAGS,
            ),
            "name",
        ),
        groups=several(element("name", st.sampled_from(["adm", "new"]), gid=st.sampled_from([4, 77])), "name"),
    ),
    storage=some(
        files=several(
            element("path", PATHS, mode=MODES, contents=RESOURCE, append=st.lists(RESOURCE, max_size=2), **NODE), "path"
        ),
        directories=several(element("path", PATHS, mode=MODES, **NODE), "path"),
        links=several(
            element("path", PATHS, target=st.sampled_from(["a", "/etc/there"]), hard=FLAGS, overwrite=FLAGS), "path"
        ),
    ),
    systemd=some(
        units=several(
            element(
                "name",
                st.sampled_from(["a.service", "b@.service", "b@i.service", "there.service"]),
                contents=st.just(UNIT),
                enabled=FLAGS,
                mask=FLAGS,
                dropins=st.sampled_from([[], [{"name": "a.conf", "contents": "[Unit]\nDescription=x\n"}]]),
            ),
            "name",
        )
    ),
)


@contextmanager
def machine() -> Iterator[Machine]:
    """A small root with things in the way."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        etc = Path(directory, "etc")
        (etc / "full").mkdir(parents=True)
        (etc / "full/inside").write_text("inside")
        (etc / "there").write_text("there\n")
        (etc / "l").symlink_to("there")
        (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (etc / "shadow").write_text("root:*:1::::::\n")
        (etc / "group").write_text("root:x:0:\nadm:x:4:\n")
        Path(directory, "var/lib").mkdir(parents=True)
        units = Path(directory, "usr/lib/systemd/system")
        units.mkdir(parents=True)
        for name in ("there.service", "b@.service"):
            (units / name).write_text(UNIT)
        with Root(directory) as root:
            yield Machine(root, OfflinePrograms.make(root))


def loaded(data: dict[str, Any]) -> LoadedConfig:
    import json

    try:
        return load(json.dumps({"ignition": {"version": "3.6.0"}, **data}), "x")
    except (LocatedError, ConfigError):
        assume(False)
        raise AssertionError from None


def steps(config: LoadedConfig, machine: Machine) -> list[str]:
    machine.names.forget()
    with prepare_again(config, machine, read_record(machine.root), None) as again:
        return [each.describe() for each in again.actions]


def everything(machine: Machine) -> dict[str, tuple[int, bytes]]:
    paths = [path for path in Path(machine.root.directory).rglob("*") if "firstboot" not in path.parts]
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        for path in paths
    }


def applied(config: LoadedConfig, machine: Machine) -> None:
    machine.names.forget()
    before = everything(machine)
    try:
        with prepare_again(config, machine, read_record(machine.root), None) as again:
            apply_again(again, machine, {}, Log(io.StringIO()))
    except (ConfigError, ActionFailed):
        # This root is not one for this config; then nothing has happened to it.
        assert everything(machine) == before
        assume(False)


@given(data=CONFIGS)
@SETTINGS
def test_the_second_time_there_is_nothing_to_do(data: dict[str, Any]) -> None:
    config = loaded(data)
    with machine() as there:
        applied(config, there)
        assert steps(config, there) == []
        record = read_record(there.root)
        assert record is not None
        assert list_changes(record, config.config, there) == []


@given(data=CONFIGS, seed=st.randoms(use_true_random=False))
@SETTINGS
def test_whatever_is_broken_is_made_good(data: dict[str, Any], seed: Any) -> None:
    config = loaded(data)
    with machine() as there:
        applied(config, there)
        record = read_record(there.root)
        assert record is not None
        for path, entry in record.entries.items():
            broken = Path(there.root.directory + path)
            if "preset" in path or (entry.kind == "file" and path in record.texts):
                continue  # others write there as well
            match seed.choice(["gone", "mode", "text", "nothing"]):
                case "gone":
                    shutil.rmtree(broken) if entry.kind == "directory" else broken.unlink(missing_ok=True)
                case "mode" if entry.kind != "link" and broken.exists():
                    broken.chmod(0o711)
                case "text" if entry.kind == "file" and broken.exists():
                    broken.write_text("broken")
                case _:
                    pass
        applied(config, there)
        assert steps(config, there) == []
