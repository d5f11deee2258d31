"""The commands of docs/containers.md, on a machine; images of a public registry are those of the test's own."""

from __future__ import annotations

import re

import pytest

from tests.boot.runtimes.conftest import HOST, REPOSITORY
from vm.machine import Machine

pytestmark = pytest.mark.boot

BOX = f"{HOST}/box:1.0.0"
# What the page says -> what it is here: another registry, which speaks HTTP, and a port that is free.
HERE = {
    "images pull docker.io": "images pull --plain-http docker.io",
    "docker.io/library/nginx:1.27": BOX,
    " nginx:1.27": f" {BOX}",
    "--publish 8080:80": "--publish 8087:8080",
    "PublishPort=8080:80": "PublishPort=8087:8080",
}
FILES = {
    "Dockerfile": f"FROM {BOX}\nRUN touch /built\n",
    "compose.yaml": f"""\
services: {{page: {{image: '{BOX}', ports: ['8089:8080'], volumes: ['pages:/srv']}}}}
volumes: {{pages: {{}}}}
""",
}


def read_commands(title: str) -> list[str]:
    """The command lines of a section."""
    page = (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S) for line in block.splitlines()]
    assert lines
    for said, here in HERE.items():
        lines = [line.replace(said, here) for line in lines]
    return lines


@pytest.mark.parametrize("title", ["podman", "Pods", "containerd", "Docker"])
def test_commands_of_the_page_work(machine: Machine, title: str) -> None:
    machine.succeed("mkdir -p /run/page")
    for name, text in FILES.items():
        machine.write(f"/run/page/{name}", text)
    machine.wait_unit("containerd.service")
    for command in read_commands(title):
        print(command)
        machine.succeed("sh", "-c", f"cd /run/page && {command}", within=600)
    if title == "Docker":
        assert "the box answers" in machine.wait_http(8087)
        assert "the box answers" in machine.wait_http(8089)
        assert machine.succeed("docker run --rm --log-driver none --entrypoint ls app /built") == "/built"
        machine.succeed("sh", "-c", "cd /run/page && docker compose down --volumes && docker rm --force web")
        assert machine.succeed("docker ps --quiet --filter label=com.docker.compose.project") == ""
    if title == "Pods":
        machine.wait_unit("pod.service")
        assert "the box answers" in machine.wait_http(8083)
        assert machine.read("/sys/fs/cgroup/system.slice/pod.service/memory.max").strip() == str(64 << 20)
