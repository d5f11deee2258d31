"""The demo, as a user gets it: what is promised of the image, seen from inside the machine and from outside.

It is the machine of other files as well, so that it is booted once; the last test starts it again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.core.image import Image
from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024, isolation="shared")]


def test_the_root_is_the_verity_device_of_this_build(vm: Machine, image: Image) -> None:
    assert vm.succeed("findmnt -n -o SOURCE,FSTYPE /").split() == ["/dev/mapper/root", "erofs"]
    table = vm.succeed("dmsetup table root").split()
    assert table[2] == "verity"
    assert image.roothash in table
    assert image.roothash in vm.read("/proc/cmdline")


@pytest.mark.parametrize("path", ["/usr/bin/x", "/usr/lib/x", "/x"])
def test_what_is_verified_cannot_be_written(vm: Machine, path: str) -> None:
    result = vm.fail("touch", path)
    assert "Read-only file system" in result.stderr


def test_etc_and_var_are_writable_and_on_the_state_partition(vm: Machine) -> None:
    assert vm.succeed("findmnt -n -o FSTYPE /etc") == "overlay"
    assert vm.succeed("findmnt -n -o FSTYPE /var") == "ext4"
    assert vm.succeed("findmnt -n -o SOURCE /run/state") == vm.succeed("readlink -f /dev/disk/by-partlabel/state")
    vm.succeed("touch /etc/written /var/written /home/written /opt/written")


def test_the_user_of_the_yaml_is_there(vm: Machine) -> None:
    assert vm.succeed("id -un 1000") == "core"
    assert "systemd-journal" in vm.succeed("id -Gn core").split()
    assert vm.succeed("stat -c %U:%a /home/core") == "core:700"


def test_the_files_directories_and_links_of_the_yaml_are_there(vm: Machine) -> None:
    assert vm.read("/etc/demo/greeting") == "Hello from the first boot.\n"
    assert vm.succeed("stat -c %a:%U /etc/demo/greeting") == "644:root"
    assert vm.succeed("readlink /etc/demo/hello") == "greeting"
    assert vm.succeed("stat -c %F:%a /var/lib/demo") == "directory:755"


def test_the_unit_of_the_yaml_is_enabled_and_has_run(vm: Machine) -> None:
    assert vm.unit("demo-ready.service")["UnitFileState"] == "enabled"
    assert vm.unit("demo-ready.service")["ActiveState"] == "active"
    assert vm.read("/var/lib/demo/ready") == "Hello from the first boot.\n"


def test_the_hostname_of_the_yaml_is_set(vm: Machine) -> None:
    assert vm.succeed("hostname") == "demo"
    assert vm.read("/etc/hostname").strip() == "demo"


def test_python_has_what_the_provisioner_and_users_need(vm: Machine) -> None:
    program = "import jinja2, pydantic, yaml, requests, ssl, sys; print(sys.version_info[:2], pydantic.__cached__)"
    out = vm.succeed("python3", "-c", program)
    assert out.startswith("(3, 13)")
    # From bytecode of the image: a stale one would be compiled at every import.
    cached = out.split()[-1]
    assert vm.succeed("python3", "-c", f"print(open({cached!r}, 'rb').read(8)[4])") == "1"


def test_the_container_answers_and_nothing_was_pulled(vm: Machine) -> None:
    assert "It works" in vm.wait_http(8080)
    images = json.loads(vm.succeed("podman images --format json"))
    assert [(i["Names"], i["ReadOnly"]) for i in images] == [(["localhost/web:1.0.0"], True)]
    running = json.loads(vm.succeed("podman ps --format json"))
    assert [c["Names"] for c in running] == [["web"]]
    assert json.loads(vm.succeed("podman inspect web"))[0]["OCIRuntime"] == "crun"


# Of each file on the file system of /var: how many bytes it has, and its name.
LIST_VAR = """
import os
device = os.stat("/var").st_dev
for directory, below, names in os.walk("/var"):
    below[:] = [each for each in below if os.lstat(os.path.join(directory, each)).st_dev == device]
    for name in names:
        status = os.lstat(os.path.join(directory, name))
        print(status.st_size, os.path.join(directory, name))
"""
ASK_UNTIL_IT_ANSWERS = """
import time, urllib.request
for turn in range(60):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8080/", timeout=60).read().decode())
        break
    except OSError:
        time.sleep(1)
