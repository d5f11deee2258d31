"""Configs as people write them for Fedora CoreOS and Flatcar, on images made for them: all that they say holds.

The configs are in ``world/``; they boot with ``make slow-test``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build_text
from vm.machine import Machine
from vm.spec.extra_disk import ExtraDisk

REPOSITORY = Path(__file__).parents[2]
WORLD = Path(__file__).parent / "world"
pytestmark = [pytest.mark.boot, pytest.mark.slow]


@contextmanager
def machine_of(name: str, store: Store, **options: Any) -> Iterator[Machine]:
    """A machine that was set up by a config of ``world/``, with its first boot finished and no unit failed."""
    (config,) = WORLD.glob(f"{name}.*")
    variant = name.partition("-")[0]
    out = REPOSITORY / "out" / "boot-tests" / variant
    # On a busy machine under emulation a device may take more than the usual 90 seconds.
    kernel = "kernel: {command_line: [systemd.default_device_timeout_sec=infinity]}"
    text = f"name: {variant}\nversion: 1.0.0\nfeatures: [{variant}-compat]\n{kernel}\noutputs: [qcow2]\n"
    manifest = build_text(text, out, store)
    with booted(manifest, out / "machine", store, config=config, memory=2048, **options) as machine:
        yield machine
        assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""


def in_groups(machine: Machine, user: str, *groups: str) -> bool:
    return {*groups} <= {*machine.succeed("id", "-Gn", user).split()}


def shell_of(machine: Machine, user: str) -> str:
    return machine.succeed("getent", "passwd", user).split(":")[-1]


def becomes_root(machine: Machine, user: str) -> bool:
    return machine.succeed("runuser", "-u", user, "--", "sudo", "-n", "id", "-u") == "0"


def test_a_host_for_podman(store: Store) -> None:
    with machine_of("fcos-podman-host", store) as machine:
        assert in_groups(machine, "core", "wheel", "sudo", "docker", "adm", "systemd-journal")
        assert shell_of(machine, "core") == shell_of(machine, "deploy") == "/bin/bash"
        assert becomes_root(machine, "core")
        assert becomes_root(machine, "deploy")
        assert machine.succeed("hostname") == "pod-1"
        assert machine.succeed("readlink /etc/localtime").endswith("Europe/Zurich")
        assert machine.succeed("stat -c %U:%G:%a /var/srv/registry") == "core:core:755"
        machine.wait_unit("hello-pod.service")
        assert machine.read("/var/lib/runtime-name").strip() == "crun"
        assert machine.unit("podman.socket")["ActiveState"] == "active"
        assert machine.unit("podman-auto-update.timer")["ActiveState"] == "active"
        machine.wait_unit("user@1000.service")  # core lingers
        keys = machine.read("/home/core/.ssh/authorized_keys.d/ignition")
        assert "ops@example.org" in keys
        machine.succeed("runuser", "-u", "core", "--", "docker", "version")


def test_a_host_for_docker(store: Store) -> None:
    with machine_of("flatcar-docker", store) as machine:
        assert machine.succeed("id -u core") == "500"
        assert in_groups(machine, "core", "docker", "sudo", "wheel")
        assert shell_of(machine, "core") == "/bin/bash"
        assert becomes_root(machine, "core")
        machine.wait_unit("docker.service")
        driver = machine.succeed("runuser -u core -- docker info --format {{.LoggingDriver}}:{{.LiveRestoreEnabled}}")
        assert driver == "journald:true"
        assert machine.unit("containerd.service")["ActiveState"] == "active"
        assert machine.unit("update-engine.service")["LoadState"] == "masked"
        assert machine.unit("locksmithd.service")["LoadState"] == "masked"
        assert machine.read("/etc/flatcar/update.conf") == "REBOOT_STRATEGY=off\n"


def appliance(machine: Machine) -> None:
    assert "--autologin core" in machine.succeed("systemctl cat serial-getty@ttyS0.service")
    assert "192.0.2.1" in machine.read("/etc/issue.d/50_public-ipv4.issue")
    assert machine.succeed("sysctl -n kernel.printk").split()[0] == "4"
    machine.wait_unit("dev-zram0.swap")
    assert "/dev/zram0" in machine.read("/proc/swaps")
    assert "passwordauthentication yes" in machine.succeed("sshd -T").lower()
    assert machine.unit("fstrim.timer")["ActiveState"] == "active"


def storage(machine: Machine) -> None:
    assert machine.succeed("findmnt -n -o FSTYPE /var/lib/docker") == "xfs"
    assert machine.succeed("findmnt -n -o FSTYPE /var/srv") == "ext4"
    assert machine.read("/srv/index.html") == "from the second disk\n"
    assert len(machine.read("/proc/swaps").splitlines()) == 2
    assert machine.succeed("sysctl -n vm.swappiness") == "10"
    machine.wait_unit("docker.service")


def timers(machine: Machine) -> None:
    assert machine.succeed("id -u jlebon") == "1010"
    assert in_groups(machine, "jlebon", "wheel", "adm")
    assert becomes_root(machine, "jlebon")
    assert machine.succeed("stat -c %a:%G /etc/app") == "700:app"
    assert machine.unit("app.timer")["ActiveState"] == "active"
    machine.succeed("systemctl start app.service")
    assert machine.read("/var/lib/app-ran")
    assert "db.internal" in machine.read("/etc/hosts")
    assert "SYSTEMD_LOG_LEVEL=info" in machine.succeed("systemctl show -P Environment systemd-resolved.service")
    assert machine.run("ls", "/home/svc").status != 0


def network(machine: Machine) -> None:
    assert "192.0.2.7/24" in machine.succeed("ip -br address show dummy0")
    assert "dport 9999 drop" in machine.succeed("nft list ruleset")
    machine.wait_unit("chrony.service")
    assert becomes_root(machine, "core")


def kubernetes_node(machine: Machine) -> None:
    machine.wait_unit("kubelet.service")
    pid = machine.succeed("systemctl show -P MainPID kubelet.service")
    assert "--config=/etc/kubernetes/kubelet.yaml" in machine.read(f"/proc/{pid}/cmdline")
    assert machine.succeed("sysctl -n net.bridge.bridge-nf-call-iptables net.ipv4.ip_forward").split() == ["1", "1"]
    assert machine.unit("containerd.service")["ActiveState"] == "active"
    assert machine.unit("docker.socket")["ActiveState"] == "inactive"


def names(machine: Machine) -> None:
    assert "198.51.100.2/24" in machine.succeed("ip -br address show dummy1")
    assert "America/New_York" in machine.succeed("timedatectl show -P Timezone")
    assert in_groups(machine, "ops", "sudo", "docker", "systemd-journal")
    assert "ntp.example.org" in machine.succeed("timedatectl show-timesync -P SystemNTPServers")
    assert "internal" in machine.succeed("resolvectl domain")


def data_disk(machine: Machine) -> None:
    assert machine.succeed("findmnt -n -o FSTYPE /var/data") == "xfs"
    machine.wait_unit("swapfile.service")
    assert "/var/swapfile" in machine.read("/proc/swaps")


def agent(machine: Machine) -> None:
    assert machine.unit("report.timer")["ActiveState"] == "active"
    machine.succeed("systemctl start report.service")
    assert machine.succeed("tail -n 1 /var/report.txt") == "user core"
    assert "/opt/bin" in machine.succeed("runuser -l core -c 'echo $PATH'").split(":")[0]
    assert machine.succeed("readlink /etc/extensions/docker-flatcar.raw") == "/dev/null"


DISK = {"extra_disks": [ExtraDisk(2 << 30, "data")]}


@pytest.mark.parametrize(
    ("name", "holds", "options"),
    [
        ("fcos-appliance", appliance, {}),
        ("fcos-storage", storage, DISK),
        ("fcos-timers", timers, {}),
        ("fcos-network", network, {}),
        ("flatcar-kubernetes-node", kubernetes_node, {}),
        ("flatcar-network", names, {}),
        ("flatcar-storage", data_disk, DISK),
        ("flatcar-agent", agent, {}),
    ],
)
def test_what_a_config_says_holds(
    store: Store, name: str, holds: Callable[[Machine], None], options: dict[str, Any]
) -> None:
    with machine_of(name, store, **options) as machine:
        holds(machine)
