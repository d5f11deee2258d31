"""First boots whose config names other configs, contents, keys and authorities by URL."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from firstboot.engine.provision import run
from firstboot.log import Log
from firstboot.places import Places

pytestmark = pytest.mark.unit

VERSION = {"version": "3.4.0"}


class Guest:
    """A machine in a directory whose outside is the test's."""

    def __init__(self, root: Path, programs: Any, outside: Any) -> None:
        self.root = root
        self.places = Places(root, programs, outside)
        self.log = ""
        for directory in ("sys/firmware/qemu_fw_cfg", "proc", "dev", "var", "run/state", "usr/lib"):
            (root / directory).mkdir(parents=True)
        (root / "usr/lib/os-release").write_text('IMAGE_ID="demo"\nIMAGE_VERSION=1\n')
        (root / "dev/console").touch()

    def boot(self, config: dict[str, Any] | str) -> int:
        entry = self.root / "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config"
        entry.mkdir(parents=True, exist_ok=True)
        data = (config if isinstance(config, str) else json.dumps(config)).encode()
        (entry / "raw").write_bytes(data)
        (entry / "size").write_text(f"{len(data)}\n")
        stream = io.StringIO()
        status = run(self.places, Log(stream, priorities=False))
        self.log = stream.getvalue()
        return status

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def etc(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in (self.root / "etc").rglob("*"))


@pytest.fixture
def guest(accounts: Path, programs: Any, outside: Any) -> Guest:
    return Guest(accounts, programs, outside)


def ignition(files: dict[str, str] | None = None, **sections: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"ignition": {**VERSION, **sections}}
    if files:
        config["storage"] = {"files": [{"path": path, "contents": {"source": url}} for path, url in files.items()]}
    return config


def merging(*urls: str, **sections: Any) -> dict[str, Any]:
    return ignition(config={"merge": [{"source": url} for url in urls]}, **sections)


def test_configs_are_merged_with_what_they_merge_themselves(guest: Guest, outside: Any) -> None:
    served = {
        "/a": merging("http://two/b"),
        "/b": ignition({"/etc/b": "data:,b", "/etc/both": "data:,b"}),
        "/c": ignition({"/etc/both": "data:,c"}),
    }
    for host in ("one", "two"):
        outside.serve(f"http://{host}", lambda asked: json.dumps(served[asked.path]).encode())
    assert guest.boot(merging("http://one/a", "http://one/c")) == 0
    assert (guest.text("etc/b"), guest.text("etc/both")) == ("b", "c")


def test_configs_and_contents_come_from_a_registry(guest: Guest, outside: Any) -> None:
    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def layer(data: bytes, title: str) -> dict[str, Any]:
        row = {"mediaType": "text/plain", "digest": digest(data), "size": len(data)}
        return {**row, "annotations": {"org.opencontainers.image.title": title}}

    greeting = b"hello from afar"
    more = json.dumps(ignition({"/etc/merged": "data:,m"})).encode()
    manifest = json.dumps({"layers": [layer(greeting, "greeting"), layer(more, "more.ign")]}).encode()
    things = {digest(each): each for each in (greeting, more, manifest)}
    outside.serve("http://registry", lambda asked: things[asked.path.rpartition("/")[2]])
    source = f"oci+http://registry/fleet/base@{digest(manifest)}"
    config = f"""
variant: buildos
version: 1.0.0
ignition:
  config:
    merge: [{{source: "{source}#more.ign"}}]
storage:
  files:
    - path: /etc/greeting
      contents: {{source: "{source}#greeting"}}
"""
    assert guest.boot(config) == 0, guest.log
    assert (guest.text("etc/greeting"), guest.text("etc/merged")) == ("hello from afar", "m")
    things[digest(greeting)] = b"something else"
    (guest.root / "run/state/firstboot/complete").unlink()
    (guest.root / "etc/greeting").unlink()
    assert guest.boot(config) == 1
    assert "sent another layer than the manifest names" in guest.log
    assert "etc/greeting" not in guest.etc()


def test_a_config_elsewhere_takes_the_place_of_this_one(guest: Guest, outside: Any) -> None:
    outside.serve("http://one", lambda _: json.dumps(ignition({"/etc/new": "data:,n"})).encode())
    old = ignition({"/etc/old": "data:,o"}, config={"replace": {"source": "http://one/"}})
    assert guest.boot(old) == 0
    assert guest.text("etc/new") == "n"
    assert "etc/old" not in guest.etc()


def test_contents_are_fetched_unpacked_and_put_together(guest: Guest, outside: Any) -> None:
    large = os.urandom(3_000_000)
    bodies = {"/large": gzip.compress(large), "/more": b"more"}
    asked = outside.serve("http://one", lambda asked: bodies[asked.path])
    digest = hashlib.sha256(large).hexdigest().upper()
    contents = {
        "source": "http://one/large", "compression": "gzip", "verification": {"hash": f"sha256-{digest}"},
    }  # fmt: skip
    config = ignition()
    config["storage"] = {
        "files": [
            {"path": "/etc/large", "contents": contents, "append": [{"source": "http://one/more"}]},
            {"path": "/etc/copy", "contents": {"source": "http://one/more"}},
        ]
    }
    assert guest.boot(config) == 0
    assert (guest.root / "etc/large").read_bytes() == large + b"more"
    assert guest.text("etc/copy") == "more"
    assert [each.path for each in asked] == ["/large", "/more"]  # what two files have is fetched once
    assert not list((guest.root / "run/state").rglob("fetched-*"))


