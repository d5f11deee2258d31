"""Installing apps: their files, what they are started by, their units, and what a first-boot config may say of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.core.errors import InputError, ToolError
from builder.definition.resolved_app import ResolvedApp
from builder.stages.app_commands import NotStartable, find_place, make_command
from builder.stages.app_units import APPS, SETTINGS_UNIT, locate_settings, make_app_units, make_settings_unit
from builder.stages.stage import Context
from builder.tree.bytecode import compile_below
from builder.tree.materialise import read_tree
from builder.tree.node import Kind, make_file
from builder.tree.tree import Tree
from firstboot.config.account_files import parse_rows
from firstboot.config.toml_text import format_toml

UNITS = "/usr/lib/systemd/system"
PRESETS = "/usr/lib/systemd/system-preset"
# What first-boot configs are checked against, and what changes an app on a running machine goes by.
MANIFEST = "/usr/lib/build-os/apps.json"


def install_apps(tree: Tree, apps: Sequence[ResolvedApp], support: Path, context: Context) -> None:
    """Put apps into an image's tree.

    Args:
        support: the overlay with the programs that the units of apps start.

    Raises:
        InputError: an app names a script, module or function that is not there, or its name is a user's.
    """
    for path, node in read_tree(support, origin="overlay:apps").walk():
        if node.kind is Kind.FILE:
            tree.put(path, node)
    _require_free_names(tree, apps)
    for app in apps:
        install_files(tree, app)
    if any(app.files for app in apps):
        compile_below(tree, context.tools, [APPS], origin="stage:apps", scratch=context.scratch)
    problems: dict[str, str] = {}
    enable: list[str] = []
    for app in apps:
        try:
            command = make_command(app, find_place(tree, app.app.python), tree)
        except NotStartable as error:
            problems[error.name] = f"{app.name} cannot start: {error}"
            continue
        if app.app.schedule is not None and (said := find_schedule_problem(app.app.schedule, context)) is not None:
            problems[app.app.schedule] = f"{app.name}: {said}"
        units = make_app_units(app, command)
        enable += units.enable
        for name, text in units.texts.items():
            _require_new_unit(tree, app, name)
            tree.put(f"{UNITS}/{name}", make_file(text, origin=f"app:{app.name}"))
    if problems:
        raise InputError(
            "apps cannot start",
            details=list(problems.values()),
            names=problems,
            hint="'packages' and 'python' bring modules and scripts, the app's 'directory' its own",
        )
    if any(app.app.settings is not None for app in apps):
        tree.put(f"{UNITS}/{SETTINGS_UNIT}", make_file(make_settings_unit(), origin="stage:apps"))
    lines = "".join(f"enable {unit}\n" for unit in enable)
    tree.put(f"{PRESETS}/20-apps.preset", make_file(lines, origin="stage:apps"))
    tree.put(MANIFEST, make_file(describe_apps(apps), origin="stage:apps"))


def _require_free_names(tree: Tree, apps: Sequence[ResolvedApp]) -> None:
    """An app runs as a user of its name that systemd makes for it: it must not be one that is there."""
    if "/etc/passwd" not in tree:
        return
    users = {row[0] for row in parse_rows(tree.read_text("/etc/passwd"))}
    problems = {
        app.name: f"the image has a user '{app.name}', and an app is a user of its own"
        for app in apps
        if app.name in users
    }
    if problems:
        raise InputError(
            "apps cannot be called so", details=list(problems.values()), names=problems, hint="rename the app"
        )


def _require_new_unit(tree: Tree, app: ResolvedApp, name: str) -> None:
    for directory in (UNITS, "/etc/systemd/system"):
        if f"{directory}/{name}" in tree:
            message = f"{app.name}: the image has a unit {name} already"
            raise InputError(
                "apps cannot be called so", details=[message], names={app.name: message}, hint="rename the app"
            )


def find_schedule_problem(schedule: str, context: Context) -> str | None:
    """Why systemd would pass over a schedule at each boot; ``None`` if it understands it."""
    try:
        context.tools.run("systemd-analyze", "calendar", "--iterations=1", "--", schedule)
    except ToolError:
        return f"'{schedule}' is no schedule: see CALENDAR EVENTS in systemd.time(7)"
    return None


def install_files(tree: Tree, app: ResolvedApp) -> None:
    """An app's own modules, and the file with its settings."""
    origin = f"app:{app.name}"
    for relative, path in app.files.items():
        mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
        tree.put(f"{APPS}/{app.name}/{relative}", make_file(path.read_bytes(), mode, origin=origin))
    settings = app.app.settings
    if settings is not None:
        toml = settings.toml
        text = (
            format_toml(toml) if toml is not None else json.dumps(settings.json_, indent=2, ensure_ascii=False) + "\n"
        )
        tree.put(locate_settings(app), make_file(text, origin=origin))


def describe_apps(apps: Sequence[ResolvedApp]) -> str:
    """What a first-boot config may set, as JSON."""
    described: dict[str, Any] = {}
    for app in apps:
        model = app.app
        settings = model.settings
        described[app.name] = {
            "environment": sorted(model.environment),
            "settings": None if settings is None else settings.toml if settings.toml is not None else settings.json_,
            "settings_file": None if settings is None else locate_settings(app),
            "secrets": list(model.secrets),
            "instances": model.instances,
            "scheduled": model.schedule is not None,
        }
    return json.dumps(described, indent=1, sort_keys=True) + "\n"
