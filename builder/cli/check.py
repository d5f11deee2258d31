"""Check a definition, and first-boot configs, without building anything.

All problems are shown at once, each at its own line.

  build-os check
  build-os check --strict configs/demo.yaml --config configs/machines/demo.yaml

A config is compared with the image's units, users, groups, paths and programs where the image is built.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_definition, require_definition
from builder.cli.values import add_values, read_values
from builder.core.console import Console
from builder.core.errors import InputError

if TYPE_CHECKING:
    from builder.definition.resolved import Resolved
    from builder.provisioning.build_comparison import BuildComparison
    from builder.provisioning.values import Values

HELP = "check a definition"
DEFAULT_BUILD = Path("out/build.json")


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="also check a first-boot config, against the image if it is built",
    )
    parser.add_argument(
        "--image", type=Path, metavar="BUILD.JSON", help=f"the image for --config (default: {DEFAULT_BUILD})"
    )
    add_values(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Load everything; say that it is fine."""
    from builder.core.remembered import NOTE, WARNING
    from builder.definition.extensions import LoadedExtension, load_extension
    from builder.definition.load import Loaded, LoadedContainer, load, load_container, read_kind

    path = require_definition(args.definition)
    loaded: Loaded | LoadedContainer | LoadedExtension
    match read_kind(path):
        case "container":
            loaded = load_container(path)
        case "extension":
            loaded = load_extension(path)
        case "system":
            loaded = load(path)
    if isinstance(loaded, Loaded):
        check_apps(loaded.resolved)
    warnings = [*loaded.warnings]
    values = read_values(args)
    for config in args.config:
        from builder.cli.configs import read_config  # brings all that configs are compared with

        checked = read_config(config, values)
        against = compare_with_image(path, args.image, config, values)
        warnings.extend(against.warnings if against.image else checked.warnings)
        for note in against.notes:
            console.note(f"{config}: {note}")
        if against.image:
            console.note(f"{config}: a machine of {against.image} would accept it")
        else:
            console.note(f"{config}: right by itself, and not compared with an image: {against.why_not}")
    if warnings and args.strict:
        raise InputError("there are warnings", details=warnings)
    for warning in warnings:
        console.warn(warning)
    count = "no problems" if not warnings else "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    console.note(f"{path}: {count}")
    args.answer = [*((WARNING, warning) for warning in warnings), (NOTE, f"{path}: {count}")]
    return 0


def can_be_remembered(args: argparse.Namespace) -> bool:
    """Whether the same may be said again: of a definition alone."""
    return not args.config


def check_apps(resolved: Resolved) -> None:
    """Look up what apps run in the wheels that are locked for them; without a lock only a build can tell.

    Raises:
        InputError: at the line of each script and module that is nowhere.
    """
    if not any(app.app.python for app in resolved.apps):
        return
    from builder.core import seen
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.where import point_at_names
    from builder.locking import make_lock_path
    from builder.stages.app_wheels import require_entry_points

    path = make_lock_path(resolved.path)
    seen.note(path)
    if path.exists():
        with point_at_names(resolved):
            require_entry_points(resolved.apps, Lock.load(path).wheels, Store.open())


def compare_with_image(definition: Path, chosen: Path | None, config: Path, values: Values) -> BuildComparison:
    """The config against the image that was built of this definition, or another that was named."""
    from builder.core.image import read_image
    from builder.provisioning.build_comparison import BuildComparison, compare_with_build

    build_json = DEFAULT_BUILD if chosen is None else chosen
    if chosen is None and build_json.exists():
        built_of = read_image(build_json).definition
        if built_of is not None and built_of.absolute() != definition.absolute():
            return BuildComparison(why_not=f"{build_json} is what {built_of} has become; --image names another")
    against = compare_with_build(config, build_json, values, config.parent)
    if chosen is None and against.image and definition.stat().st_mtime > build_json.stat().st_mtime:
        changed = f"{definition} has changed since {build_json} was built: 'build-os build', and check again"
        return replace(against, notes=(*against.notes, changed))
    return against
