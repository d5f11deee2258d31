"""The feature pods: a container of the image is a service of systemd, and its processes are systemd's own."""

from __future__ import annotations

import json

import pytest

from tests.boot.runtimes.guest_processes import list_ancestors, read_status
from vm.machine import Machine

pytestmark = pytest.mark.boot

ROOT = "/usr/lib/build-os/container-images/roots/pod"


@pytest.fixture(scope="module")
def process(machine: Machine) -> int:
    machine.wait_unit("pod.service")
    return int(machine.unit("pod.service")["MainPID"])


def test_it_answers_on_its_port_and_nothing_is_between_it_and_systemd(machine: Machine, process: int) -> None:
    assert "the box answers" in machine.wait_http(8083)
    assert list_ancestors(machine, process) == ["systemd", "busybox"]
    # All that is in its control group, and its network is a unit without a process.
    assert machine.succeed("systemctl show --property TasksCurrent --value pod.service") == "1"
    network = machine.unit("container-network-pod.service")
    assert (network["ActiveState"], network["MainPID"]) == ("active", "0")


def test_its_image_is_in_the_root_that_the_kernel_verifies(machine: Machine, process: int) -> None:
    assert machine.succeed(f"realpath /proc/{process}/exe").startswith("/usr/bin/busybox")
    device = machine.succeed("findmnt", "--noheadings", "--output", "MAJ:MIN", "--target", ROOT)
    assert device == machine.succeed("findmnt --noheadings --output MAJ:MIN --target /usr")
    assert machine.read(f"/sys/dev/block/{device.strip()}/dm/uuid").startswith("CRYPT-VERITY-")
    for path in ("/srv/index.html", "/usr/bin/new"):
        said = machine.fail("nsenter", f"--target={process}", "--mount", "--root", "busybox", "touch", path)
        assert "Read-only" in said.stderr


def test_it_has_namespaces_and_a_user_namespace_of_its_own(machine: Machine, process: int) -> None:
    for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup"):
        assert machine.succeed(f"readlink /proc/{process}/ns/{kind}") != machine.succeed(f"readlink /proc/1/ns/{kind}")
    status = read_status(machine, process)
    assert status["NSpid"].split()[-1] == "1"
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    said = machine.succeed("systemd-analyze security --no-pager pod.service").splitlines()[-1]
    print(said)
    assert float(said.split(":")[1].split()[0]) < 3


def test_a_container_of_a_user_of_its_own_listens_below_1024(machine: Machine) -> None:
    machine.wait_unit("worker.service")
    assert "the box answers" in machine.wait_http(8084)
    status = read_status(machine, int(machine.unit("worker.service")["MainPID"]))
    assert status["Uid"].split()[0] == status["Gid"].split()[0] == "4242"
    assert int(status["CapEff"], 16) == 0


def test_it_reaches_others_and_keeps_what_it_writes_to_its_directory(machine: Machine, process: int) -> None:
    inside = ("nsenter", f"--target={process}", "--mount", "--root", "--net", "busybox")
    machine.succeed(*inside, "touch", "/var/lib/pod/kept")
    machine.succeed("test -e /var/lib/pod/kept")
    assert "default via 10.87.0.1" in machine.succeed(*inside, "ip", "route")
    # The store's container is on the same bridge.
    address = json.loads(machine.succeed("ip -netns store -json address show eth0"))[0]["addr_info"][0]["local"]
    assert machine.succeed(*inside, "wget", "-q", "-O", "-", f"http://{address}:8080/") == "the box answers"


def test_a_killed_one_is_started_again_and_a_stopped_one_leaves_nothing(machine: Machine, process: int) -> None:
    machine.succeed("systemctl kill --signal=KILL pod.service")
    script = (
        f"until p=$(systemctl show -P MainPID pod.service) && [ $p != 0 ] && [ $p != {process} ]; do sleep .2; done"
    )
    machine.succeed("sh", "-c", script)
    assert "the box answers" in machine.wait_http(8083)
    machine.succeed("systemctl stop pod.service")
    machine.wait_unit("container-network-pod.service", "inactive")
    assert "pod" not in machine.succeed("ip netns list").split()
    machine.succeed("systemctl start pod.service")
    assert "the box answers" in machine.wait_http(8083)


# --- beside it: the same files by systemd-nspawn, and as a portable service ---

PORTABLE = """\
[Unit]
Description=The Box as a Portable Service
[Service]
ExecStart=/usr/bin/busybox httpd -f -p 8088 -h /srv
"""


def test_a_portable_service_of_the_same_files(machine: Machine) -> None:
    place = "/var/lib/portables/box"
    machine.succeed(f"mkdir -p {place}/usr/lib/systemd/system")
    machine.succeed("sh", "-c", f"cp -a {ROOT}/. {place}/")
    machine.write(f"{place}/usr/lib/os-release", "ID=box\nVERSION_ID=1\n")
    machine.succeed("sh", "-c", f"mkdir -p {place}/etc && : > {place}/etc/machine-id")
    machine.write(f"{place}/usr/lib/systemd/system/box-portable.service", PORTABLE)
    control = ("env", "SYSTEMD_BUS_TIMEOUT=600", "portablectl")
    machine.succeed(*control, "attach", "--runtime", "--now", "--profile=default", place, "box-portable")
    assert "the box answers" in machine.wait_http(8088)
    process = int(machine.unit("box-portable.service")["MainPID"])
    assert list_ancestors(machine, process) == ["systemd", "busybox"]
    machine.succeed(*control, "detach", "--runtime", "--now", "box", "box-portable")


def test_systemd_nspawn_runs_the_same_files(machine: Machine) -> None:
    options = ("--register=no", "--quiet", "--as-pid2", "--private-network", "--read-only", f"--directory={ROOT}")
    said = machine.succeed("systemd-nspawn", *options, "/usr/bin/busybox", "cat", "/srv/index.html")
    assert said.strip() == "the box answers"
