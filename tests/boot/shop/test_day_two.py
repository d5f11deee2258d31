"""A machine that people and their tools enter: Python over ssh, Ansible and Fabric without a bootstrap step, pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boot.shop.conftest import SSH_OPTIONS, Shop

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # downloads Ansible

PLAYBOOK = """\
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - ansible.builtin.setup: {gather_subset: [min, hardware]}
    - ansible.builtin.assert:
        that: [ansible_distribution == "Debian", ansible_python.version.minor == 13, ansible_memtotal_mb > 1000]
    - ansible.builtin.copy: {content: "copied\\n", dest: /etc/copied, mode: "0640"}
    - ansible.builtin.template: {src: motd.j2, dest: /etc/motd, mode: "0644"}
    - ansible.builtin.user: {name: alice, shell: /bin/bash}
    - ansible.builtin.file: {path: /var/lib/app-data, state: directory, owner: alice, mode: "0750"}
    - ansible.builtin.copy:
        dest: /etc/systemd/system/hello.service
        mode: "0644"
        content: |
          [Service]
          Type=oneshot
          RemainAfterExit=yes
          ExecStart=/usr/bin/touch /run/hello
          [Install]
          WantedBy=multi-user.target
    - ansible.builtin.systemd: {name: hello.service, state: started, enabled: true, daemon_reload: true}
"""
FABRIC = """\
import io, sys
from fabric import Connection

with Connection("127.0.0.1", user="core", port=int(sys.argv[1]), connect_kwargs={"key_filename": sys.argv[2]}) as c:
    print(c.run("python3 -c 'import platform; print(platform.python_version())'", hide=True).stdout.strip())
    c.put(io.BytesIO(b"by fabric"), "/tmp/fabric")
    print(c.sudo("stat -c %s:%U /tmp/fabric", hide=True).stdout.strip())
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Ansible and Fabric are: in an environment of their own, as on anybody's laptop."""
    directory = tmp_path_factory.mktemp("fleet") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(directory / "bin/pip"), "install", "--quiet", "--no-compile", "ansible-core==2.19.*", "fabric==3.2.*"]
    subprocess.run(pip, check=True)
    return directory / "bin"


def test_python_answers_over_ssh(shop: Shop) -> None:
    assert shop.call("python3", "-c", "'import sys; print(sys.version_info[:2])'").stdout.strip() == "(3, 13)"


def test_a_playbook_needs_no_bootstrap_step_and_its_changes_are_told(
    shop: Shop, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "play.yaml").write_text(PLAYBOOK)
    (tmp_path / "motd.j2").write_text("{{ ansible_hostname }} has {{ ansible_processor_vcpus }} processors\n")
    host = f"127.0.0.1 ansible_port={shop.port} ansible_user=core ansible_ssh_private_key_file={shop.key}"
    (tmp_path / "hosts").write_text(
        f"{host} ansible_ssh_executable={shop.ssh} ansible_ssh_common_args='{' '.join(SSH_OPTIONS)}'\n"
    )
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        **{"ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_PIPELINING": "1", "ANSIBLE_TIMEOUT": "300"},
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(tmp_path / "cp"),
        "LC_ALL": "C.UTF-8",
    }
    command = [str(programs / "ansible-playbook"), "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yaml")]
    before = {*shop.machine.run("firstboot", "diff", "--all").stdout.splitlines()}
    for changed in (6, 0):  # the second time there is nothing left to change
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"changed={changed} " in done.stdout, done.stdout
    machine = shop.machine
    assert machine.succeed("stat -c %U:%a /var/lib/app-data") == "alice:750"
    assert machine.unit("hello.service")["ActiveState"] == "active"
    assert "nothing has changed" in machine.succeed("firstboot diff")  # of what the config made
    differs = machine.run("firstboot", "diff", "--all")
    assert differs.status == 3
    told = {line.partition(":")[0] for line in differs.stdout.splitlines() if line not in before}
    assert told == {
        "/etc/copied",
        "/etc/motd",
        "/etc/systemd/system/hello.service",
        "/etc/systemd/system/multi-user.target.wants/hello.service",
        "user alice",
    }


def test_fabric_needs_nothing_there_either(shop: Shop, programs: Path) -> None:
    command = [str(programs / "python"), "-c", FABRIC, str(shop.port), str(shop.key)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    version, copied = done.stdout.splitlines()
    assert version.startswith("3.13.")
    assert copied == "9:core"


def test_pip_says_why_nothing_is_installed_into_the_image(shop: Shop) -> None:
    for words in (["sudo", "pip"], ["python3", "-m", "pip"]):
        refused = shop.call(*words, "install", "requests")
        assert refused.returncode == 1
        assert "This Python belongs to the image of this machine" in refused.stderr
        assert "python3 -m venv ~/venv" in refused.stderr


def test_a_virtual_environment_in_a_home_works_without_a_network(shop: Shop) -> None:
    made = shop.call("python3 -m venv ~/venv && ~/venv/bin/pip --version && readlink -f ~")
    assert made.returncode == 0, made.stderr
    assert "/home/core/venv/lib/python3.13" in made.stdout
    assert made.stdout.splitlines()[-1] == "/var/home/core"
