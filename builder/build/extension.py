"""An extension's build: its system's lock and its own, both trees, what only one has, its image, the manifest."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace

from builder.build.inputs import (
    fetch_missing_debs,
    measure,
    open_build_tools,
    open_context,
    open_lasting_tools,
    record_runs,
    require_lock,
)
from builder.build.last_build import find_built_tree
from builder.build.request import BuildRequest, BuildResult
from builder.build.system import make_signer, plan_around_damage, plan_system, refuse_development_keys
from builder.build.workspace import Workspace, open_workspace, require_room, sweep_out
from builder.core.errors import InputError
from builder.core.image import CERTIFICATE, EXTENSION, Extends
from builder.core.inputs import hash_source
from builder.debian.lock import Lock, LockedPackage, LockError
from builder.definition.extensions import ResolvedExtension, load_extension
from builder.definition.resolved import Resolved
from builder.definition.where import point_at_names
from builder.locking import make_lock, make_lock_path, require_current
from builder.outputs.manifest import Manifest, is_current
from builder.products.product import Identity
from builder.stages.packages import make_decision
from builder.stages.plan import Plan, is_usable, load_snapshot, record_plan, run_plan, save_snapshot
from builder.tree.tree import Tree

SUFFIX = "raw"


def build_extension(request: BuildRequest) -> BuildResult:
    """Build a definition of ``kind: extension`` into an image that its system's machines take.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: see :mod:`builder.core.errors`.
    """
    started = time.monotonic()
    loaded = load_extension(request.definition)
    for warning in loaded.warnings:
        request.console.warn(warning)
    extension = loaded.resolved
    if request.key_pair is None:
        request.console.warn("nothing is signed, and machines take only extensions that are: --sign-key signs it")
    refuse_development_keys(request, extension.system)
    with open_workspace(request) as workspace:
        system_lock = require_lock(workspace, extension.system)
        lock = require_extension_lock(workspace, extension, system_lock)
        plans = plan_both(workspace, extension, system_lock, lock)
        key = make_extension_key(request, extension, lock, plans)
        has_tree = not request.with_tree or is_usable(workspace.kept, key)
        if not request.reason_to_start_anew and has_tree and is_current(workspace.manifest, key):
            request.console.note(f"nothing to do: {workspace.manifest} is up to date")
            return BuildResult(
                workspace.manifest, tree=load_snapshot(workspace.kept, key) if request.with_tree else None
            )
        # Here, not above: a build that has nothing to do is over before these are imported.
        from builder.build.budget import require_budget
        from builder.outputs.ddi import Ddi, make_ddi
        from builder.outputs.extension import make_extension_tree
        from builder.outputs.publish import publish
        from builder.outputs.sbom import make_extension_sbom

        sweep_out(request.out)
        require_room(request.store.root, request.out)
        fetch_missing_debs(workspace, extension.whole, lock)
        tools = open_build_tools(workspace, extension.system, system_lock)
        signer = make_signer(request, extension.system)
        with request.console.open_step(f"the system {extension.system.name}"):
            system, system_lock = run_system(workspace, extension.system, system_lock, plans[0])
        with request.console.open_step(f"the system with {extension.name}"):
            whole, lock = run_system(workspace, extension.whole, lock, plans[1])
        with (
            open_context(workspace, extension.whole, lock, tools) as context,
            request.console.open_step(f"extension {extension.name}"),
        ):
            tree = save_snapshot(workspace.kept, key, make_extension_tree(system, whole, extension))
            if request.watch is not None:
                request.watch("extension", tree)
            settings = extension.system.root
            ddi = Ddi(extension.image_name, extension.system.arch, settings.compression, settings.level)
            image = context.scratch / "extension.raw"
            began = time.monotonic()
            root = make_ddi(tree, ddi, tools, context.scratch, image, signer)
            workspace.timings.outputs["image"] = time.monotonic() - began
            files = {EXTENSION: (image, SUFFIX)}
            if signer is not None:
                certificate = context.scratch / "certificate"
                certificate.write_bytes(signer.pair.der)
                files[CERTIFICATE] = (certificate, "cer")
            workspace.manifest.unlink(missing_ok=True)
            artifacts = publish(
                (),
                {},
                files,
                make_extension_sbom(extension, keep_own_packages(lock, system_lock), tree, root.roothash),
                request.out,
                tools,
                request.console,
                Identity(extension.image_name, extension.system.version, extension.system.arch, root.roothash),
                workspace.timings.outputs,
                judge=lambda artifacts: require_budget(
                    extension.budget,
                    artifacts,
                    [EXTENSION],
                    root.image.stat().st_size,
                    tree,
                    lambda: find_built_tree(workspace.kept, request.definition),
                ),
            )
        Manifest(
            name=extension.name,
            version=extension.system.version,
            arch=extension.system.arch,
            features=(),
            definition=str(extension.path),
            lock_sha256=lock.sha256,
            source_date_epoch=extension.system.source_date_epoch or 0,
            roothash=root.roothash,
            command_line="",
            tools=str(open_lasting_tools(workspace, extension.system, system_lock, tools).root),
            key=key,
            artifacts=artifacts,
            scripts={name: make_decision(d).answer for name, d in sorted(extension.whole.scripts.items())},
            timings=workspace.timings,
            signed_by=request.signed_by,
            extends=Extends(extension.system.name, plans[0].key, extension.type, extension.description),
        ).write(workspace.manifest)
        record_plan(plans[1], workspace.kept, request.definition, key)
        return BuildResult(workspace.manifest, time.monotonic() - started, plans[1].reused, tree)


def plan_both(workspace: Workspace, extension: ResolvedExtension, system_lock: Lock, lock: Lock) -> list[Plan]:
    """What would run for the system, and for the system with the extension."""
    return [
        plan_system(workspace, extension.system, system_lock),
        plan_system(workspace, extension.whole, lock),
    ]


def is_extension_up_to_date(workspace: Workspace, extension: ResolvedExtension, lock: Lock) -> bool:
    """Whether the output directory holds exactly what a build would make.

    Raises:
        LockError: the system's lock cannot be read.
    """
    path = make_lock_path(extension.system.path)
    if not path.exists():
        return False
    system_lock = Lock.load(path)
    if list_other_rows(system_lock, lock):
        return False
    plans = plan_both(workspace, extension, system_lock, lock)
    return is_current(workspace.manifest, make_extension_key(workspace.request, extension, lock, plans))


def run_system(workspace: Workspace, resolved: Resolved, lock: Lock, plan: Plan) -> tuple[Tree, Lock]:
    """The finished root of one side, and its lock with what scripts changed that were run."""
    plan = plan_around_damage(workspace, resolved, lock, plan)
    tools = open_build_tools(workspace, resolved, lock)
    with open_context(workspace, resolved, lock, tools) as context:
        with point_at_names(resolved):
            tree = run_plan(plan, context, workspace.timings.stages, workspace.request.watch)
        return tree, record_runs(workspace, resolved, lock, context.runs)


def require_extension_lock(workspace: Workspace, extension: ResolvedExtension, system_lock: Lock) -> Lock:
    """The extension's lock: all that the system's has, and what the extension brings. That keeps its versions, too.

    Raises:
        LockError: it is not as it should be, and we were told not to touch it.
        InputError: it needs other versions than the system has; or there is no network.
    """
    request, path = workspace.request, make_lock_path(extension.path)
    with measure(workspace, "lock"):
        old = Lock.load(path) if path.exists() else None
        try:
            if old is None:
                raise LockError(f"there is no {path}", hint="'build-os build' makes it")
            require_current(old, extension.whole, str(path))
            if changes := list_other_rows(system_lock, old):
                hint = "'build-os build' without --locked brings it up to date"
                raise LockError(f"{path} is stale: the system's lock has changed", details=changes, hint=hint)
        except LockError:
            if not request.relock:
                raise
        else:
            return old
        if request.offline:
            raise InputError(f"there is no current {path}", hint="build once with a network")
        return lock_extension(workspace, extension, system_lock, old)


def lock_extension(workspace: Workspace, extension: ResolvedExtension, system_lock: Lock, old: Lock | None) -> Lock:
    """Make the extension's lock anew, and write it.

    Args:
        old: whose packages keep their versions, but for the system's.

    Raises:
        InputError: it needs other versions than the system has.
    """
    console, path = workspace.console, make_lock_path(extension.path)
    newest = system_lock if old is None else replace(system_lock, packages=_add_own(system_lock, old))
    with console.open_step("lock"):
        lock = make_lock(extension.whole, workspace.kept, console, newest=newest, update=())
    if changes := list_other_rows(system_lock, lock):
        raise InputError(
            f"the extension '{extension.name}' needs other versions than the system has",
            details=changes,
            hint=f"'build-os lock {extension.system.path.name} --update' renews the system's; then build both",
        )
    lock.dump(path)
    own = len(lock.packages) - len(system_lock.packages)
    console.note(f"{'made' if old is None else 'renewed'} {path}: {own} packages besides the system's")
    return lock


def _add_own(system_lock: Lock, old: Lock) -> tuple[LockedPackage, ...]:
    there = {package.name for package in system_lock.packages}
    return (*system_lock.packages, *(package for package in old.packages if package.name not in there))


def list_other_rows(system_lock: Lock, lock: Lock) -> list[str]:
    """What the system's lock has and the extension's has otherwise, one a line."""
    lines = []
    for group, rows in system_lock.list_groups().items():
        there = {package.name: package for package in lock.list_groups().get(group, ())}
        for row in rows:
            other = there.get(row.name)
            if other is None or other.sha256 != row.sha256:
                lines.append(f"{row.name} {row.version}: {other.version if other else 'not there'} ({group})")
    pairs: Sequence[tuple[str, Sequence[object], Sequence[object]]] = (
        ("images", system_lock.images, lock.images),
        ("wheels", system_lock.wheels, lock.wheels),
        ("artifacts", system_lock.artifacts, lock.artifacts),
    )
    return lines + [f"{what} are others" for what, rows, others in pairs if any(row not in others for row in rows)]


def keep_own_packages(lock: Lock, system_lock: Lock) -> Lock:
    """The lock without what the system has: what the extension brings."""
    there = {package.name for package in system_lock.packages}
    return replace(
        lock,
        packages=tuple(package for package in lock.packages if package.name not in there),
        wheels=tuple(row for row in lock.wheels if row not in system_lock.wheels),
        artifacts=tuple(row for row in lock.artifacts if row not in system_lock.artifacts),
        decisions=tuple(row for row in lock.decisions if row not in system_lock.decisions),
        sets={},
        images=(),
    )


def make_extension_key(request: BuildRequest, extension: ResolvedExtension, lock: Lock, plans: Sequence[Plan]) -> str:
    """The hash of everything that decides the image."""
    settings = extension.system.root
    parts = [
        *(plan.key for plan in plans),
        *(extension.image_name, extension.type, extension.description, extension.remove, extension.keep),
        *(settings.compression, settings.level),
        hash_source("builder.build.extension"),
        hash_source("builder.outputs.extension"),
        hash_source("builder.outputs.ddi"),
        lock.sha256,
        request.signed_by,
        repr(extension.budget),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
