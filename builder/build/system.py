"""A system's build, read aloud: definition, lock, plan, debs, tools, tree, outputs, manifest."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.build.inputs import (
    fetch_missing_debs,
    open_build_tools,
    open_context,
    open_lasting_tools,
    record_runs,
    require_lock,
)
from builder.build.last_build import find_built_tree
from builder.build.request import BuildRequest, BuildResult
from builder.build.workspace import Workspace, open_workspace, require_room, sweep_out
from builder.core import seen
from builder.core.errors import InputError
from builder.core.inputs import collect_inputs, hash_source
from builder.core.kept import prune
from builder.core.remembered import NOTE, WARNING
from builder.core.seen import Seen
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.definition.resolved import Resolved
from builder.definition.shipped import find_shipped_root
from builder.definition.state import Encryption
from builder.definition.where import point_at_names
from builder.outputs.image_parts import ImageParts, ImageSettings
from builder.outputs.manifest import Artifact, Manifest, is_current
from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.product import Identity, Part
from builder.stages import list_stages
from builder.stages.packages import make_decision
from builder.stages.plan import (
    Plan,
    find_damaged_snapshot,
    forget_snapshot,
    is_usable,
    load_snapshot,
    make_plan,
    make_snapshot_path,
    record_plan,
    run_plan,
)
from builder.stages.stage import Context
from builder.toolstree import derive_tools_key
from builder.tree.tree import Tree
from firstboot.config.lazy import import_lazily
from firstboot.config.update_words import is_for_development

if TYPE_CHECKING:
    from builder.outputs import signing
    from builder.outputs.signing import Signer
else:
    signing = import_lazily("builder.outputs.signing")


def build_system(request: BuildRequest) -> BuildResult:
    """Build of a system's definition what is not built yet.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: see :mod:`builder.core.errors`.
    """
    started = time.monotonic()
    loaded = load(request.definition, variation=request.variation)
    for warning in loaded.warnings:
        request.console.warn(warning)
    resolved = loaded.resolved
    require_key(request, resolved)
    refuse_development_keys(request, resolved)
    with open_workspace(request) as workspace:
        lock = require_lock(workspace, resolved)
        plan = plan_system(workspace, resolved, lock)
        nothing = f"nothing to do: {workspace.manifest} is up to date"
        answer = (*((WARNING, warning) for warning in loaded.warnings), (NOTE, nothing))
        if is_up_to_date(workspace, resolved, lock, plan):
            request.console.note(nothing)
            tree = load_snapshot(workspace.kept, plan.key) if request.with_tree else None
            return BuildResult(workspace.manifest, reused=plan.reused, tree=tree, answer=answer)
        looked_at = seen.pause()
        if workspace.kept.tier is not None and not request.with_tree:
            from builder.build.shared import bring_build

            if bring_build(workspace, resolved, lock, make_system_key(request, resolved, lock, plan)):
                request.console.note(f"{workspace.manifest} is as the shared cache has it")
                names = tuple(planned.stage.name for planned in plan.stages)
                return BuildResult(workspace.manifest, time.monotonic() - started, names)
        # Here, not above: a build that has nothing to do is over before these are imported.
        from builder.build.budget import require_budget
        from builder.outputs.image import make_outputs
        from builder.outputs.publish import publish
        from builder.outputs.sbom import make_image_sbom

        sweep_out(request.out)
        require_room(request.store.root, request.out)
        plan = plan_around_damage(workspace, resolved, lock, plan)
        fetch_missing_debs(workspace, resolved, lock)
        tools = open_build_tools(workspace, resolved, lock)
        signer = make_signer(request, resolved)
        with open_context(workspace, resolved, lock, tools) as context:
            with point_at_names(resolved):
                tree = run_plan(plan, context, workspace.timings.stages, request.watch)
            lock = record_runs(workspace, resolved, lock, context.runs)
            made = make_outputs(tree, make_image_settings(resolved), context, workspace.timings.outputs, signer)
            sbom = make_image_sbom(resolved, lock, tree, made.root.roothash)
            epoch = resolved.source_date_epoch or 0
            products = [SYSTEM_PRODUCTS[name] for name in resolved.outputs]
            parts = dict(made.parts)
            if any(Part.OCI in product.needs for product in products):
                parts[Part.OCI] = make_container_image(context, resolved, lock, tree, workspace.timings.outputs)
            roothash = made.root.roothash
            identity = Identity(resolved.name, resolved.version, resolved.arch, roothash, epoch, roothash)
            workspace.manifest.unlink(missing_ok=True)
            artifacts = publish(
                products,
                parts,
                made.companions,
                sbom,
                request.out,
                tools,
                request.console,
                identity,
                workspace.timings.outputs,
                made.pieces,
                lambda artifacts: require_budget(
                    resolved.budget,
                    artifacts,
                    resolved.outputs,
                    made.root.image.stat().st_size,
                    tree,
                    lambda: find_built_tree(workspace.kept, request.recorded_as),
                ),
            )
        tools = open_lasting_tools(workspace, resolved, lock, tools)
        manifest = make_manifest(workspace, resolved, lock, plan, made, tools, artifacts)
        manifest.write(workspace.manifest)
        record_plan(plan, workspace.kept, request.recorded_as)
        prune(workspace.kept)
        seconds = time.monotonic() - started
        if workspace.kept.tier is not None:
            from builder.build.shared import publish_build

            publish_build(workspace, seconds)
        if looked_at is not None:
            look_at_results(looked_at, workspace, plan, manifest)
        return BuildResult(workspace.manifest, seconds, plan.reused, tree, answer)


def look_at_results(looked_at: Seen, workspace: Workspace, plan: Plan, manifest: Manifest) -> None:
    """Gather what the next build would look at, if it had nothing to do, of what this one has made."""
    looked_at.forget_below((str(workspace.kept.root), str(workspace.request.out)))
    looked_at.is_ours = True
    if workspace.request.definition.absolute().is_relative_to(workspace.request.out.absolute()):
        looked_at.is_certain = False  # what was forgotten there was not all made by us
    seen.start(looked_at)
    if not (is_usable(workspace.kept, plan.key) and is_current(workspace.manifest, manifest.key)):
        looked_at.is_certain = False


def plan_system(workspace: Workspace, resolved: Resolved, lock: Lock) -> Plan:
    """What would run, without running it."""
    request = workspace.request
    return make_plan(
        list_stages(resolved, lock),
        workspace.kept,
        request.recorded_as,
        tools=derive_tools_key(lock.tools),
        anew=request.reason_to_start_anew,
    )


def plan_around_damage(workspace: Workspace, resolved: Resolved, lock: Lock, plan: Plan) -> Plan:
    """The plan, or another one if the snapshot that it goes on from turns out to be damaged."""
    while (key := find_damaged_snapshot(plan, workspace.kept)) is not None:
        path = make_snapshot_path(workspace.kept, key)
        workspace.console.warn(f"{path} in the store is damaged; running its stages again")
        forget_snapshot(workspace.kept, key)
        plan = plan_system(workspace, resolved, lock)
    return plan


def is_up_to_date(workspace: Workspace, resolved: Resolved, lock: Lock, plan: Plan) -> bool:
    """Whether the output directory holds exactly what this build would make, and no stage would run.

    After 'cache clear --stages' a build is a cold one, whatever lies in the output directory; so is one that starts
    anew, which has only itself to believe.
    """
    # First, whatever runs: what the outputs are made of is looked at before an answer is remembered.
    key = make_system_key(workspace.request, resolved, lock, plan)
    return not any(planned.run for planned in plan.stages) and is_current(workspace.manifest, key)


def make_system_key(request: BuildRequest, resolved: Resolved, lock: Lock, plan: Plan) -> str:
    """The hash of everything that decides the artifacts."""
    parts = [
        plan.key,
        list(collect_inputs(make_image_settings(resolved)).items()),
        resolved.outputs,
        hash_source("builder.build.system"),
        lock.sha256,
        request.signed_by,
        repr(resolved.budget),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def require_key(request: BuildRequest, resolved: Resolved) -> None:
    """Refuse an image whose state nothing could open.

    Raises:
        InputError: the definition wants the TPM to open it for kernel images of a key, and this build has none.
    """
    if resolved.state.encryption is Encryption.TPM2 and request.key_pair is None:
        raise InputError(
            "the TPM opens the state for kernel images that are signed, and this build signs nothing",
            details=("state.encryption: tpm2",),
            hint="'build-os key keys', then build with --sign-key keys/secure-boot.key "
            "--sign-certificate keys/secure-boot.crt",
        )


def refuse_development_keys(request: BuildRequest, resolved: Resolved) -> None:
    """A release is signed, and updated, by keys that somebody looks after.

    Raises:
        InputError: it would not be.
    """
    if not request.release:
        return
    if request.key_pair is not None and request.key_pair.is_development:
        raise InputError(
            f"{request.key_pair.certificate} is of a development key, and this is to be a release",
            hint="'build-os key DIR' without --dev makes others",
        )
    named = None if resolved.updates is None else resolved.updates.root
    if named is not None and is_for_development((resolved.path.parent / named).read_bytes()):
        raise InputError(
            f"{named} is of development keys, and this is to be a release",
            details=("updates.root",),
            hint="'build-os key DIR --for updates' without --dev makes others",
        )


def make_signer(request: BuildRequest, resolved: Resolved) -> Signer | None:
    """What signs, if this build does.

    Raises:
        InputError: key and certificate are no pair, or none that firmware knows.
    """
    if request.key_pair is None:
        return None
    signer = signing.Signer(request.key_pair, resolved.source_date_epoch or 0)
    signer.require_pair()
    return signer


def make_container_image(
    context: Context, resolved: Resolved, lock: Lock, tree: Tree, seconds: dict[str, float]
) -> Path:
    """The layout of the system as a container image."""
    from builder.outputs.container_image import write_system_image

    started = time.monotonic()
    layout = context.scratch / "layout"
    with context.console.open_step("container image"):
        write_system_image(
            tree,
            layout,
            context.tools,
            name=resolved.name,
            version=resolved.version,
            architecture=resolved.arch,
            created=resolved.source_date_epoch or 0,
            sources={package.name: package.source_name for package in lock.packages},
        )
    seconds["oci"] = time.monotonic() - started
    return layout


def make_manifest(
    workspace: Workspace,
    resolved: Resolved,
    lock: Lock,
    plan: Plan,
    made: ImageParts,
    tools: Tools,
    artifacts: Mapping[str, Artifact],
) -> Manifest:
    """What ``build.json`` will say."""
    return Manifest(
        name=resolved.name,
        version=resolved.version,
        arch=resolved.arch,
        features=resolved.features,
        definition=str(resolved.path),
        lock_sha256=lock.sha256,
        source_date_epoch=resolved.source_date_epoch or 0,
        roothash=made.root.roothash,
        command_line=made.command_line,
        tools=str(tools.root),
        key=make_system_key(workspace.request, resolved, lock, plan),
        artifacts=artifacts,
        scripts={name: make_decision(decided).answer for name, decided in sorted(resolved.scripts.items())},
        timings=workspace.timings,
        signed_by=workspace.request.signed_by,
        registers=made.registers,
        tree=plan.key,
    )


def make_image_settings(resolved: Resolved) -> ImageSettings:
    """The part of a definition that the outputs depend on."""
    encrypted = resolved.state.encryption is Encryption.TPM2
    overlays = ("initrd", "initrd-encrypted-state") if encrypted else ("initrd",)
    return ImageSettings(
        name=resolved.name,
        version=resolved.version,
        arch=resolved.arch,
        compression=resolved.root.compression,
        level=resolved.root.level,
        extra_command_line=resolved.command_line,
        modules=resolved.modules,
        credentials=resolved.credentials,
        initrd_overlays=tuple(find_shipped_root() / "overlays" / name for name in overlays),
        encrypted_state=encrypted,
        layout=resolved.disk,
    )
