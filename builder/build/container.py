"""A container's build: definition, lock, debs, tools, tree, OCI archive, manifest."""

from __future__ import annotations

import hashlib
import json
import time

from builder.artifacts.placed_artifact import list_placed
from builder.build.inputs import (
    fetch_missing_debs,
    open_build_tools,
    open_context,
    open_lasting_tools,
    record_runs,
    require_lock,
)
from builder.build.request import BuildRequest, BuildResult
from builder.build.workspace import open_workspace, require_room, sweep_out
from builder.core.errors import InputError
from builder.core.inputs import collect_inputs, hash_source
from builder.debian.lock import Lock
from builder.definition.load import load_container
from builder.definition.resolved import ResolvedContainer
from builder.outputs.manifest import Manifest, is_current
from builder.products.catalogue import CONTAINER_PRODUCTS
from builder.products.product import Identity, Part
from builder.stages.packages import make_decision
from builder.stages.python import list_planned


def build_container(request: BuildRequest) -> BuildResult:
    """Build a definition of ``kind: container`` into what its ``outputs`` name.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: see :mod:`builder.core.errors`.
    """
    started = time.monotonic()
    if request.key_pair is not None:
        raise InputError("a container has nothing that firmware starts", hint="leave the key out")
    loaded = load_container(request.definition)
    for warning in loaded.warnings:
        request.console.warn(warning)
    resolved = loaded.resolved
    with open_workspace(request) as workspace:
        lock = require_lock(workspace, resolved)
        manifest = workspace.manifest
        if not request.reason_to_start_anew and is_current(manifest, make_container_key(resolved, lock)):
            request.console.note(f"nothing to do: {manifest} is up to date")
            return BuildResult(manifest)
        # Here, not above: a build that has nothing to do is over before these are imported.
        from builder.oci.bundle import make_bundle, write_bundle
        from builder.oci.check import validate_layout
        from builder.oci.image import write_layers
        from builder.oci.runtime_config import make_runtime_config
        from builder.outputs.publish import publish
        from builder.outputs.sbom import make_container_sbom
        from builder.stages.container_images import (
            MEDIA_TYPES,
            divide,
            make_container_tree,
            make_image_config,
            open_base,
        )

        sweep_out(request.out)
        require_room(request.store.root, request.out)
        fetch_missing_debs(workspace, resolved, lock)
        tools = open_build_tools(workspace, resolved, lock)
        with (
            open_context(workspace, resolved, lock, tools) as context,
            request.console.open_step(f"container {resolved.name}"),
        ):
            environments = list_planned(resolved.python, "image", lock.packages, lock.wheels, resolved.arch)
            placed = list_placed(resolved.artifacts, lock, "image")
            rows = {row.name: row for row in lock.images}
            base = open_base(resolved, lock.sets, rows, context, 0)
            root = None if base is None else base.image.tree
            tree = make_container_tree(resolved, lock.packages, context, 0, environments, placed, root)
            lock = record_runs(workspace, resolved, lock, context.runs)
            if request.watch is not None:
                request.watch("container", tree)
            layout = context.scratch / "layout"
            parts = divide(tree, resolved, lock.packages, root)
            media_type = MEDIA_TYPES[resolved.compression]
            image = write_layers(parts, make_image_config(resolved, 0), layout, media_type, tools, base)
            if problems := validate_layout(layout, tools):
                raise AssertionError(f"we wrote an image layout that is none: {problems}")
            products = [CONTAINER_PRODUCTS[name] for name in resolved.outputs]
            files = {Part.OCI: layout}
            if any(Part.BUNDLE in product.needs for product in products):
                files[Part.BUNDLE] = context.scratch / "bundle.tar"
                config = make_runtime_config(json.loads(image.config), tree, name=resolved.name)
                write_bundle(make_bundle(tree, config), files[Part.BUNDLE], created=0)
            manifest.unlink(missing_ok=True)
            artifacts = publish(
                products,
                files,
                {},
                make_container_sbom(resolved, lock, tree, image.digest),
                request.out,
                tools,
                request.console,
                Identity(resolved.name, resolved.version, resolved.arch, image.digest),
                workspace.timings.outputs,
            )
        Manifest(
            name=resolved.name,
            version=resolved.version,
            arch=resolved.arch,
            features=(),
            definition=str(resolved.path),
            lock_sha256=lock.sha256,
            source_date_epoch=0,
            roothash="",
            command_line="",
            tools=str(open_lasting_tools(workspace, resolved, lock, tools).root),
            key=make_container_key(resolved, lock),
            artifacts=artifacts,
            scripts={name: make_decision(decided).answer for name, decided in sorted(resolved.scripts.items())},
            timings=workspace.timings,
        ).write(manifest)
        return BuildResult(manifest, time.monotonic() - started)


def make_container_key(resolved: ResolvedContainer, lock: Lock) -> str:
    """The hash of everything that decides a container's archive."""
    parts = [lock.render(), list(collect_inputs(resolved).items()), hash_source("builder.build.container")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
