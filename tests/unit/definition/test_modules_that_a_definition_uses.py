"""A definition that leaves kernel modules out hears of those that it uses itself."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.unit.definition.conftest import Project

pytestmark = pytest.mark.unit

SYSTEM = 'name: app\nversion: "1"\nfeatures: [base]\n'
FIRST_BOOT = """
    variant: buildos
    version: 1.0.0
    kernel_modules: [hv_sock, ip_vs]
    sysctl: {net.bridge.bridge-nf-call-iptables: 1}
"""


@pytest.fixture
def mine(project: Project) -> Project:
    project.write("overlays/mine/usr/lib/modules-load.d/mine.conf", "# mine\nvmw_vmci\n\nbr_netfilter\n")
    project.write("overlays/mine/usr/lib/sysctl.d/mine.conf", "-net/netfilter/nf_conntrack_max = 9\n")
    return project


def warnings(project: Project, more: str) -> str:
    return "\n".join(project.load(SYSTEM + dedent(more)).warnings)


def test_a_driver_of_another_platform_that_is_loaded_at_boot_is_named(mine: Project) -> None:
    said = warnings(mine, "overlays: [mine]\nkernel: {platforms: [qemu]}\n")
    assert "usr/lib/modules-load.d/mine.conf of the overlay 'mine' uses the module vmw_vmci" in said
    assert "os.yaml:5:" in said
    assert "br_netfilter" not in said
    assert "nf_conntrack" not in said


@pytest.mark.parametrize("kernel", ["{}", "{platforms: [qemu, vmware]}", "{platforms: [qemu], modules: [vmw_vmci]}"])
def test_nothing_is_said_of_what_stays(mine: Project, kernel: str) -> None:
    assert warnings(mine, f"overlays: [mine]\nkernel: {kernel}\n") == ""


def test_a_module_that_is_removed_by_name_and_used_by_a_setting_is_named(mine: Project) -> None:
    said = warnings(
        mine,
        """
        overlays: [mine]
        remove:
          - /usr/lib/modules/*/kernel/net/netfilter/nf_conntrack.ko*
          - /usr/lib/modules/*/kernel/fs/btrfs/*
        """,
    )
    assert (
        "usr/lib/sysctl.d/mine.conf of the overlay 'mine' uses the module nf_conntrack, which this leaves out" in said
    )
    assert "uses the module btrfs" not in said


def test_what_the_first_boot_config_of_the_definition_uses_counts(project: Project) -> None:
    project.write("first.yaml", FIRST_BOOT + "    storage: {filesystems: [{device: /dev/vdb, format: btrfs}]}\n")
    said = warnings(
        project,
        """
        firstboot: first.yaml
        kernel: {platforms: [qemu]}
        remove: ["/usr/lib/modules/*/btrfs.ko*", "/usr/lib/modules/*/ip_vs.ko*", "/usr/lib/modules/*/br_netfilter.ko*"]
        """,
    )
    assert "a file system btrfs of the first-boot config uses the module btrfs" in said
    assert "10-config.conf of the first-boot config uses the module hv_sock" in said
    assert "uses the module ip_vs" in said
    assert "uses the module br_netfilter" in said
