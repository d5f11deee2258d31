"""``builder/definition/environments.py`` and ``requirements.py``: what is said of a Python environment, at its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.core.errors import InputError
from builder.definition.load import load
from builder.definition.requirements import list_lines
from builder.definition.resolved import Resolved

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

HEAD = 'name: web\nversion: "1"\nfeatures: []\npackages: [python3]\n'


def resolve(project: Project, text: str, **files: str) -> Resolved:
    return load(project.write("os.yaml", HEAD + text)).resolved


def complain(project: Project, text: str) -> str:
    with pytest.raises(InputError) as caught:
        resolve(project, text)
    return str(caught.value)


def test_requirements_inline(project: Project) -> None:
    (web,) = resolve(
        project, "python:\n  web:\n    requirements: [Foo_Bar, \"uvicorn[standard]>=1; python_version>'3'\"]\n"
    ).python
    assert web.name == "web"
    assert web.requested == {"foo-bar", "uvicorn"}


def test_a_requirements_file_with_all_it_includes(project: Project) -> None:
    project.write("more/base.txt", "# base\nflask>=3  # the web\n-c limits.txt\n")
    project.write("more/limits.txt", "click<9\n")
    project.write("requirements.txt", "-r more/base.txt\nnumpy \\\n  >=2\n")
    (web,) = resolve(project, "python:\n  web:\n    requirements: requirements.txt\n").python
    assert [(each.text, each.line) for each in web.requirements.wanted] == [("flask>=3", 2), ("numpy    >=2", 2)]
    assert [each.text for each in web.requirements.constraints] == ["click<9"]


def test_a_file_with_hashes(project: Project) -> None:
    project.write("r.txt", f"flask==3.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n")
    (web,) = resolve(project, "python:\n  web:\n    requirements: r.txt\n").python
    assert web.requirements.wanted[0].hashes == (f"sha256:{'a' * 64}", f"sha256:{'b' * 64}")


def test_a_project_with_extras_and_its_lock(project: Project) -> None:
    project.write(
        "shop/pyproject.toml",
        '[project]\nname = "shop"\ndependencies = ["flask"]\n[project.optional-dependencies]\n'
        'pg = ["psycopg[binary]"]\nall = ["shop[pg]"]\n',
    )
    text = "python:\n  web:\n    project: shop\n    extras: [all]\n"
    assert resolve(project, text).python[0].requested == {"flask", "psycopg"}
    lock = project.write("shop/uv.lock", "version = 1\n")
    assert resolve(project, text).python[0].lock == lock


def test_the_definition_says_what_a_feature_said_before(project: Project) -> None:
    project.write(
        "features/f.yaml",
        "description: d\npython:\n  web:\n    requirements: [flask]\n  x:\n    requirements: [attrs]\n",
    )
    text = HEAD.replace("features: []", "features: [f]") + "python:\n  web:\n    requirements: [django]\n"
    found = load(project.write("os.yaml", text)).resolved.python
    assert {each.name: set(each.requested) for each in found} == {"web": {"django"}, "x": {"attrs"}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-e .", "an editable requirement points at a directory that the image does not have"),
        ("--editable git+https://host.example/x", "an editable requirement"),
        ("git+https://host.example/x.git", "this names a repository"),
        ("x @ git+https://host.example/x.git", "this names a repository"),
        ("x @ https://host.example/x-1-py3-none-any.whl", "this names a place instead of a version"),
        ("https://host.example/x-1-py3-none-any.whl", "this names a place instead of a version"),
        ("./x-1-py3-none-any.whl", "this names a file or directory"),
        ("--index-url https://host.example/simple", "--index-url names where files come from"),
        ("--no-binary :all:", "--no-binary is not known"),
        ("flask=>3", "this is no requirement"),
        ("flask --hash=md5:abc", "is no hash that can be relied on"),
        ("-r gone.txt", "there is no file gone.txt"),
        ("-r r.txt", "these files include each other"),
    ],
)
def test_a_line_that_is_refused_is_shown(project: Project, line: str, words: str) -> None:
    project.write("r.txt", f"# first\n{line}\n")
    text = complain(project, "python:\n  web:\n    requirements: r.txt\n")
    assert words in text
    assert "r.txt:2:1" in text


def test_all_lines_that_are_refused_are_shown_at_once(project: Project) -> None:
    project.write("r.txt", "-e .\nflask\ngit+https://host.example/x.git\n./own\n")
    text = complain(project, "python:\n  web:\n    requirements: r.txt\n")
    assert [f"r.txt:{line}:1" in text for line in (1, 2, 3, 4)] == [True, False, True, True]


def test_all_inline_requirements_that_are_refused_are_shown_at_once(project: Project) -> None:
    listed = "      - -e .\n      - flask\n      - git+https://host.example/x\n      - ./own\n"
    text = complain(project, f"python:\n  web:\n    requirements:\n{listed}")
    assert [f"os.yaml:{line}:" in text for line in (8, 9, 10, 11)] == [True, False, True, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("python:\n  web: {}\n", "it asks for nothing"),
        ("python:\n  web: {requirements: [a], lock: pylock.toml}\n", "requirements and lock are set"),
        ("python:\n  web: {requirements: gone.txt}\n", "there is no file gone.txt"),
        ("python:\n  web: {requirements: 3}\n", "write a list of requirements, or the name of a requirements file"),
        ("python:\n  web: {requirements: /r.txt}\n", "a path is written relative to this file"),
        ("python:\n  web: {requirements: [-e .]}\n", "an editable requirement points at a directory"),
        ("python:\n  web: {requirements: [--require-hashes]}\n", "this is an option of pip"),
        ("python:\n  web: {requirements: [git+https://host.example/x]}\n", "this names a repository"),
        ("python:\n  web: {project: shop}\n", "there is no shop/pyproject.toml"),
        ("python:\n  web: {lock: poetry.lock}\n", "there is no file poetry.lock"),
        ("python:\n  web: {requirements: [a], find_links: [wheels]}\n", "there is no directory wheels"),
        ("python:\n  web: {requirements: [a], extras: [b]}\n", "extras are a project's"),
        ("python:\n  web: {requirements: [a], trim: [docs]}\n", "trim"),
        ("python:\n  web: {requirements: [a], trim: [bytecode]}\n", "what is never imported is known only where"),
        ("python:\n  Web: {requirements: [a]}\n", "a name is lower-case letters"),
        ("python:\n  web: {requirement: [a]}\n", "unknown setting"),
    ],
)
def test_a_key_that_is_refused_is_shown(project: Project, text: str, words: str) -> None:
    assert words in complain(project, text)


@pytest.mark.parametrize(
    ("project_file", "words"),
    [
        ("[tool.x]\n", "it has no [project] table"),
        ('[project]\nname = "x"\ndynamic = ["dependencies"]\n', "known only when it is built"),
        ('[project]\nname = "x"\ndependencies = ["a @ https://host.example/a.whl"]\n', "this names a place"),
        (
            '[project]\nname = "x"\ndependencies = ["a"]\n[tool.uv.sources]\nA = { path = "../a" }\n',
            "a place that only uv knows",
        ),
        ("= x", "it cannot be read"),
    ],
)
def test_a_project_that_is_refused_is_shown(project: Project, project_file: str, words: str) -> None:
    project.write("shop/pyproject.toml", project_file)
    assert words in complain(project, "python:\n  web: {project: shop}\n")


def test_some_hashes_are_none(project: Project) -> None:
    project.write("r.txt", f"a==1 --hash=sha256:{'a' * 64}\nb==1\n")
    assert "'b==1' has no hash, and others have" in complain(project, "python:\n  web: {requirements: r.txt}\n")


def test_lines_are_joined_as_pip_joins_them() -> None:
    text = "a \\\n  # comment\n  b\nc # d\n#e\n\\\nf#g\n"
    assert list(list_lines(text)) == [(1, "a"), (3, "b"), (4, "c"), (6, "f#g")]
