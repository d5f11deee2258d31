"""What a definition becomes: names found, features merged, defaults filled in."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from builder.core.architecture import Arch, find_host_arch, require_architecture
from builder.core.errors import InputError
from builder.definition import load as load_module
from builder.definition.load import load, load_container, read_kind
from builder.definition.model import Compression, Definition
from builder.definition.ports import Publish, parse_publish
from builder.definition.resolved import OciLayout, ResolvedContainer, hash_package_sets, list_package_sets
from builder.definition.scalars import NotAccepted, Size
from builder.definition.shipped import DirectoryKind, find_shipped_root, make_search_path

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
SMALL = "name: demo\nversion: 1.0.0\n"


def test_two_lines_are_a_definition(project: Project) -> None:
    resolved = project.load(SMALL).resolved
    assert (resolved.name, resolved.version, resolved.arch, resolved.suite) == (
        "demo",
        "1.0.0",
        Arch.AMD64,
        "trixie",
    )
    assert resolved.features == ("base",)
    assert resolved.packages == ("systemd",)
    assert resolved.kernel_package == "linux-image-cloud-amd64"
    assert resolved.outputs == ("qcow2",)
    assert resolved.root.compression is Compression.LZ4
    assert resolved.disk.size == 8 << 30
    assert resolved.firstboot is None


def test_the_kernel_follows_the_architecture(project: Project) -> None:
    assert project.load(SMALL + "arch: arm64\n").resolved.kernel_package == "linux-image-cloud-arm64"
    own = project.load(SMALL + "kernel: {package: linux-image-rt-amd64}\n")
    assert own.resolved.kernel_package == "linux-image-rt-amd64"


def test_required_features_come_first_and_once(project: Project) -> None:
    project.write("features/top.yaml", "description: Top.\nrequires: [containers, base]\npackages: [top]\n")
    resolved = project.load(SMALL + "features: [top, base, containers]\n").resolved
    assert resolved.features == ("base", "containers", "top")
    assert resolved.packages == ("systemd", "podman", "top")


def test_the_later_statement_about_a_package_wins(project: Project) -> None:
    project.write(
        "features/mine.yaml",
        """
        description: Mine.
        packages: [curl, htop, bash=5.2.37-2]
        exclude: [perl-base, gnupg]
        """,
    )
    resolved = project.load(
        SMALL + "features: [base, mine]\npackages: [curl=8.14.1-2, perl-base, bash]\nexclude: [htop]\n"
    ).resolved
    assert resolved.packages == ("systemd", "curl=8.14.1-2", "bash=5.2.37-2", "perl-base")
    assert resolved.exclude == ("gnupg", "htop")


def test_the_later_statement_about_a_unit_wins(project: Project) -> None:
    project.write(
        "features/mine.yaml",
        """
        description: Mine.
        presets: {enable: [a.service, b.service], disable: [c.service], mask: [d.service]}
        """,
    )
    resolved = project.load(
        SMALL + "features: [mine]\npresets: {enable: [d.service], disable: [a.service], mask: [c.service]}\n"
    ).resolved
    assert resolved.presets.enable == ("b.service", "d.service")
    assert resolved.presets.mask == ("c.service",)
    assert resolved.preset_lines == ("enable b.service", "enable d.service", "disable a.service")


def test_what_the_definition_names_itself_is_not_the_feature_s(project: Project) -> None:
    project.write("features/one.yaml", "description: One.\npackages: [curl, htop, ntp]\n")
    project.write("features/two.yaml", "description: Two.\npackages: [htop, zsh]\npresets: {enable: [z.service]}\n")
    resolved = project.load(SMALL + "features: [one, two]\npackages: [ntp, chrony]\n").resolved
    assert resolved.layers == (("curl",), ("htop", "zsh"))
    assert resolved.optional_units == {"z.service": ("htop", "zsh")}


def test_kernel_arguments_and_modules_of_features_are_merged(project: Project) -> None:
    project.write(
        "features/mine.yaml",
        "description: Mine.\nkernel: {command_line: [quiet, a=1], modules: [nvme]}\n",
    )
    resolved = project.load(
        SMALL + "features: [mine]\nkernel: {command_line: [a=2, quiet], modules: [nvme, ahci]}\n"
    ).resolved
    assert resolved.command_line == (*require_architecture(resolved.arch).consoles, "quiet", "a=1", "a=2")
    assert resolved.modules == ("nvme", "ahci")


def test_a_definition_leaves_out_an_argument_of_a_feature_by_its_name(project: Project) -> None:
    project.write("features/mine.yaml", "description: Mine.\nkernel: {command_line: [quiet, a=1, a.b=1, a]}\n")
    resolved = project.load(SMALL + "features: [mine]\nkernel: {exclude: [a], command_line: [b=2]}\n").resolved
    assert [word for word in resolved.command_line if "console=" not in word] == ["quiet", "a.b=1", "b=2"]


def test_an_argument_that_no_feature_gives_cannot_be_left_out(project: Project) -> None:
    project.write("features/mine.yaml", "description: Mine.\nkernel: {command_line: [lockdown=integrity]}\n")
    with pytest.raises(InputError) as error:
        project.load(SMALL + "features: [mine]\nkernel: {exclude: [lockdwon]}\n")
    assert "no feature gives the kernel an argument 'lockdwon'" in str(error.value)
    assert "lockdown" in str(error.value)


def test_globs_of_features_come_before_the_definitions(project: Project) -> None:
    project.write("features/mine.yaml", "description: Mine.\nremove: [/usr/share/man/*]\n")
    resolved = project.load(
        SMALL + "features: [mine]\nremove: [/usr/share/doc/*, /usr/share/man/*]\nkeep: [/usr/share/man/man1/ls.*]\n"
    ).resolved
    assert resolved.remove == ("/usr/share/man/*", "/usr/share/doc/*")
    assert resolved.keep == ("/usr/share/man/man1/ls.*",)


def test_a_directory_of_ones_own_replaces_the_shipped_one(project: Project) -> None:
    project.write("shipped/overlays/motd/etc/motd", "shipped")
    project.write("shipped/units/app/app.service", "[Service]\n")
    shipped = project.load(SMALL + "overlays: [motd]\nunits: [app]\n").resolved
    assert shipped.overlays[0].path == project.root / "shipped/overlays/motd"
    assert shipped.units[0].path == project.root / "shipped/units/app"
    project.write("overlays/motd/etc/motd", "own")
    own = project.load(SMALL + "overlays: [motd]\n").resolved
    assert own.overlays[0].path == project.root / "overlays/motd"


def test_an_overlay_of_a_feature_lies_below_the_definitions(project: Project) -> None:
    for name in ("one", "two"):
        project.write(f"overlays/{name}/etc/motd", name)
    project.write("features/mine.yaml", "description: Mine.\noverlays: [two]\n")
    resolved = project.load(SMALL + "features: [mine]\noverlays: [one, two]\n").resolved
    assert [overlay.name for overlay in resolved.overlays] == ["two", "one"]


def test_names_are_looked_for_up_to_the_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    deep = repository / "images" / "web" / "os.yaml"
    deep.parent.mkdir(parents=True)
    (repository / ".git").mkdir()
    shipped = tmp_path / "shipped"
    roots = make_search_path(deep, shipped).roots
    assert roots == (deep.parent, repository / "images", repository, shipped)


def test_without_a_repository_one_directory_up_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "os.yaml"
    assert make_search_path(path, tmp_path / "shipped").roots == (
        tmp_path / "a" / "b",
        tmp_path / "a",
        tmp_path / "shipped",
    )


def test_a_checkout_ships_its_own_directories() -> None:
    assert find_shipped_root() == ROOT
    assert {"base", "python", "containers", "ssh"} <= set(
        make_search_path(ROOT / "x.yaml").list_names(DirectoryKind.FEATURE)
    )


def test_a_container_is_loaded_with_its_system(project: Project) -> None:
    project.write("overlays/pages/srv/index.html.j2", "{{ name }} {{ suite }} {{ variables.title }}")
    project.write(
        "containers/web.yaml",
        """
        kind: container
        name: page
        version: 2.0.0
        packages: [busybox-static]
        overlays: [pages]
        variables: {title: Hello}
        entrypoint: [/usr/bin/busybox, httpd]
        ports: ["8080", "53/udp"]
        environment: {HOME: /srv}
        user: "65534:65534"
        """,
    )
    project.write("layout/oci-layout", "{}")
    project.write("layout/index.json", "{}")
    resolved = project.load(
        SMALL
        + """
