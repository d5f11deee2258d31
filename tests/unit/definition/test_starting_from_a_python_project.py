"""``build-os init --template python-app``: a definition of a project that is there, and that starts what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.main import main
from builder.core.errors import InputError
from builder.definition.init import PYTHON_APP, write_starter_files
from builder.definition.load import load
from builder.definition.python_project import read_python_project
from builder.definition.resolved_app import ResolvedApp

pytestmark = pytest.mark.unit

FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FACTORY = "import flask\n\n\ndef create_app():\n    made = flask.Flask(__name__)\n    return made\n"
FASTAPI = "import fastapi\n\nserver: fastapi.FastAPI = fastapi.FastAPI()\n"
ASGI_FACTORY = "import fastapi\n\n\ndef create_app():\n    return fastapi.FastAPI()\n"


def make_pyproject(*dependencies: str, name: str = "Corner_Shop", more: str = "") -> str:
    listed = ", ".join(f'"{each}"' for each in dependencies)
    return f'[project]\nname = "{name}"\ndependencies = [{listed}]\n{more}'


def lay_out(place: Path, **files: str) -> Path:
    for name, text in files.items():
        path = place / name.replace("__slash__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    return caught.value.code


def start(project: Path) -> ResolvedApp:
    """The app of the definition that is written for a project."""
    directory = project / "os"
    write_starter_files(
        directory, "demo", template=PYTHON_APP, home=project, project=read_python_project(project, directory)
    )
    loaded = load(directory / "os.yaml")
    assert loaded.warnings == ()
    (app,) = loaded.resolved.apps
    (environment,) = loaded.resolved.python
    assert environment.name == app.app.python == app.name
    assert "@" not in (directory / "os.yaml").read_text()
    return app


@pytest.mark.parametrize(
    ("files", "entrypoint", "arguments"),
    [
        ({"shop/web.py": FLASK, "pyproject.toml": make_pyproject("flask", "gunicorn")}, "gunicorn", ("shop.web:app",)),
        ({"shop/__init__.py": FACTORY, "requirements.txt": "flask\ngunicorn\n"}, "gunicorn", ("shop:create_app()",)),
        (
            {"src/shop/web.py": FASTAPI, "pyproject.toml": make_pyproject("fastapi", "uvicorn[standard]")},
            "uvicorn",
            ("--fd=3", "shop.web:server"),
        ),
        (
            {"web.py": ASGI_FACTORY, "requirements.txt": "uvicorn\n"},
            "uvicorn",
            ("--fd=3", "--factory", "web:create_app"),
        ),
    ],
)
def test_an_application_is_run_by_the_projects_own_server(
    files: dict[str, str], entrypoint: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    app = start(lay_out(tmp_path / "corner-shop", **files))
    assert (app.name, app.app.entrypoint, app.app.arguments) == ("corner-shop", entrypoint, arguments)
    assert (app.app.listen.sockets, app.app.ready) == (("8080",), "http")


def test_a_script_of_the_project_is_run(tmp_path: Path) -> None:
    scripts = '[project.scripts]\nshop-serve = "shop.main:run"\n'
    files = {"shop/main.py": "def run(): ...\n", "pyproject.toml": make_pyproject("requests", more=scripts)}
    app = start(lay_out(tmp_path / "p", **files))
    assert app.entrypoint == "shop.main:run"
    assert app.app.ready == "exec"
    moved = {f"src/{name}" if name.endswith(".py") else name: text for name, text in files.items()}
    assert start(lay_out(tmp_path / "q", **moved)).entrypoint == "shop.main:run"


@pytest.mark.parametrize(
    ("files", "module"), [(("shop/__init__.py", "shop/__main__.py"), "shop"), (("main.py",), "main")]
)
def test_a_module_that_can_be_run_is(files: tuple[str, ...], module: str, tmp_path: Path) -> None:
    project = lay_out(tmp_path / "p", **dict.fromkeys(files, ""), **{"requirements.txt": "requests\n"})
    assert start(project).app.module == module


def test_the_definition_is_no_part_of_the_app(tmp_path: Path) -> None:
    files = {"shop/web.py": FLASK, "tests/test_web.py": FLASK, "requirements.txt": "flask\ngunicorn\n"}
    app = start(lay_out(tmp_path / "p", **files))
    assert {*app.files} == {"shop/web.py", "tests/test_web.py", "requirements.txt"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"main.py": ""}, "does not say what it needs"),
        ({"requirements.txt": "flask\n", "web.py": FLASK}, r"web:app is an application(?s:.*)add gunicorn"),
        ({"requirements.txt": "flask\n", "web.py": "x = 1\n"}, "does not say what starts it"),
        ({"requirements.txt": "-e .\n", "main.py": ""}, "an editable requirement"),
        ({"pyproject.toml": "[project\n", "main.py": ""}, "cannot be read"),
    ],
)
def test_what_cannot_be_made_an_app_is_said(files: dict[str, str], words: str, tmp_path: Path) -> None:
    project = lay_out(tmp_path / "p", **files)
    with pytest.raises(InputError, match=words):
        read_python_project(project, project / "os")


@pytest.mark.parametrize(("name", "called"), [("3D.Shop_", "d-shop"), ("é", "app"), ("x" * 40, "x" * 31)])
def test_an_app_is_called_like_its_project_as_far_as_it_can(name: str, called: str, tmp_path: Path) -> None:
    project = lay_out(tmp_path / "p", **{"pyproject.toml": make_pyproject(name=name), "main.py": ""})
    assert start(project).name == called


def test_the_command_writes_beside_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "p", **{"requirements.txt": "flask\ngunicorn\n", "web.py": FLASK, "README.md": "mine"})
    monkeypatch.chdir(tmp_path / "p")
    assert run("init", "--template", "python-app") == 0
    said = capsys.readouterr()
    assert (tmp_path / "p/os/os.yaml").is_file()
    assert "cd os && build-os build" in said.out + said.err
    assert run("init", "x", "--project", ".") == 2  # of which template?
