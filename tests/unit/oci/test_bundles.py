"""Bundles for runtimes: what an image says becomes a config.json that the runtime-spec knows."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from builder.core.errors import InputError
from builder.oci.accounts import Account, find_account
from builder.oci.bundle import make_bundle, write_bundle
from builder.oci.image import ImageConfig, make_config_json, write_layout
from builder.oci.runtime_config import Owner, make_runtime_config
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree
from tests.support.fuzz import examples, of_words
from tests.support.oci_schemas import SCHEMAS, find_mistakes, find_mistakes_of_layout

pytestmark = pytest.mark.unit

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:33::/srv/web:/bin/false\nbroken\n"
GROUP = "root:x:0:\nwww-data:x:33:web\nlogs:x:44:other,web\nvideo:x:20:web\n"


@pytest.fixture
def root() -> Tree:
    tree = Tree()
    tree.put("/etc/passwd", make_file(PASSWD, origin="t"))
    tree.put("/etc/group", make_file(GROUP, origin="t"))
    tree.put("/srv/web", make_directory(0o750, origin="t", uid=1000, gid=33))
    return tree


def make_image(**run: Any) -> dict[str, object]:
    image = make_config_json(ImageConfig("amd64", "web", "1", entrypoint=("/bin/web",)), [])
    return image | {"config": image["config"] | run}  # type: ignore[operator]  # a dict


@pytest.mark.parametrize("owner", [None, Owner(1000, 1000)], ids=["root", "rootless"])
@pytest.mark.parametrize("user", ["", "web"])
def test_config_is_one_by_the_runtime_spec(root: Tree, owner: Owner | None, user: str) -> None:
    config = make_runtime_config(make_image(User=user), root, name="web", owner=owner)
    assert find_mistakes("runtime-config", config) == []


def test_image_says_what_runs(root: Tree) -> None:
    image = make_image(
        Cmd=["--port", "80"], Env=["A=b"], WorkingDir="/srv", User="web", Labels={"a": "b"}, StopSignal="SIGINT"
    )
    config: Any = make_runtime_config(image, root, name="web")
    process = config["process"]
    assert process["args"] == ["/bin/web", "--port", "80"]
    assert process["env"][1:] == ["A=b", "HOME=/srv/web"]
    assert process["env"][0].startswith("PATH=/usr/local/sbin:")
    assert process["cwd"] == "/srv"
    assert process["user"] == {"uid": 1000, "gid": 33, "additionalGids": [20, 44]}
    assert config["annotations"] == {
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
        "org.opencontainers.image.stopSignal": "SIGINT",
        "a": "b",
    }


def test_variables_of_the_image_count_more_than_ours(root: Tree) -> None:
    config: Any = make_runtime_config(make_image(Env=["PATH=/opt", "HOME=/x"]), root, name="web")
    assert config["process"]["env"] == ["PATH=/opt", "HOME=/x"]


def test_only_root_has_capabilities_and_nobody_inherits_any(root: Tree) -> None:
    as_root: Any = make_runtime_config(make_image(), root, name="web")
    assert sorted(as_root["process"]["capabilities"]) == ["bounding", "effective", "permitted"]
    as_web: Any = make_runtime_config(make_image(User="web"), root, name="web")
    assert sorted(as_web["process"]["capabilities"]) == ["bounding"]


def test_bundle_for_a_user_is_in_a_namespace_of_that_user(root: Tree) -> None:
    config: Any = make_runtime_config(make_image(), root, name="web", owner=Owner(1234, 99))
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1234, "size": 1}]
    assert "resources" not in config["linux"]
    assert not any("gid=5" in mount["options"] for mount in config["mounts"])


def test_image_that_runs_nothing_is_refused(root: Tree) -> None:
    with pytest.raises(InputError, match="says nothing that could be run"):
        make_runtime_config(make_image(Entrypoint=None), root, name="web")


@pytest.mark.parametrize(
    ("user", "account"),
    [
        ("", Account(0, 0, (), "/root")),
        ("0", Account(0, 0, (), "/root")),
        ("web", Account(1000, 33, (20, 44), "/srv/web")),
        ("1000", Account(1000, 33, (20, 44), "/srv/web")),
        ("web:logs", Account(1000, 44, (), "/srv/web")),
        ("7:8", Account(7, 8, (), "/")),
        ("7", Account(7, 0, (), "/")),
        (":logs", Account(0, 44, (), "/root")),
    ],
)
def test_users_are_found_by_name_and_by_number(root: Tree, user: str, account: Account) -> None:
    assert find_account(root, user) == account


@pytest.mark.parametrize("user", ["nobody", "web:nobody", "4294967295", "-1", "0x10"])
def test_user_that_the_image_does_not_have_is_refused(root: Tree, user: str) -> None:
    with pytest.raises(InputError, match=r"the image has no (user|group)"):
        find_account(root, user)


def test_image_without_accounts_has_numbers() -> None:
    assert find_account(Tree(), "12:13") == Account(12, 13)


@examples(100)
@given(
    passwd=of_words("web", ":", "\n", "x", "0", "1000", "/srv", "-1", "4294967296"),
    user=of_words("web", ":", "0", "7", size=4),
)
def test_any_passwd_gives_an_account_or_an_error(passwd: str, user: str) -> None:
    tree = Tree()
    tree.put("/etc/passwd", make_file(passwd.encode(errors="replace"), origin="t"))
    try:
        account = find_account(tree, user)
    except InputError:
        return
    assert 0 <= account.uid < 2**32 - 1


def test_tar_of_a_bundle_has_owners_and_the_same_bytes_each_time(root: Tree, tmp_path: Path) -> None:
    config = make_runtime_config(make_image(), root, name="web")
    for name in ("one", "two"):
        write_bundle(make_bundle(root, config), tmp_path / name, created=0)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "one").read_bytes())) as archive:
        assert json.load(archive.extractfile("config.json")) == config  # type: ignore[arg-type]  # it is a file
        member = archive.getmember("rootfs/srv/web")
        assert (member.uid, member.gid, member.mode) == (1000, 33, 0o750)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_documents_that_we_write_are_what_the_schemas_say(root: Tree, tmp_path: Path, architecture: str) -> None:
    write_layout(root, ImageConfig(architecture, "web", "1", ("/x",), ports=("80", "53/udp"), user="web"), tmp_path)
    assert find_mistakes_of_layout(tmp_path) == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_are_closed_and_demand_something(kind: str) -> None:
    assert find_mistakes(kind, {"misspelt": 1}) != []
    assert find_mistakes(kind, []) != []


def test_schemas_find_mistakes(root: Tree) -> None:
    good = make_runtime_config(make_image(), root, name="web")
    for key, value in (("ociVersion", "2"), ("root", {}), ("mounts", [{"destination": "proc"}]), ("process", None)):
        assert find_mistakes("runtime-config", good | {key: value}) != []
