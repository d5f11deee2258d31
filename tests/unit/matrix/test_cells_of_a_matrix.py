"""Which cells a matrix has, what each is called, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.architecture import Arch
from builder.core.errors import InputError
from builder.definition.load import load
from builder.definition.variation import Variation, parse_variation
from builder.matrix.cells import choose_cells
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit


def test_a_cell_for_each_combination_named_by_what_stands_on_the_axes(make_matrix: MakeMatrix) -> None:
    made = make_matrix("arch: [amd64, arm64]\noutputs: [raw, [gce, azure]]\n", ("one", "two"))
    assert [cell.id for cell in made.cells] == [
        "one-amd64-raw",
        "one-amd64-gce+azure",
        "one-arm64-raw",
        "one-arm64-gce+azure",
        "two-amd64-raw",
        "two-amd64-gce+azure",
        "two-arm64-raw",
        "two-arm64-gce+azure",
    ]
    assert made.cells[3].variation == Variation(Arch.ARM64, ("gce", "azure"))


def test_rules_leave_cells_out_and_additions_come_last(make_matrix: MakeMatrix) -> None:
    made = make_matrix(
        "arch: [amd64, arm64]\noutputs: [raw, gce]\nfeatures: {plain: [], shell: [ssh]}\n"
        "exclude:\n- {arch: arm64, outputs: gce}\n- {features: shell, arch: amd64}\n"
        "include:\n- {definition: one.yaml, arch: arm64, outputs: [gce], features: shell}\n"
    )
    assert [cell.id for cell in made.cells] == [
        "one-amd64-raw-plain",
        "one-amd64-gce-plain",
        "one-arm64-raw-plain",
        "one-arm64-raw-shell",
        "one-arm64-gce-shell",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exclude:\n- {arch: arm64}\n", "no cell has 'arm64', so this leaves out nothing"),
        ("exclude:\n- {}\n", "this leaves out every cell"),
        ("features: {shell: [ssh]}\nexclude:\n- {features: shel}\n", "did you mean 'shell'?"),
        ("arch: [amd64]\nexclude:\n- {arch: amd64}\n", "every cell is left out"),
        ("outputs: [raw, raw]\n", "two cells are called one-raw"),
        ("outputs: [floppy]\n", "matrix.yaml:2:11: expected 'qcow2'"),
        ("outputs: [raw, gce, aws]\nlimits: {cells: 2}\n", "these are 3 cells, and limits.cells is 2"),
        ("include:\n- {definition: none.yaml}\n", "there is no file none.yaml"),
        ("include:\n- {definition: ../one.yaml}\n", "one.yaml has the same name, and a cell is named by it"),
        ("archs: [amd64]\n", "did you mean 'arch'?"),
    ],
)
def test_what_is_wrong_is_shown_at_its_line(make_matrix: MakeMatrix, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        make_matrix(text)
    assert says in str(caught.value)
    assert "matrix.yaml:" in str(caught.value)


def test_cells_are_chosen_by_name_and_glob(make_matrix: MakeMatrix) -> None:
    cells = make_matrix("outputs: [raw, gce, aws]\n").cells
    assert [cell.id for cell in choose_cells(cells, ["one-a*", "one-raw"])] == ["one-raw", "one-aws"]
    with pytest.raises(InputError, match="no cell is called 'one-rav'") as caught:
        choose_cells(cells, ["one-rav"])
    assert caught.value.hint == "did you mean 'one-raw'?"


def test_a_variation_changes_what_the_definition_says(tmp_path: Path) -> None:
    path = tmp_path / "os.yaml"
    path.write_text("name: mine\nversion: 1.0.0\nfeatures: [base, ssh]\nvariables: {a: 1, b: 2}\n")
    changed = Variation(Arch.ARM64, ("raw",), (("b", 3), ("c", "x")), ("ssh", "chrony"))
    resolved = load(path, variation=changed).resolved
    assert resolved.arch == "arm64"
    assert resolved.outputs == ("raw",)
    assert resolved.variables == {"a": 1, "b": 3, "c": "x"}
    assert resolved.features[-2:] == ("ssh", "chrony")
    assert load(path).resolved.outputs == ("qcow2",)
    assert parse_variation(changed.describe()) == changed


def test_what_a_variation_breaks_is_said_of_the_definition(tmp_path: Path) -> None:
    path = tmp_path / "os.yaml"
    path.write_text("name: mine\nversion: 1.0.0\nfeatures: [base]\n")
    with pytest.raises(InputError, match="there is no feature 'sssh'"):
        load(path, variation=Variation(features=("sssh",)))