"""


def test_first_start_of_a_preloaded_container_needs_no_network_and_copies_no_layer(vm: Machine) -> None:
    def list_var() -> dict[str, int]:
        lines = vm.succeed("python3", "-c", LIST_VAR).splitlines()
        return {path: int(size) for size, path in (line.split(" ", 1) for line in lines)}

    layers = vm.succeed("podman image inspect --format {{.Size}} localhost/web:1.0.0")
    device = vm.succeed("sh", "-c", "ls -d /sys/class/net/*/device").split("/")[4]
    vm.succeed(f"ip link set {device} down")
    try:
        vm.succeed("systemctl stop web.service")
        # As before its first start: podman knows nothing, and has nothing.
        vm.succeed("sh", "-c", "rm -rf /var/lib/containers/*")
        before = list_var()
        vm.succeed("systemctl start web.service")
        assert "It works" in vm.succeed("python3", "-c", ASK_UNTIL_IT_ANSWERS)
        after = list_var()
    finally:
        vm.succeed("systemctl start web.service")
        vm.succeed(f"ip link set {device} up")
    new = {path: size for path, size in after.items() if size != before.get(path) and "/journal/" not in path}
    print(f"bytes in /var before {sum(before.values())}, after {sum(after.values())}; an image of {layers} bytes")
    print("written:", *(f"{size:9} {path}" for path, size in sorted(new.items())), sep="\n  ")
    # The container's own layer has what podman writes for it: accounts, mtab. Layers' content is read where it is.
    own = {path.partition("/diff/")[2]: size for path, size in new.items() if "/diff/" in path and size}
    assert own.keys() <= {"etc/group", "etc/mtab", "etc/passwd"}
    assert sum(own.values()) < 1000
    assert sum(new.values()) < 500_000, "podman's own records"
    assert int(layers) > 1_000_000


def test_no_container_starts_while_the_metadata_service_is_open_to_it(vm: Machine) -> None:
    run = "podman run --rm --network=none --entrypoint=/usr/bin/busybox localhost/web:1.0.0 true"
    vm.succeed(run)
    vm.succeed("systemctl stop metadata-guard.service")
    assert "hook" in vm.fail(run).stderr
    said = vm.succeed("journalctl -b -o cat -t metadata-guard")
    assert "no container starts while metadata-guard.service is not active" in said
    vm.succeed("systemctl start metadata-guard.service")
    vm.succeed(run)
    # A firewall that begins with 'flush ruleset' does not take the rules along.
    vm.succeed("systemctl start nftables.service")
    vm.succeed("systemctl restart nftables.service")
    vm.succeed("sh", "-c", "until nft list table inet metadata_guard; do sleep .2; done")


def test_a_login_has_a_language_and_a_console_says_which_image_it_is(vm: Machine) -> None:
    assert "LANG=C.UTF-8" in vm.succeed("su - core -c locale").splitlines()
    assert "pam_env" not in vm.succeed("journalctl -b -o cat")
    assert "IMAGE_ID" in vm.read("/etc/issue.d/50-build-os.issue")


def test_a_user_without_rights_runs_the_images_of_the_os_and_reaches_no_program_in_them(vm: Machine) -> None:
    vm.succeed("loginctl enable-linger core")
    vm.wait_unit("user@1000.service")
    as_core = ["systemd-run", "--quiet", "--user", "--machine=core@.host", "--wait", "--pipe", "--collect"]
    seen = vm.succeed(*as_core, "podman", "images", "--format", "{{.Repository}}:{{.Tag}} {{.ReadOnly}}")
    assert seen == "localhost/web:1.0.0 true"
    program = ["podman", "run", "--rm", "--pull=never", "--network=pasta", "localhost/web:1.0.0"]
    started = vm.run(*as_core, *program, "--help")
    assert "httpd" in started.stdout + started.stderr
    assert "warning" not in started.stderr
    options = vm.succeed("findmnt -n -o OPTIONS /usr/share/containers/storage").split(",")
    assert {"ro", "nosuid", "nodev"} <= {*options}
    vm.fail("setpriv --reuid=1000 --regid=1000 --clear-groups ls /usr/lib/build-os/container-images")


def test_the_machine_says_which_image_it_runs(vm: Machine, image: Image) -> None:
    release = dict(line.split("=", 1) for line in vm.read("/etc/os-release").splitlines() if "=" in line)
    assert release["IMAGE_ID"] == image.name
    assert release["IMAGE_VERSION"] == image.version
    assert release["ID"] == "debian"


def test_the_record_of_packages_is_where_scanners_look(vm: Machine, image: Image) -> None:
    status = vm.read("/var/lib/dpkg/status")
    recorded = {line.partition(" ")[2] for line in status.splitlines() if line.startswith("Package: ")}
    known = json.loads(vm.read("/usr/lib/build-os/image.json"))
    assert recorded == {package["name"] for package in known["packages"]}
    assert "/usr/bin/bash" in vm.read("/var/lib/dpkg/info/bash.list").splitlines()
    vm.fail("touch /var/lib/dpkg/status")


def test_the_result_is_for_root_only(vm: Machine) -> None:
    assert json.loads(vm.read("/run/firstboot/result.json"))["result"] == "ok"
    vm.fail("setpriv --reuid=1000 --regid=1000 --clear-groups cat /run/firstboot/result.json")
    vm.fail("setpriv --reuid=1000 --regid=1000 --clear-groups ls /run/state")


@pytest.mark.vm(config=DEMO, memory=1024)  # not shared with the next file: nothing of a first boot is in it
def test_a_second_boot_provisions_nothing_and_keeps_everything(vm: Machine) -> None:
    kept = ("/run/state/firstboot/complete", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub")
    before = {path: vm.read(path) for path in kept}
    vm.write("/etc/demo/mine", "kept\n")
    vm.reboot()
    vm.wait_unit("multi-user.target")
    assert {path: vm.read(path) for path in kept} == before
    assert vm.firstboot.events == ()
    said = vm.succeed("journalctl -b --no-pager -o cat _PID=1").splitlines()
    assert all("skipped" in line for line in said if "Provision This Machine" in line)
    assert vm.read("/etc/demo/mine") == "kept\n"
    assert "It works" in vm.wait_http(8080)
    assert vm.succeed("systemctl list-units --failed --no-legend --plain") == ""
