"""What the pages for users say twice, they say as the code does: tables of commands, stages, formats, settings."""

from __future__ import annotations

import inspect
import re
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

from builder.cli.main import COMMANDS
from builder.core import errors
from builder.core.architecture import Arch
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.outputs.initrd import UNITS
from builder.products.tables import TABLES
from builder.stages import list_stages
from builder.stages.seal import UNPRIVILEGED
from firstboot.config.text import LocatedError
from firstboot.engine import compile as compiling
from firstboot.platform_index import load_index
from tests.unit.docs import platform_lists
from vm import pytest_plugin
from vm.machine import Machine
from vm.spec.request import MachineRequest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def page(name: str) -> str:
    """A page."""
    return (ROOT / name).read_text(encoding="utf-8")


def table(name: str, header: str) -> list[list[str]]:
    """The rows of the table whose header line begins so; cells without white space around them."""
    lines = page(name).partition(f"\n| {header}")[2].splitlines()[2:]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in takewhile(lambda line: line.startswith("|"), lines)]
    assert rows, f"{name} has no table with the header {header!r}"
    return [[cell.strip() for cell in row] for row in rows]


def test_every_output_is_in_the_tables() -> None:
    for name, write in TABLES.items():
        assert write(page(name)) == page(name), f"{name}: run 'make reference'"


def test_the_table_of_stages_is_the_list_of_stages() -> None:
    resolved = load(ROOT / "configs" / "demo.yaml", arch=Arch.AMD64, shipped=ROOT).resolved
    stages = list_stages(resolved, Lock(recipe_sha256="", arch="amd64", suite="trixie"))
    rows = table("docs/build.md", "stage | does")
    assert [(row[0], row[2]) for row in rows] == [(f"`{s.name}`", "yes" if s.checkpoint else "") for s in stages]
    timed = [row[0] for row in table("docs/performance.md", "phase | seconds") if row[0].startswith("`")]
    assert timed == [f"`{stage.name}`" for stage in stages]


def test_the_units_of_the_initrd_are_those_of_the_boot_table() -> None:
    units = (ROOT / "overlays").glob("initrd*/usr/lib/systemd/system/*.*")
    ours = {path.name for path in units if path.suffix in (".service", ".mount")}
    text = page("docs/boot.md")
    assert [name for name in ours if f"`{name}`" not in text] == []
    generated = {"`systemd-veritysetup@root.service`", "`sysroot.mount`"}  # by systemd, from the command line
    known = {f"`{name}`" for name in (*ours, *UNITS)} | generated
    assert [row[0] for row in table("docs/boot.md", "unit | does") if row[0] not in known] == []


def test_every_fault_of_the_matrix_is_shown_by_tests_that_exist() -> None:
    rows = table("docs/faults.md", "no. | fault")
    assert [row[0] for row in rows] == [str(number + 1) for number in range(len(rows))]
    for _, fault, shown in rows:
        named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", shown)
        assert named or shown.startswith("not tested: "), fault
        for path, test in named:
            assert f"def {test or 'test_'}" in (ROOT / path).read_text(encoding="utf-8"), f"{fault}: {path}::{test}"


def test_every_fault_of_a_first_boot_is_shown_by_tests_that_exist() -> None:
    rows = table("docs/faults.md", "row | fault of a first boot")
    assert [row[0] for row in rows] == [str(number + 1) for number in range(len(rows))]
    for _, fault, _happens, shown in rows:
        named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", shown)
        assert named, fault
        for path, test in named:
            assert f"def {test or 'test_'}" in (ROOT / path).read_text(encoding="utf-8"), f"{fault}: {path}::{test}"


def test_every_fault_of_an_update_is_shown_by_tests_that_exist() -> None:
    rows = table("docs/faults.md", "row | fault of an update")
    assert [row[0] for row in rows] == [str(number) for number in range(28, 51)]
    for _, fault, _happens, shown in rows:
        named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", shown)
        assert named or shown.startswith("not tested: "), fault
        for path, test in named:
            assert f"def {test or 'test_'}" in (ROOT / path).read_text(encoding="utf-8"), f"{fault}: {path}::{test}"


def test_every_variable_of_the_environment_is_documented() -> None:
    sources = [path for name in ("builder", "vm", "firstboot", "update") for path in (ROOT / name).rglob("*.py")]
    used = {name for path in sources for name in re.findall(r"BUILD_OS_[A-Z_]+", path.read_text(encoding="utf-8"))}
    text = page("docs/build.md")
    assert [name for name in sorted(used) if f"`{name}`" not in text] == []


