"""Show what a build would do: for each stage, whether it runs, and because of what. Changes nothing.

build-os plan
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from builder.cli.common import add_definition, add_out, add_signing, choose_key_pair, require_definition
from builder.core.console import Console

HELP = "show what a build would do, and why"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    add_out(parser)
    add_signing(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the plan."""
    from builder.build.extension import is_extension_up_to_date
    from builder.build.request import BuildRequest
    from builder.build.system import is_up_to_date, plan_system
    from builder.build.workspace import Workspace
    from builder.core import seen
    from builder.core.remembered import OUTPUT
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.extensions import load_extension
    from builder.definition.load import load, read_kind
    from builder.locking import hash_recipe, make_lock_path
    from builder.stages import list_stages
    from builder.stages.plan import format_plan, make_plan

    path = require_definition(args.definition)
    request = BuildRequest(path, args.out, Store.open(), console, key_pair=choose_key_pair(args, os.environ))
    workspace = Workspace(request, request.store)
    extension = load_extension(path).resolved if read_kind(path) == "extension" else None
    resolved = load(path).resolved if extension is None else extension.whole
    target = make_lock_path(resolved.path)
    wanted = hash_recipe(resolved)
    seen.note(target)
    lock = Lock.load(target) if target.exists() else None
    if lock is not None and lock.recipe_sha256 == wanted:
        plan = plan_system(workspace, resolved, lock)
        if extension is None:
            current = is_up_to_date(workspace, resolved, lock, plan)
        else:
            current = is_extension_up_to_date(workspace, extension, lock)
    else:
        # Which packages there will be, only the archive knows; that all stages run then, we know without.
        reason = f"there is no {target.name} yet" if lock is None else f"{target.name} is stale and will be renewed"
        any_lock = Lock(wanted, resolved.arch, resolved.suite)
        stages = list_stages(resolved, any_lock)
        plan, current = make_plan(stages, request.store, path, tools="", anew=reason), False
    if args.json:
        rows = [{"stage": p.stage.name, "key": p.key, "run": p.run, "reason": p.reason} for p in plan.stages]
        text = json.dumps({"current": current, "stages": rows}, indent=1) + "\n"
        sys.stdout.write(text)
        args.answer = [(OUTPUT, text)]
        return 0
    files = ("root", "disk", *resolved.outputs) if extension is None else (f"{extension.image_name}.raw",)
    what = "up to date: a build would do nothing" if current else f"made anew: {', '.join(files)}"
    text = "".join(f"{line}\n" for line in (*format_plan(plan), f"{'outputs':<10}  {what}"))
    sys.stdout.write(text)
    args.answer = [(OUTPUT, text)]
    return 0


def can_be_remembered(args: argparse.Namespace) -> bool:
    """Whether the same plan may be shown again: not one that asks for a key."""
    return choose_key_pair(args, os.environ) is None
