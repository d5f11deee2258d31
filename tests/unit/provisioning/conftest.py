"""A small image as its build describes it: ``build.json`` and facts, without any disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.files import hash_file
from builder.definition.model import Disk
from builder.definition.scalars import Size
from builder.outputs.facts import make_facts
from builder.tree.node import make_directory, make_file, make_symlink
from builder.tree.tree import Tree

ORIGIN = "package:a"
LAYOUT = Disk(size=Size.parse("4G"), esp=Size.parse("512M"), slot=Size.parse("1G"), state_minimum=Size.parse("256M"))
UNITS = "/usr/lib/systemd/system"
FILES: dict[str, str] = {
    "/etc/passwd": "root:x:0:0::/root:/bin/bash\nwww:x:33:33::/:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nwww:x:33:\nsystemd-journal:x:999:\n",
    "/etc/shells": "/bin/sh\n/bin/bash\n/usr/bin/fish\n",
    "/etc/machine-id": "uninitialized\n",
    "/etc/motd": "welcome\n",
    "/usr/share/zoneinfo/Europe/Berlin": "TZif",
    f"{UNITS}/multi-user.target": "[Unit]\nDescription=x\n",
    f"{UNITS}/timesync.service": "# a comment\n[Service]\nExecStart=/usr/bin/cat\n",
    f"{UNITS}/tmp.mount": "[Mount]\nWhere=/tmp\n",
    f"{UNITS}/var-lib-dpkg.mount": "[Mount]\nWhere=/var/lib/dpkg\n",
    f"{UNITS}/idle.mount": "[Mount]\nWhere=/var/lib/idle\n",
    f"{UNITS}/metrics.socket": "[Socket]\nListenStream=9100\n",
    f"{UNITS}/asleep.socket": "[Socket]\nListenStream=9200\n",
    f"{UNITS}/getty@.service": "[Service]\nExecStart=/usr/bin/cat\n",
    "/usr/share/containers/systemd/web.container": "[Container]\nImage=x\nPublishPort=127.0.0.1:8080:80\n",
    "/usr/lib/systemd/system-generators/podman-system-generator": "",
    "/usr/sbin/sshd": "",
    "/usr/lib/python3.13/json/__init__.py": "",
    "/usr/lib/python3.13/os.py": "",
    "/usr/lib/python3/dist-packages/yaml/__init__.py": "",
    "/usr/lib/python-environments/web/lib/python3.13/site-packages/flask/__init__.py": "",
}
PROGRAMS = ("bash", "sh", "cat", "python3", "systemctl", "groupadd", "useradd")
STARTED = ("tmp.mount", "var-lib-dpkg.mount", "metrics.socket")


@pytest.fixture
def image_tree() -> Tree:
    """The finished root of a small image."""
    tree = Tree()
    for path, text in FILES.items():
        tree.put(path, make_file(text, origin=ORIGIN))
    for name in PROGRAMS:
        tree.put(f"/usr/bin/{name}", make_file("#!", 0o755, origin=ORIGIN))
    for name in STARTED:
        tree.put(f"{UNITS}/some.target.wants/{name}", make_symlink(f"../{name}", origin=ORIGIN))
    tree.put("/bin", make_symlink("usr/bin", origin=ORIGIN))
    tree.put("/home", make_symlink("var/home", origin=ORIGIN))
    tree.put("/usr/local", make_symlink("../var/usrlocal", origin=ORIGIN))
    tree.put("/etc/secret", make_directory(0o700, origin=ORIGIN))
    tree.put("/var/lib/dpkg/status", make_file("hidden", origin=ORIGIN))
    return tree


Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path, image_tree: Tree) -> Build:
    """``build()`` is the path of a ``build.json``; texts by path come on top of the image."""

    def make(**more: str) -> Path:
        for path, text in more.items():
            image_tree.put(path, make_file(text, origin=ORIGIN))
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        facts = out / "small.facts.json"
        facts.write_bytes(make_facts(image_tree, LAYOUT, "small_1"))
        artifact = {"path": facts.name, "size": facts.stat().st_size, "sha256": hash_file(facts), "format": "json"}
        data = {"schema": 1, "name": "small", "version": "1", "arch": "amd64", "tools": str(tmp_path / "gone")}
        data["command_line"] = "quiet ro"
        (out / "build.json").write_text(json.dumps({**data, "artifacts": {"facts": artifact}}))
        return out / "build.json"

    return make