def test_nothing_is_written_when_the_last_of_many_cannot_be_had(guest: Guest, outside: Any) -> None:
    outside.serve("http://one", lambda asked: b"here" if asked.path == "/there" else 404)
    before = guest.etc()
    (guest.root / "run/state/firstboot/fetched-power-cut").mkdir(parents=True)
    config = """variant: fcos
version: 1.5.0
storage:
  files:
    - path: /etc/first
      contents: {source: "http://one/there"}
    - path: /etc/second
      contents:
        source: http://one/gone
"""
    assert guest.boot(config) == 1
    assert guest.etc() == before
    assert not list((guest.root / "run/state").rglob("fetched-*"))
    shown = guest.text("dev/console")
    assert ":9:17: " in shown
    assert "source: http://one/gone" in shown


@pytest.mark.parametrize("what", ["config", "file"])
def test_a_wrong_hash_is_pointed_at(guest: Guest, outside: Any, what: str) -> None:
    outside.serve("http://one", lambda _: json.dumps(ignition()).encode())
    resource = {"source": "http://one/", "verification": {"hash": f"sha256-{'0' * 64}"}}
    config = ignition(config={"merge": [resource]})
    if what == "file":
        config = ignition() | {"storage": {"files": [{"path": "/etc/f", "contents": resource}]}}
    assert guest.boot(config) == 1
    assert ".verification.hash" in guest.text("dev/console")
    assert "which is not the one given" in guest.text("dev/console")


def test_errors_of_a_config_elsewhere_are_shown_in_its_own_text(guest: Guest, outside: Any) -> None:
    text = '{\n "ignition": {"version": "3.4.0"},\n "storage": {"files": [{"path": "relative"}]}\n}'
    outside.serve("http://one", lambda _: text.encode())
    assert guest.boot(merging("http://one/a?token=secret")) == 1
    assert "http://one/a?...:3:" in guest.log
    assert "secret" not in guest.log.replace('"http://one/a?token=secret"', "")


def test_configs_that_name_each_other_come_to_an_end(guest: Guest, outside: Any) -> None:
    asked = outside.serve("http://one", lambda _: json.dumps(merging("http://one/", "http://one/2")).encode())
    assert guest.boot(merging("http://one/")) == 1
    assert "does one of them name itself?" in guest.text("dev/console")
    assert len(asked) <= 100


def test_authorities_of_the_config_hold_for_what_it_names(guest: Guest, outside: Any, authority: str) -> None:
    inner = ignition({"/etc/secret": "https://host.example.org/file"})
    outside.serve(
        "https://host.example.org", lambda asked: b"s" if asked.path == "/file" else json.dumps(inner).encode()
    )
    bundles = outside.serve("http://authorities", lambda _: authority.encode())
    bundle = {"source": "http://authorities/ca.pem"}
    assert guest.boot(merging("https://host.example.org/config")) == 1
    assert "authority that this machine does not trust" in guest.text("dev/console")
    trusting = merging("https://host.example.org/config", security={"tls": {"certificateAuthorities": [bundle]}})
    assert guest.boot(trusting) == 0, guest.log
    assert guest.text("etc/secret") == "s"
    assert len(bundles) == 1  # not once for each config


def test_proxies_and_timeouts_of_a_merged_config_hold_for_its_contents(guest: Guest, outside: Any) -> None:
    outside.serve("http://plain", lambda _: json.dumps(inner).encode())
    asked = outside.serve("http://proxy:3128", lambda asked: b"p" if asked.path == "http://far/file" else 503)
    inner = ignition(
        {"/etc/far": "http://far/file"}, proxy={"httpProxy": "http://proxy:3128"}, timeouts={"httpTotal": 3}
    )
    assert guest.boot(merging("http://plain/")) == 0
    assert guest.text("etc/far") == "p"
    inner["storage"]["files"][0]["contents"]["source"] = "http://far/other"
    (guest.root / "run/state/firstboot/complete").unlink()
    assert guest.boot(merging("http://plain/")) == 1
    assert "given up after 3 s" in guest.text("dev/console")
    assert len(asked) > 2


def test_the_images_own_authorities_hold_for_the_machines_config(guest: Guest, outside: Any, authority: str) -> None:
    outside.serve("https://host.example.org", lambda _: json.dumps(ignition({"/etc/inner": "data:,i"})).encode())
    base = guest.root / "usr/lib/firstboot/base.d/10-image.ign"
    base.parent.mkdir(parents=True)
    bundle = {"source": "data:;base64," + base64.b64encode(authority.encode()).decode()}
    base.write_text(json.dumps(ignition(security={"tls": {"certificateAuthorities": [bundle]}})))
    assert guest.boot(merging("https://host.example.org/")) == 0, guest.log
    assert guest.text("etc/inner") == "i"
