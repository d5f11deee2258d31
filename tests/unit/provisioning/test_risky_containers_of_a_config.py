"""``config check``, with an image and without: containers that get more of the machine than they should."""

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
    - path: /etc/systemd/system/docker.service.d/tcp.conf
      contents:
        inline: |
          [Service]
          ExecStart=/usr/sbin/dockerd --host=tcp://0.0.0.0:2377
    - path: /etc/systemd/system/once.service
      contents:
        inline: |
          [Service]
          ExecStart=/usr/bin/docker run --privileged tool
    - path: /etc/motd
      contents:
        inline: |
          docker run --privileged is what nobody should write
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
    .replace("--host=tcp://0.0.0.0:2377", "--host=fd://")
    .replace("docker run --privileged tool", "docker run tool")
    .replace("ListenStream=2375", "ListenStream=/run/mine.sock")
    .replace("--network=host --privileged", "--network=inner --privileged=false")
)


def warn(image: Path | None, text: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[int, str]]:
    """Line and message of the warnings about containers."""
    machine = directory / "machine.yaml"
    machine.write_text(text)
    against = ["--image", str(image)] if image is not None else []
    _, out, _ = run_command(capsys, "config", "check", "--json", "-d", str(directory), *against, str(machine))
    words = ("TCP port without TLS", "privileged container", "host's network")
    entries = [each for each in json.loads(out)["entries"] if any(word in each["message"] for word in words)]
    assert {each["kind"] for each in entries} <= {"warning"}
    return sorted((each["line"], each["message"]) for each in entries)


@pytest.mark.parametrize("with_image", [True, False])
def test_each_is_warned_of_at_its_line(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, with_image: bool
) -> None:
    warnings = warn(build() if with_image else None, RISKY, tmp_path, capsys)
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
        ("ExecStart=/usr/sbin/dockerd --host=tcp://0.0.0.0:2377", tcp),
        ("ExecStart=/usr/bin/docker run --privileged tool", whole),
        ("ListenStream=2375", tcp),
        ("ExecStart=/usr/bin/cat podman run --network=host --privileged web", network),
        ("ExecStart=/usr/bin/cat podman run --network=host --privileged web", whole),
    ]


def test_what_is_right_is_not_warned_of(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warn(build(), SAFE, tmp_path, capsys) == warn(None, SAFE, tmp_path, capsys) == []


def test_a_config_of_another_variant_is_judged_by_that_ones_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units = RISKY[RISKY.index("systemd:") :]
    assert warn(None, f"variant: fcos\nversion: 1.5.0\n{units}", tmp_path, capsys) == []


def test_a_container_of_a_user_is_not_root_and_a_drop_in_of_a_type_is_one_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(path: str, text: str) -> str:
        return f"    - path: {path}\n      contents: {{inline: {json.dumps(text)}}}\n"

    head = "variant: buildos\nversion: 1.0.0\nstorage:\n  files:\n"
    risky = "[Container]\nPodmanArgs=--privileged\n"
    assert warn(None, head + write("/etc/containers/systemd/users/web.container", risky), tmp_path, capsys) == []
    [(_, message)] = warn(None, head + write("/etc/containers/systemd/container.d/all.conf", risky), tmp_path, capsys)
    assert message.startswith(".container: a privileged container")
    deep = write("/etc/docker/daemon.json", "[" * 100_000)
    assert warn(None, head + deep, tmp_path, capsys) == []


def test_what_is_included_is_warned_of_where_it_is_included(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "part.yaml").write_text(RISKY)
    text = "variant: buildos\nversion: 1.0.0\ninclude: [part.yaml]\n"
    warnings = warn(None, text, tmp_path, capsys)
    assert len(warnings) == 9
    assert {line for line, _ in warnings} == {3}
    assert all("part.yaml: " in message for _, message in warnings)


def test_no_line_of_a_files_contents_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text(RISKY.replace("docker run --privileged tool", "docker run --privileged tool hunter2"))
    status, _, said = run_command(capsys, "config", "check", str(machine))
    assert (status, "privileged container" in said) == (0, True)
    assert "hunter2" not in said
    assert "docker -H ssh://MACHINE" in said
