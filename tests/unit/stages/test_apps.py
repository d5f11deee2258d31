"""What an app becomes: its units, and whether what it names can start, seen in a tree without running anything."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import InputError, ToolError
from builder.core.tools import Tools
from builder.definition.app_models import App
from builder.definition.resolved_app import ResolvedApp
from builder.definition.shipped import find_shipped_root
from builder.stages.app_commands import NotStartable, PythonPlace, find_place, make_command
from builder.stages.app_installation import MANIFEST, PRESETS, UNITS
from builder.stages.app_units import make_app_units
from builder.stages.apps import Apps
from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

SUPPORT = find_shipped_root() / "overlays" / "apps"


def make_app(files: dict[str, Path] | None = None, **settings: Any) -> ResolvedApp:
    data = {"name": "shop", "module": "shop.web", **settings}
    model = App.model_validate_json(json.dumps(data))
    return ResolvedApp(model.name, model, files or {}, model.entrypoint, model.after, model.needs)


def put(tree: Tree, **texts: str) -> Tree:
    for path, text in texts.items():
        tree.put(path, make_file(text, origin="package:x"))
    return tree


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    for path in (
        "/usr/bin/python3",
        "/usr/bin/gunicorn",
        "/usr/lib/python3.13/json/__init__.py",
        "/usr/lib/python3.13/sys.py",
    ):
        tree.put(path, make_file("", 0o755, origin="package:x"))
    tree.put("/usr/lib/python3/dist-packages/flask/__init__.py", make_file("", origin="package:x"))
    tree.put("/etc/passwd", make_file("root:x:0:0::/root:/bin/sh\npostgres:x:100:100::/:/bin/sh\n", origin="package:x"))
    return tree


def lines(app: ResolvedApp, unit: str = "shop.service") -> list[str]:
    return make_app_units(app, ["/usr/bin/python3", "-m", "shop.web"]).texts[unit].splitlines()


# --- units -----------------------------------------------------------------------------------------


def test_an_app_is_a_service_of_its_own_user_in_a_sandbox() -> None:
    text = lines(make_app(arguments=["--page=20 %", "$x"], secrets=["database"]))
    assert 'ExecStart=/usr/bin/python3 -m shop.web "--page=20 %%" "$$x"' in text
    assert {"DynamicUser=yes", "User=shop", "StateDirectory=shop", "ProtectSystem=strict"} <= {*text}
    assert {"MemoryMax=512M", "TasksMax=256", "Restart=always", "RestartMaxDelaySec=1min"} <= {*text}
    assert "LoadCredential=database:shop.database" in text
    assert "WantedBy=multi-user.target" in text


def test_an_exception_is_in_the_unit_with_its_reason() -> None:
    exceptions = [{"setting": "MemoryDenyWriteExecute=no", "reason": "numba compiles"}]
    text = lines(make_app(exceptions=exceptions))
    assert "# Exception MemoryDenyWriteExecute=no: numba compiles" in text
    assert "MemoryDenyWriteExecute=no" in text
    assert "MemoryDenyWriteExecute=yes" not in text


def test_an_app_that_says_when_it_is_ready_is_watched() -> None:
    text = lines(make_app(ready="notify", watchdog=7))
    assert {"Type=notify", "NotifyAccess=all", "WatchdogSec=7s"} <= {*text}


def test_an_app_that_answers_http_is_asked_until_it_does() -> None:
    app = make_app(ready="http", health="/up?x=%", listen={"sockets": [8080]})
    units = make_app_units(app, ["/usr/bin/python3"])
    assert 'ExecStartPost=/usr/lib/build-os/wait-for-http localhost:8080 "/up?x=%%" 90' in units.texts["shop.service"]
    assert "ListenStream=8080" in units.texts["shop.socket"].splitlines()
    assert "RequiredBy=boot-complete.target" in units.texts["health-shop.service"].splitlines()
    assert units.enable == ("shop.socket", "shop.service", "health-shop.service")


def test_an_app_that_is_not_to_start_is_not_waited_for() -> None:
    assert make_app_units(make_app(enable=False), ["/x"]).enable == ()
    assert make_app_units(make_app(gate=False), ["/x"]).enable == ("shop.service",)


def test_what_a_definition_says_besides_is_in_the_unit() -> None:
    app = make_app(memory_max="64M", tasks_max=8, writes=["/var/lib/shared data"], description="The 50 % Shop")
    app = replace(app, needs=("postgresql.service",), after=("worker.service",))
    text = lines(app)
    assert {"MemoryMax=64M", "TasksMax=8", 'ReadWritePaths="/var/lib/shared data"'} <= {*text}
    assert {"Requires=postgresql.service", "Description=The 50 %% Shop"} <= {*text}
    assert next(line for line in text if line.startswith("After=")).split("=")[1].split() == ["worker.service"]


def test_a_job_has_a_timer_and_ends() -> None:
    units = make_app_units(make_app(schedule="*-*-* 03:00"), ["/x"])
    assert units.enable == ("shop.timer",)
    assert {"OnCalendar=*-*-* 03:00", "Persistent=yes"} <= {*units.texts["shop.timer"].splitlines()}
    assert "Type=oneshot" in units.texts["shop.service"].splitlines()
    assert "[Install]" not in units.texts["shop.service"]
    assert "health-shop.service" not in units.texts


def test_instances_share_a_port_and_are_started_together() -> None:
    app = make_app(instances=2, listen={"sockets": [8080]}, arguments=["--name={instance}"])
    units = make_app_units(app, ["/usr/bin/x"])
    assert units.enable == ("shop.target", "health-shop.service")
    assert 'ExecStart=/usr/bin/x "--name=%i"' in units.texts["shop@.service"].splitlines()
    assert {"Requires=shop@%i.socket", "PartOf=shop.target"} <= {*units.texts["shop@.service"].splitlines()}
    assert "ReusePort=yes" in units.texts["shop@.socket"].splitlines()
    assert "Wants=shop@1.service shop@2.service" in units.texts["shop.target"].splitlines()


def test_an_app_without_a_network_has_none() -> None:
    text = lines(make_app(network=False, state=False))
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"} <= {*text}
    assert not [line for line in text if line.startswith("StateDirectory")]


def test_low_ports_take_one_capability_and_no_user_namespace() -> None:
    text = lines(make_app(privileged_ports=True))
    assert {"AmbientCapabilities=CAP_NET_BIND_SERVICE", "PrivateUsers=no"} <= {*text}


# --- what starts -----------------------------------------------------------------------------------


def command(app: ResolvedApp, tree: Tree) -> list[str]:
    return make_command(app, find_place(tree, app.app.python), tree)


def refusal(app: ResolvedApp, tree: Tree) -> str:
    with pytest.raises(NotStartable) as raised:
        command(app, tree)
    return str(raised.value)


def test_a_console_script_is_one_of_the_environment(tree: Tree) -> None:
    assert command(make_app(module=None, entrypoint="gunicorn"), tree) == ["/usr/bin/gunicorn"]
    said = refusal(make_app(module=None, entrypoint="gunicron"), tree)
    assert said == "there is no script 'gunicron' (did you mean 'gunicorn'?)"


def test_an_app_runs_in_its_environment(tree: Tree) -> None:
    place = "/usr/lib/python-environments/web"
    put(tree, **{f"{place}/bin/gunicorn": "", f"{place}/lib/python3.13/site-packages/shop/web.py": "import json\n"})
    assert command(make_app(module=None, entrypoint="gunicorn", python="web"), tree) == [f"{place}/bin/gunicorn"]
    assert command(make_app(python="web"), tree) == [f"{place}/bin/python", "-m", "shop.web"]
    assert refusal(make_app(module="flask.cli", python="web"), tree) == "the image has no module 'flask.cli'"


def test_a_function_is_looked_for_in_its_module(tree: Tree) -> None:
    put(tree, **{"/usr/lib/apps/shop/shop/__init__.py": "", "/usr/lib/apps/shop/shop/web.py": "def main(): ...\n"})
    app = make_app(module=None, entrypoint="shop.web:main")
    assert command(app, tree) == ["/usr/bin/python3", "-c", "import sys, shop.web; sys.exit(shop.web.main())"]
    assert refusal(make_app(module=None, entrypoint="shop.web:mian"), tree) == "the module 'shop.web' has no 'mian'"
    assert refusal(make_app(module=None, entrypoint="shop.wbe:main"), tree) == "the image has no module 'shop.wbe'"


def test_a_package_is_run_by_its_main(tree: Tree) -> None:
    put(tree, **{"/usr/lib/apps/shop/shop/__init__.py": ""})
    assert refusal(make_app(module="shop"), tree) == "the image has no module 'shop.__main__'"


def test_what_a_module_imports_must_be_there(tree: Tree) -> None:
    web = "import json\nfrom flask import Flask\nfrom . import models\ntry:\n  import uvloop\nexcept ImportError: ...\n"
    base = "/usr/lib/apps/shop/shop"
    put(tree, **{f"{base}/__init__.py": "", f"{base}/web.py": web, f"{base}/models.py": "import sqlalchemy.orm\n"})
    assert refusal(make_app(), tree) == "the image has no module 'sqlalchemy.orm', which 'shop.models' imports"
    put(tree, **{f"{base}/models.py": "def f():\n  import sqlalchemy\n"})
    assert command(make_app(), tree)[-2:] == ["-m", "shop.web"]


def test_a_module_that_is_not_python_is_named_with_its_line(tree: Tree) -> None:
    base = "/usr/lib/apps/shop/shop"
    put(tree, **{f"{base}/__init__.py": "", f"{base}/web.py": "x = 1\nprint 'old'\n"})
    assert refusal(make_app(), tree).startswith("/usr/lib/apps/shop/shop/web.py:2: ")


def test_compiled_modules_and_packages_without_init_are_found(tree: Tree) -> None:
    place = PythonPlace("/e/bin/python", "/e/bin", ("/e/site",))
    tree.put("/e/site/fast.cpython-313-x86_64-linux-gnu.so", make_file("", origin="x"))
    tree.put("/e/site/google/cloud.py", make_file("", origin="x"))
    put(tree, **{"/usr/lib/apps/shop/shop/web.py": "import fast\nfrom google import cloud\n"})
    assert make_command(make_app(), place, tree) == ["/e/bin/python", "-m", "shop.web"]


# --- the stage -------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "shop").mkdir()
    files = {"shop/__init__.py": "", "shop/web.py": "print('hello')\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in files}


@pytest.fixture
def compiling(fake_tools: Tools) -> None:
    fake_tools.programs["python3"] = lambda *_, **__: ""  # type: ignore[attr-defined]


@pytest.mark.usefixtures("compiling")
def test_the_image_gets_modules_settings_and_a_list(tree: Tree, context: Context, project: dict[str, Path]) -> None:
    toml = {"page": {"size": 20}, "title": 'a "b"\n\x7f', "tags": [1, {"x": True}], "a b": 1.5}
    app = make_app(project, settings={"toml": toml}, secrets=["database"])
    tree = Apps((app,), SUPPORT).apply(tree, context)
    assert tree.read_text("/usr/lib/apps/shop/shop/web.py") == "print('hello')\n"
    assert tomllib.loads(tree.read_text("/usr/share/apps/shop/settings.toml")) == toml
    assert f"{UNITS}/shop.service" in tree
    assert f"{UNITS}/app-settings@.service" in tree
    assert tree.read_text(f"{PRESETS}/20-apps.preset") == "enable shop.service\nenable health-shop.service\n"
    assert json.loads(tree.read_text(MANIFEST))["shop"]["secrets"] == ["database"]
    assert tree.require("/usr/lib/build-os/wait-for-http").mode == 0o755


def test_an_image_without_apps_is_left_alone(tree: Tree, context: Context) -> None:
    before = tree.copy()
    assert Apps((), SUPPORT).apply(tree, context) == before


@pytest.mark.usefixtures("compiling")
def test_the_build_says_which_app_cannot_start(tree: Tree, context: Context) -> None:
    with pytest.raises(InputError, match="apps cannot start") as raised:
        Apps((make_app(module=None, entrypoint="gunicron"),), SUPPORT).apply(tree, context)
    assert raised.value.names == {
        "gunicron": "shop cannot start: there is no script 'gunicron' (did you mean 'gunicorn'?)"
    }


@pytest.mark.usefixtures("compiling")
def test_the_build_says_which_schedule_is_none(
    tree: Tree, context: Context, fake_tools: Tools, project: dict[str, Path]
) -> None:
    def analyze(*words: str) -> str:
        if words[-1] != "daily":
            raise ToolError("systemd-analyze ended with status 1")
        return ""

    fake_tools.programs["systemd-analyze"] = analyze  # type: ignore[attr-defined]
    Apps((make_app(project, schedule="daily"),), SUPPORT).apply(tree.copy(), context)
    with pytest.raises(InputError) as raised:
        Apps((make_app(project, schedule="dayly"),), SUPPORT).apply(tree, context)
    assert "'dayly' is no schedule" in raised.value.names["dayly"]


def test_an_app_is_not_called_as_a_user_or_a_unit_of_the_image(tree: Tree, context: Context) -> None:
    with pytest.raises(InputError, match="cannot be called so"):
        Apps((make_app(name="postgres"),), SUPPORT).apply(tree, context)
    put(tree, **{f"{UNITS}/shop.service": "", "/usr/lib/apps/shop/shop/web.py": ""})
    with pytest.raises(InputError, match="cannot be called so"):
        Apps((make_app(),), SUPPORT).apply(tree, context)
