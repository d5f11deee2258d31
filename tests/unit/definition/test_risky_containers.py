"""Containers that get more of the machine than they should: 'build-os check' warns, at the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.definition.load import load

pytestmark = pytest.mark.unit

DEFINITION = "name: risky\nversion: 1.0.0\nfeatures: [base]\noverlays: [mine]\nunits: [mine]\n"


def warn(directory: Path, **files: str) -> list[str]:
    """The first line of each warning; the names of files have ``__`` for ``/``."""
    for name in ("overlays/mine", "units/mine"):
        (directory / name).mkdir(parents=True)
    for name, text in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "os.yaml").write_text(DEFINITION)
    return [each.splitlines()[0].rpartition("mine/")[2] for each in load(directory / "os.yaml").warnings]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("overlays/mine/etc/docker/daemon.json", '{\n "hosts": ["fd://", "tcp://0.0.0.0:2375"]\n}\n', 2),
        ("units/mine/docker.socket.d/10-tcp.conf", "[Socket]\nListenStream=2375\n", 2),
        ("units/mine/docker.service.d/10-tcp.conf", "[Service]\nExecStart=/usr/sbin/dockerd -H tcp://:2375\n", 2),
        ("units/mine/web.container", "[Container]\nImage=localhost/web\nPodmanArgs=--privileged\n", 3),
        ("units/mine/web.container", "[Container]\nImage=localhost/web\nNetwork=host\n", 3),
        ("units/mine/web.service", "[Service]\nExecStart=/usr/bin/docker run --privileged web\n", 2),
        (
            "overlays/mine/etc/systemd/system/web.service",
            "[Service]\nExecStart=/usr/bin/podman run --net host web\n",
            2,
        ),
        ("overlays/mine/etc/docker/daemon.json", '{\n "hosts": [\n  "0.0.0.0:2375"]\n}\n', 3),
        ("overlays/mine/etc/default/docker", '# no\nDOCKER_OPTS="-H fd:// -H 0.0.0.0:2375"\n', 2),
        # As CoreOS and Flatcar call theirs.
        ("units/mine/docker-tcp.socket", "[Socket]\nListenStream=2375\nService=docker.service\n", 2),
        ("units/mine/docker.service.d/10-tcp.conf", "[Service]\nExecStart=/usr/sbin/dockerd -H 0.0.0.0:2375\n", 2),
        ("units/mine/docker.service.d/10-tcp.conf", "[Service]\nExecStart=/usr/sbin/dockerd --host=[::]:2375\n", 2),
        (
            "units/mine/docker.service.d/10-tcp.conf",
            "[Service]\nExecStart=/usr/sbin/dockerd -H tcp://:2376 --tlsverify=false\n",
            2,
        ),
        (
            "units/mine/web.service",
            "[Service]\nExecStart=/usr/bin/podman run \\\n  --rm \\\n# all of it\n  --privileged web\n",
            2,
        ),
        ("units/mine/web.container", "[Container]\nPodmanArgs=--tls-verify=false \\\n --network=host\n", 2),
        ("units/mine/web.service", "[Service]\nExecStart=/usr/bin/ctr run --net-host localhost/web:1 web\n", 2),
        ("units/mine/web.service", "[Service]\nExecStart=/usr/bin/ctr run --privileged localhost/web:1 web\n", 2),
        ("units/mine/web.service", "[Service]\nExecStartPre=/usr/bin/docker create --privileged web\n", 2),
    ],
)
def test_it_is_warned_of_at_its_line(here: Path, file: str, text: str, line: int) -> None:
    [warning] = warn(here, **{file.replace("/", "__"): text})
    assert f":{line}:" in warning


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("overlays/mine/etc/docker/daemon.json", '{"hosts": ["tcp://0.0.0.0:2376"], "tlsverify": true}'),
        ("overlays/mine/etc/docker/daemon.json", '{"hosts": ["fd://"]}'),
        ("overlays/mine/etc/docker/daemon.json", "no JSON"),
        ("units/mine/docker.socket.d/10-group.conf", "[Socket]\nListenStream=/run/mine.sock\nSocketMode=0660\n"),
        ("units/mine/web.container", "[Container]\nImage=localhost/web\n# Network=host\nNetwork=inner.network\n"),
        ("units/mine/web.service", "[Service]\nExecStart=/usr/bin/docker run --privileged=false web\n"),
        ("units/mine/web.service", "[Service]\nExecStart=/usr/bin/ctr run --net-host=false localhost/web:1 web\n"),
        ("units/mine/web.socket", "[Socket]\nListenStream=2375\nService=web.service\n"),
        ("units/mine/docker.service.d/10.conf", "[Service]\nExecStart=/usr/sbin/dockerd -H fd:// -H unix:///run/d\n"),
        ("units/mine/docker.service.d/10.conf", "[Service]\nExecStart=/usr/sbin/dockerd --host-gateway-ip=10.0.0.1\n"),
        (
            "units/mine/docker.service.d/10-tls.conf",
            "[Service]\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2376 \\\n  --tlsverify --tlscert=/etc/c\n",
        ),
    ],
)
def test_what_is_right_is_not_warned_of(here: Path, file: str, text: str) -> None:
    assert warn(here, **{file.replace("/", "__"): text}) == []