suite: forky
features: [containers]
containers:
  - {name: web, definition: containers/web.yaml, publish: ["[::1]:80:8080", "53:53/udp"]}
  - {name: brought, oci_layout: layout, enable: false, command: [serve, --fast]}
"""
    ).resolved
    web, brought = resolved.containers
    assert isinstance(web.image, ResolvedContainer)
    assert (web.image.name, web.image.suite, web.image.arch) == ("page", "forky", Arch.AMD64)
    assert web.image.path == project.root / "containers/web.yaml"
    assert web.publish == (Publish(80, 8080, "tcp", "[::1]"), Publish(53, 53, "udp"))
    assert brought.image == OciLayout(project.root / "layout")
    assert (brought.enable, brought.command) == (False, ("serve", "--fast"))


def test_a_container_can_be_loaded_by_itself(project: Project) -> None:
    path = project.write("web.yaml", "kind: container\nname: web\nversion: 1.0.0\ncommand: [/bin/true]\n")
    assert read_kind(path) == "container"
    resolved = load_container(path, arch=Arch.ARM64).resolved
    assert (resolved.arch, resolved.suite, resolved.essential) == (Arch.ARM64, "trixie", False)


@pytest.mark.parametrize(
    ("arch", "kernel", "consoles"),
    [
        ("amd64", "linux-image-cloud-amd64", ("console=tty0", "console=ttyS0")),
        ("arm64", "linux-image-cloud-arm64", ("console=tty0", "console=ttyS0", "console=ttyAMA0")),
    ],
)
def test_kernel_and_consoles_are_the_architectures(
    project: Project, arch: str, kernel: str, consoles: tuple[str, ...]
) -> None:
    resolved = project.load(f"name: x\nversion: 1.0.0\nfeatures: []\narch: {arch}\n").resolved
    assert resolved.kernel_package == kernel
    assert resolved.command_line == consoles


def test_who_names_a_console_gets_no_other(project: Project) -> None:
    resolved = project.load(SMALL + "kernel: {command_line: [quiet, console=hvc0]}\n").resolved
    assert resolved.command_line == ("quiet", "console=hvc0")


def test_a_system_is_no_container(project: Project) -> None:
    path = project.write("os.yaml", SMALL)
    assert read_kind(path) == "system"
    with pytest.raises(InputError, match="this describes a system, and a container is wanted here"):
        load_container(path)


def test_the_base_config_is_found_and_checked(project: Project) -> None:
    project.write("machines/base.yaml", "variant: buildos\nversion: 1.0.0\nhostname: demo\n")
    loaded = project.load(SMALL + "firstboot: machines/base.yaml\n")
    assert loaded.resolved.firstboot == project.root / "machines/base.yaml"


def test_an_unknown_machine_must_be_told_the_architecture(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert find_host_arch() is None
    path = project.write("os.yaml", SMALL)
    with pytest.raises(InputError, match="set arch to one of: amd64, arm64"):
        load(path, shipped=project.root / "shipped")


def test_a_definition_that_is_not_there_says_how_to_get_one(project: Project) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml does not exist\n  = 'build-os init'"):
        load(Path("nowhere.yaml"))
    with pytest.raises(InputError, match="is a directory"):
        load(project.root)


def test_a_file_that_cannot_be_read_is_no_traceback(project: Project) -> None:
    Path("os.yaml").symlink_to("/proc/self/mem")  # its first page cannot be read, not even by root
    with pytest.raises(InputError, match=r"os\.yaml: Input/output error"):
        load(Path("os.yaml"))


# --- the recipe of the lock ---

CHANGES_THE_LOCK = {
    "suite": "suite: forky",
    "arch": "arch: arm64",
    "package": "packages: [curl]",
    "version": "packages: [systemd=257]",
    "exclude": "exclude: [dpkg]",
    "feature": "features: [base, python]",
    "kernel": "kernel: {package: linux-image-amd64}",
    "tools": "tools: {packages: [strace]}",
}
KEEPS_THE_LOCK = {
    "version": "version: 2.0.0",
    "overlay": "overlays: [motd]",
    "unit": "presets: {enable: [a.service]}",
    "mirror": "mirror: http://example.org/debian",
    "variables": "variables: {a: 1}",
    "kernel arguments": "kernel: {command_line: [quiet], modules: [nvme]}",
    "disk": "disk: {size: 16G}",
    "outputs": "outputs: [raw, gce]",
}


def recipe(project: Project, text: str = "") -> str:
    project.write("overlays/motd/etc/motd", "hello")
    lines = dict(line.split(": ", 1) for line in [*SMALL.splitlines(), *text.splitlines()])
    return hash_package_sets(project.load("\n".join(f"{key}: {value}" for key, value in lines.items())).resolved)


@pytest.mark.parametrize("change", CHANGES_THE_LOCK)
def test_what_a_lock_depends_on_changes_its_recipe(change: str, project: Project) -> None:
    assert recipe(project, CHANGES_THE_LOCK[change]) != recipe(project)


@pytest.mark.parametrize("change", KEEPS_THE_LOCK)
def test_what_a_lock_does_not_depend_on_keeps_its_recipe(change: str, project: Project) -> None:
    assert recipe(project, KEEPS_THE_LOCK[change]) == recipe(project)


def test_the_order_of_packages_keeps_the_recipe(project: Project) -> None:
    one = project.load(SMALL + "packages: [a1, b1]\n").resolved
    other = project.load(SMALL + "packages: [b1, a1]\n").resolved
    assert hash_package_sets(one) == hash_package_sets(other)


def test_each_container_is_a_package_set_once(project: Project) -> None:
    project.write(
        "web.yaml",
        """
        kind: container
        name: web
        version: 1.0.0
        packages: [b1, a1]
        essential: true
        command: [/bin/sh]
        """,
    )
    resolved = project.load(
        SMALL
        + "features: [containers]\ntools: {packages: [strace]}\n"
        + "containers: [{name: one, definition: web.yaml}, {name: two, definition: web.yaml}]\n"
    ).resolved
    image, container, tools = list_package_sets(resolved)
    assert (image.name, container.name, tools.name) == ("image", "container:web", "tools")
    assert image.packages == ("linux-image-cloud-amd64", "podman", "systemd")
    assert (container.packages, container.essential) == (("a1", "b1"), True)
    assert tools.packages == ("strace",)


def test_two_containers_of_one_name_must_be_one(project: Project) -> None:
    for file in ("a.yaml", "b.yaml"):
        project.write(file, "kind: container\nname: web\nversion: 1.0.0\ncommand: [/bin/true]\n")
    text = project.refusal(
        SMALL
        + "features: [containers]\n"
        + "containers: [{name: one, definition: a.yaml}, {name: two, definition: b.yaml}]\n"
    )
    assert "a.yaml describes another image with the name 'web'" in text


@pytest.mark.parametrize("runtime", ["containerd", "systemd"])
def test_a_port_of_ipv6_is_refused_where_containers_have_ipv4_alone(project: Project, runtime: str) -> None:
    project.write("a.yaml", "kind: container\nname: web\nversion: 1.0.0\ncommand: [/bin/true]\n")
    use = SMALL + "features: [containers]\ncontainers:\n  - {name: web, definition: a.yaml, "
    text = project.refusal(use + f'runtime: {runtime}, publish: ["[::1]:8083:8080"]}}\n')
    assert f"a container of runtime '{runtime}' has IPv4 alone" in text


# --- values ---


@pytest.mark.parametrize(("text", "count"), [("1M", 1 << 20), ("512M", 512 << 20), ("2G", 2 << 30), ("1T", 1 << 40)])
def test_a_size_is_read_and_written_back(text: str, count: int) -> None:
    assert Size.parse(text) == count
    assert str(Size(count)) == text


@pytest.mark.parametrize("text", ["", "0M", "01M", "1", "1K", "1.5G", "1 G", "1g", "-1G", "1GiB", "12345678M", 5])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(NotAccepted):
        Size.parse(text)


def test_a_definition_survives_being_written_as_json(project: Project) -> None:
    definition = project.load(SMALL + "disk: {size: 16G}\nvariables: {a: 1, b: yes, c: true}\n").definition
    assert '"size":"16G"' in definition.model_dump_json()
    assert Definition.model_validate_json(definition.model_dump_json()) == definition
    assert definition.variables == {"a": 1, "b": "yes", "c": True}


def test_a_definition_cannot_be_changed(project: Project) -> None:
    loaded = project.load(SMALL)
    with pytest.raises(ValidationError):
        loaded.definition.name = "other"
    with pytest.raises(FrozenInstanceError):
        loaded.resolved.name = "other"  # type: ignore[misc]  # that is the point


def test_a_published_port_listens_on_all_addresses_unless_told() -> None:
    everywhere = parse_publish("8080:80")
    assert everywhere == Publish(8080, 80)
    assert str(parse_publish("127.0.0.1:8080:80")) == "127.0.0.1:8080:80/tcp"
    assert everywhere.has_conflict_with(parse_publish("127.0.0.1:8080:81"))
    assert not everywhere.has_conflict_with(parse_publish("8080:80/udp"))
    assert not parse_publish("127.0.0.1:1:1").has_conflict_with(parse_publish("127.0.0.2:1:1"))


def test_verity_and_signature_fit_into_their_partitions(project: Project) -> None:
    disk = project.load(SMALL).definition.disk
    hashes = -(-disk.slot // 4096) * 32
    assert hashes * 129 // 128 + 4096 < disk.verity < disk.slot // 32
    assert str(disk.minimum) == "6213M"


def test_a_problem_of_a_feature_that_is_read_twice_is_shown_once(project: Project) -> None:
    project.write("features/mine.yaml", "description: Mine.\nunits: [nowhere]\n")
    project.write("features/other.yaml", "description: Other.\nrequires: [mine]\n")
    text = project.refusal(SMALL + "features: [mine, other, mine]\n")
    assert text.count("there is no directory of units 'nowhere'") == 1


def test_warnings_do_not_stop_a_definition(project: Project) -> None:
    unit = "systemd: {units: [{name: a.service, enabled: true, contents: '[Unit]'}]}"
    project.write("base.yaml", f"variant: fcos\nversion: 1.5.0\n{unit}\n")
    loaded = project.load(SMALL + "firstboot: base.yaml\n")
    assert any(text.startswith("base.yaml:") and "warning" in text for text in loaded.warnings)
    assert load_module.load(Path("os.yaml"), shipped=project.root / "shipped").warnings == loaded.warnings
