"""``config check --image``: containers of a first-boot config that get more of the machine than they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.unit.provisioning.conftest import Build

pytestmark = pytest.mark.unit

RISKY = """\
variant: buildos
version: 1.0.0
containers:
  - name: shop
    image: registry.example/shop:1
    networks: [host]
storage:
  files:
    - path: /etc/docker/daemon.json
      contents:
        inline: |
          {
            "hosts": ["fd://", "tcp://0.0.0.0:2375"]
          }
    - path: /etc/default/docker
      contents:
        inline: |
          DOCKER_OPTS="-H :2375"
    - path: /etc/containers/systemd/page.container
      contents:
        inline: |
          [Container]
          Image=localhost/page
          PodmanArgs=--privileged
systemd:
  units:
    - name: docker.socket
      dropins:
        - name: 10-tcp.conf
          contents: |
            [Socket]
            ListenStream=2375
    - name: web.service
      contents: |
        [Service]
        ExecStart=/usr/bin/cat podman run --network=host --privileged web
"""
SAFE = (
    RISKY.replace("    networks: [host]\n", "")
    .replace('"tcp://0.0.0.0:2375"]', '"tcp://0.0.0.0:2376"], "tlsverify": true')
    .replace("=--privileged", "=--privileged=false")
    .replace("-H :2375", "-H fd://")
    .replace("ListenStream=2375", "ListenStream=/run/mine.sock")
    .replace("--network=host --privileged", "--network=inner --privileged=false")
)


def warn(image: Path, text: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[int, str]]:
    """Line and message of the warnings about containers."""
    machine = directory / "machine.yaml"
    machine.write_text(text)
    _, out, _ = run_command(capsys, "config", "check", "--json", "--image", str(image), str(machine))
    words = ("TCP port without TLS", "privileged container", "host's network")
    entries = [each for each in json.loads(out)["entries"] if any(word in each["message"] for word in words)]
    assert {each["kind"] for each in entries} <= {"warning"}
    return sorted((each["line"], each["message"]) for each in entries)


def test_each_is_warned_of_at_its_line(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warnings = warn(build(), RISKY, tmp_path, capsys)
    lines = RISKY.splitlines()
    seen = [(lines[line - 1].strip(), message.rpartition(": ")[2]) for line, message in warnings]
    whole = "a privileged container is root of the machine"
    network = "a container in the host's network reaches what listens on loopback, and the platform's metadata service"
    tcp = "the API of Docker on a TCP port without TLS makes whoever reaches it root"
    assert seen == [
        ("- name: shop", network),
        ('"hosts": ["fd://", "tcp://0.0.0.0:2375"]', tcp),
        ('DOCKER_OPTS="-H :2375"', tcp),
        ("PodmanArgs=--privileged", whole),
        ("ListenStream=2375", tcp),
        ("ExecStart=/usr/bin/cat podman run --network=host --privileged web", network),
        ("ExecStart=/usr/bin/cat podman run --network=host --privileged web", whole),
    ]


def test_what_is_right_is_not_warned_of(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warn(build(), SAFE, tmp_path, capsys) == []
