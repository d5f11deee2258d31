"""Extensions: what a definition of one becomes, and what is refused at its lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.architecture import Arch
from builder.core.errors import InputError
from builder.definition.extensions import ResolvedExtension, load_extension
from builder.definition.load import load, read_kind
from builder.definition.model import ExtensionType
from builder.locking import load_any

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

SYSTEM = "name: fleet\nversion: '42'\nfeatures: [base, extensions]\npackages: [one]\nvariables: {a: x, b: y}\n"
SMALL = "kind: extension\nname: tools\nof: os.yaml\n"


@pytest.fixture
def fleet(project: Project) -> Project:
    project.write("features/extensions.yaml", "description: Takes extensions.\nrequires: [base]\n")
    project.write("os.yaml", SYSTEM)
    return project


def read(project: Project, text: str) -> ResolvedExtension:
    project.write("tools.yaml", text)
    return load_extension(Path("tools.yaml"), arch=Arch.AMD64, shipped=project.root / "shipped").resolved


def refuse(project: Project, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(project, text)
    return str(caught.value)


def test_it_is_the_system_with_one_more_layer(fleet: Project) -> None:
    fleet.write(
        "features/extra.yaml", "description: More.\nrequires: [base]\npackages: [three]\nremove: [/usr/share/x/*]\n"
    )
    fleet.write("overlays/mine/usr/share/mine", "mine\n")
    text = "features: [extra]\npackages: [two]\noverlays: [mine]\nvariables: {b: z}\nremove: [/usr/share/doc/*]\n"
    extension = read(fleet, SMALL + text)
    system = load(Path("os.yaml"), arch=Arch.AMD64, shipped=fleet.root / "shipped").resolved
    assert extension.system == system
    assert extension.whole.packages == (*system.packages, "three", "two")
    assert [overlay.name for overlay in extension.whole.overlays] == [*(o.name for o in system.overlays), "mine"]
    assert extension.whole.variables == {"a": "x", "b": "z"}
    # What is left out of the extension is not left out of the system.
    assert extension.whole.remove == system.remove
    assert extension.remove == ("/usr/share/x/*", "/usr/share/doc/*")
    # What the machine says that it is stays.
    assert extension.whole.features == system.features


def test_it_has_the_version_of_its_system(fleet: Project) -> None:
    extension = read(fleet, SMALL)
    assert (extension.image_name, extension.type) == ("tools_42", ExtensionType.SYSEXT)
    assert read(fleet, f"{SMALL}type: confext\n").type is ExtensionType.CONFEXT


def test_it_may_have_a_budget_of_its_own(fleet: Project) -> None:
    assert str(read(fleet, f"{SMALL}budget: {{image: 8M}}\n").budget.image) == "8M"
    assert "unknown" in refuse(fleet, f"{SMALL}budget: {{boot: 8M}}\n")


def test_its_lock_is_of_the_system_with_it(fleet: Project) -> None:
    path = fleet.write("tools.yaml", f"{SMALL}packages: [two]\n")
    fleet.write("os.yaml", "name: fleet\nversion: '42'\nfeatures: [base, extensions]\n")
    assert read_kind(path) == "extension"
    assert "two" in load_any(path).packages


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("of: none.yaml", 3, "there is no file none.yaml"),
        ("of: os.yaml\nname: fleet", 2, "the system that it extends is called 'fleet' as well"),
        ("of: os.yaml\nexclude: [one]", 4, "the system asks for the package 'one'"),
        ("of: os.yaml\npresets: {mask: [a.service]}", 4, "an extension adds to a system, and takes nothing away"),
        ("of: os.yaml\nfeatures: [driver]", 4, "the feature 'driver' wants something of the kernel"),
        ("of: os.yaml\nfeatures: [nowhere]", 4, "there is no feature 'nowhere'"),
        ("of: os.yaml\noverlays: [nowhere]", 4, "there is no overlay 'nowhere'"),
        ("of: os.yaml\nversion: '1'", 4, "version"),
        ("of: plain.yaml", 3, "machines of plain.yaml take no extensions"),
        ("of: web.yaml", 1, "this describes a container, and a system is wanted here"),
    ],
)
def test_what_cannot_be_is_said_at_its_line(fleet: Project, text: str, line: int, words: str) -> None:
    fleet.write("features/driver.yaml", "description: Drives.\nkernel: {modules: [ext4]}\n")
    fleet.write("plain.yaml", "name: plain\nversion: '1'\nfeatures: [base]\n")
    fleet.write("web.yaml", "kind: container\nname: web\nversion: '1'\ncommand: [/x]\n")
    name = "" if "name:" in text else "name: tools\n"
    order = text.splitlines()
    body = f"kind: extension\n{name}{text}\n" if name else f"kind: extension\n{order[1]}\n{order[0]}\n"
    said = refuse(fleet, body)
    assert words in said
    assert f".yaml:{line}:" in said


def test_who_asks_for_a_system_is_told_what_an_extension_is(fleet: Project) -> None:
    path = fleet.write("tools.yaml", SMALL)
    with pytest.raises(InputError, match="this describes an extension, and a system is wanted here"):
        load(path)
    with pytest.raises(InputError, match="an extension is wanted here"):
        load_extension(Path("os.yaml"))