def test_every_exit_code_is_documented() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.BuildError)]
    documented = {code for row in table("docs/exit-codes.md", "code | means") for code in row[0].split(", ")}
    assert {str(each.exit_code) for each in kinds} <= documented


def test_every_command_is_in_the_readme() -> None:
    assert [row[0] for row in table("README.md", "command | does")] == [f"`build-os {name}`" for name in COMMANDS]


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for header, wanted in (
        ("at run time", project["dependencies"]),
        ("for the extra `scale`", extras["scale"]),
        ("for tests", extras["test"]),
        ("for development", [each for each in extras["dev"] if not each.startswith("build-os")]),
    ):
        rows = table("CONTRIBUTING.md", header)
        names = [name for row in rows for name in row[0].split(", ")]
        assert sorted(names) == sorted(re.split(r"[<>=\[]", each)[0] for each in wanted)
        assert all(row[1] for row in rows)


def test_the_security_page_lists_settings_and_programs() -> None:
    text = page("docs/security.md")
    files = (ROOT / "overlays/base/usr/lib/sysctl.d").glob("*.conf")
    settings = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    settings = [line.removeprefix("net.ipv4.conf.").removeprefix("net.ipv6.conf.") for line in settings if "=" in line]
    short = [re.sub(r"^(?:all|default)\.", "", line) for line in settings]
    assert [line for line in short if f"`{line}`" not in text] == []
    assert [path for path in UNPRIVILEGED if f"`{path}`" not in text] == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("cex", "storage: {luks: [{device: /dev/x, name: x, cex: {enabled: true}}]}"),
        ("/usr", "storage: {filesystems: [{device: /dev/x, format: ext4, path: /usr}]}"),
        ("boot_device", "boot_device: {luks: {tpm2: true}}"),
        ("grub", "grub: {users: [{name: x, password_hash: y}]}"),
        ("local", "storage: {files: [{path: /etc/x, contents: {local: x}}]}"),
        ("trees", "storage: {trees: [{local: x}]}"),
        ("contents_local", "systemd: {units: [{name: x.service, contents_local: x}]}"),
        ("ssh_authorized_keys_local", "passwd: {users: [{name: x, ssh_authorized_keys_local: [x]}]}"),
    ],
)
def test_what_the_page_calls_refused_is_refused(words: str, text: str) -> None:
    refused = page("docs/firstboot.md").partition("## What is refused")[2].partition("\n## ")[0]
    assert f"`{words}`" in refused
    with pytest.raises(LocatedError, match=r"not supported|no files beside|no images"):
        compiling.load(f"variant: fcos\nversion: 1.7.0\n{text}\n", "x")


@pytest.mark.parametrize("name", platform_lists.FILES)
def test_lists_of_platforms_are_made_from_their_files(name: str) -> None:
    assert page(name) == platform_lists.FILES[name](page(name)), "run `make reference`"


@pytest.mark.parametrize(
    ("name", "sentence", "platforms"),
    [
        ("docs/platforms.md", "let anybody in the machine read the config", load_index().with_deletion),
        ("docs/metadata.md", "tells the platform that the machine is up", load_index().with_check_in),
    ],
)
def test_sentences_about_some_platforms_name_all_of_them(name: str, sentence: str, platforms: tuple[str, ...]) -> None:
    line = next(line for line in page(name).splitlines() if sentence in line)
    assert {word for word in re.findall(r"`(\w+)`", line) if word in load_index().names} == set(platforms)


# What fixtures do with a machine, and a test has no use for.
FOR_THE_FIXTURES = {"booted", "leave", "notice_boot", "scan_journal", "sleep", "start_over"}


def test_the_testing_page_names_what_there_is() -> None:
    fixtures = [name for row in table("docs/testing.md", "fixture | is") for name in re.findall(r"`(\w+)`", row[0])]
    assert [name for name in fixtures if not hasattr(pytest_plugin, name)] == []
    tables = [
        row[0]
        for header in ("to wait", "in the guest", "power | does", "time and hardware | does")
        for row in table("docs/testing.md", header)
    ]
    methods = [name for cell in tables for name in re.findall(r"`(\w+)\(", cell)]
    assert [name for name in methods if not hasattr(Machine, name)] == []
    page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    own = {name for name, value in vars(Machine).items() if callable(value) and not name.startswith("_")}
    assert [name for name in sorted(own - FOR_THE_FIXTURES) if f"`{name}(" not in page] == []
    options = [name for row in table("docs/testing.md", "option | default") for name in re.findall(r"`(\w+)`", row[0])]
    known = {*inspect.signature(MachineRequest).parameters, "seconds", "check", "probe", "until", "isolation"}
    assert [name for name in options if name not in known] == []
