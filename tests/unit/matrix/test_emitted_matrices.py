"""What other engines are given is what their published schemas accept, and names every cell once."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator

from builder.cli.main import make_parser
from builder.core.errors import InputError
from builder.matrix.cells import load_matrix
from builder.matrix.emit import Wanted, emit_matrix
from tests.support.command import run_command
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit

TEXT = "outputs: [raw, gce]\nvariables: {eu: {a: 1}, us: {a: 2}}\nlimits: {jobs: 3, seconds: 90}\n"
NAMES = ["one-raw-eu", "one-raw-us", "one-gce-eu", "one-gce-us"]


def emit(
    make_matrix: MakeMatrix,
    system: str,
    image: str | None = None,
    text: str = TEXT,
    out: str = "out/matrix",
    **more: Any,
) -> Any:
    made = make_matrix(text)
    return yaml.safe_load(emit_matrix(system, Wanted(made, made.cells, Path(out), image, **more)))


def read_schema(name: str) -> Draft7Validator:
    """A schema as its system publishes it."""
    text = (files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{name}.json").read_text(encoding="utf-8")
    return Draft7Validator(json.loads(text))


def test_github_runs_a_job_for_each_cell(make_matrix: MakeMatrix) -> None:
    made = emit(make_matrix, "github")
    schema = read_schema("github-workflows")
    # YAML 1.1 reads the key "on" as true, and GitHub does not.
    document = {("on" if key is True else key): value for key, value in made.items()}
    schema.validate(document)
    assert not schema.is_valid({**document, "jobs": {"cell": {"runs-on": 7}}})
    job = document["jobs"]["cell"]
    assert job["strategy"] == {"fail-fast": False, "max-parallel": 3, "matrix": {"cell": NAMES}}
    assert job["timeout-minutes"] == 2
    check_command(job["steps"][2]["run"].replace("${{ matrix.cell }}", "one-raw-eu"), ["one-raw-eu"])


def test_gitlab_runs_a_job_for_each_cell(make_matrix: MakeMatrix) -> None:
    made = emit(make_matrix, "gitlab", "host/build-os:1")
    schema = read_schema("gitlab-ci")
    schema.validate(made)
    assert not schema.is_valid({**made, "cell": {**made["cell"], "parallel": "many"}})
    assert made["cell"]["parallel"] == {"matrix": [{"CELL": NAMES}]}
    check_command(made["cell"]["script"][0].replace("$CELL", "one-raw-us"), ["one-raw-us"])


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_paths_are_one_word_each(make_matrix: MakeMatrix, tmp_path: Path, system: str) -> None:
    make_matrix(TEXT)
    path = tmp_path / "my matrix; false.yaml"
    (tmp_path / "matrix.yaml").rename(path)
    made = load_matrix(path)
    document = yaml.safe_load(emit_matrix(system, Wanted(made, made.cells, Path("out/$HOME"), "host/build-os:1")))
    line = document["jobs"]["cell"]["steps"][2]["run"] if system == "github" else document["cell"]["script"][0]
    words = shlex.split(line)
    assert words[3:6] == [str(path), "-o", "out/$HOME"]
    assert "'out/$HOME'" in line


def test_kubernetes_runs_an_index_for_each_cell(make_matrix: MakeMatrix) -> None:
    made = emit(make_matrix, "kubernetes", "host/build-os:1")
    kubernetes_validate.validate(made, "1.33", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**made, "spec": {**made["spec"], "completions": "four"}}, "1.33", strict=True)
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (4, 3, "Indexed")
    (container,) = spec["template"]["spec"]["containers"]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "2") for word in container["command"]]
    args = make_parser("matrix").parse_args(words[1:])
    assert (args.cell, args.number, args.locked) == (NAMES, 2, True)
    # Where the pod may write, whatever its image is.
    assert args.out == Path("/build-os/out/matrix")
    assert {"name": "work", "mountPath": "/build-os"} in container["volumeMounts"]


def test_a_pod_is_root_nowhere_and_may_make_user_namespaces(make_matrix: MakeMatrix) -> None:
    pod = emit(make_matrix, "kubernetes", "host/build-os:1")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "seccompProfile": {"type": "Unconfined"},
        "appArmorProfile": {"type": "Unconfined"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "procMount": "Unmasked",
    }
    assert pod["hostUsers"] is False  # without it, Kubernetes refuses the /proc
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("url", ["/mnt/cache", "file:///mnt/cache"])
def test_a_directory_that_is_a_cache_is_the_nodes(make_matrix: MakeMatrix, url: str) -> None:
    public = Path("/run/build-os-keys/cache.pub")
    sharing = ("--cache", url, "--cache-key", str(public))
    job = emit(make_matrix, "kubernetes", "host/build-os:1", sharing=sharing, cache=url)
    kubernetes_validate.validate(job, "1.33", strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "cache", "mountPath": "/mnt/cache"} in container["volumeMounts"]
    assert {"name": "cache", "hostPath": {"path": "/mnt/cache", "type": "Directory"}} in pod["volumes"]
    args = make_parser("matrix").parse_args(container["command"][1:-2])
    assert (args.cache, args.cache_key) == (url, [public])


def test_paths_that_no_pod_has_are_refused(make_matrix: MakeMatrix) -> None:
    with pytest.raises(InputError, match=r"keys/cache\.key is a path of this machine"):
        emit(make_matrix, "kubernetes", "host/build-os:1", sharing=("--cache-sign-key", "keys/cache.key"))
    for out in ("/srv/out", "../out"):
        with pytest.raises(InputError, match=rf"-o {re.escape(out)}: pods build below /build-os"):
            emit(make_matrix, "kubernetes", "host/build-os:1", out=out)


def test_a_directory_of_the_nodes_is_named_by_its_whole_path(make_matrix: MakeMatrix) -> None:
    with pytest.raises(InputError, match="--cache cache: of a directory of the nodes the whole path is needed"):
        emit(make_matrix, "kubernetes", "host/build-os:1", sharing=("--cache", "cache"), cache="cache")


def test_a_cache_elsewhere_is_no_volume(make_matrix: MakeMatrix) -> None:
    job = emit(make_matrix, "kubernetes", "host/build-os:1", sharing=("--cache", "oci://h/c"), cache="oci://h/c")
    assert [volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]] == ["work", "keys"]


def check_command(line: str, cells: list[str]) -> None:
    words = shlex.split(line)
    assert words[0] == "build-os"
    args = make_parser("matrix").parse_args(words[1:])
    assert (args.action, args.cell, args.locked) == ("build", cells, True)


def test_more_cells_than_a_system_bears_are_refused(make_matrix: MakeMatrix) -> None:
    sets = "".join(f"  v{number}: {{a: {number}}}\n" for number in range(257))
    with pytest.raises(InputError, match="these are 257 cells, and a matrix of GitHub has at most 256"):
        emit(make_matrix, "github", text=f"variables:\n{sets}")


def test_a_job_of_kubernetes_needs_an_image(make_matrix: MakeMatrix) -> None:
    with pytest.raises(InputError, match="a Job needs an image"):
        emit(make_matrix, "kubernetes")


def test_the_command_prints_it(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_matrix(TEXT)
    monkeypatch.chdir(tmp_path)
    out = run_command(capsys, "matrix", "emit", "gitlab", "--only", "*-eu").out
    assert out.startswith("# Made by 'build-os matrix emit gitlab' of matrix.yaml.\n")
    assert yaml.safe_load(out)["cell"]["parallel"]["matrix"][0]["CELL"] == ["one-raw-eu", "one-gce-eu"]
    out = run_command(capsys, "matrix", "emit", "gitlab", "--cache", "s3://b/c", "--cache-key", "c.pub").out
    assert " --cache-key c.pub --cache s3://b/c " in yaml.safe_load(out)["cell"]["script"][-1]
    assert run_command(capsys, "matrix", "emit").status == 2
    assert run_command(capsys, "matrix", "build", "--cell", "a", "--cell", "b").status == 2
    assert run_command(capsys, "matrix", "build", "--cell", "one-raw-eu", "--number", "1").status == 2
