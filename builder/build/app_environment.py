"""An app's environment of wheels by itself, for a machine whose image has another one: locked, verified and compiled as
for an image, and not looked at beside the rest of one."""

from __future__ import annotations

import io
from dataclasses import dataclass

from builder.build.inputs import require_lock
from builder.build.request import BuildRequest
from builder.build.workspace import open_store
from builder.core.scratch import open_scratch
from builder.core.tools import Tools
from builder.definition.resolved import Resolved
from builder.locking import fetch_locked_wheels
from builder.python.environment import Environment, add_wheels, hash_contents
from builder.python.scheme import Scheme, make_scheme
from builder.stages.app_wheels import GROUP
from builder.stages.python import list_planned
from builder.tree.tar import write_tar
from builder.tree.tree import Tree


@dataclass(frozen=True)
class AppEnvironment:
    """An environment of a definition, as its lock has it now.

    Attributes:
        digest: of all that is in it.
    """

    environment: Environment
    scheme: Scheme
    digest: str


def lock_environment(request: BuildRequest, resolved: Resolved, name: str) -> AppEnvironment:
    """An environment of a definition; the lock is brought up to date if the definition has changed.

    Raises:
        BuildError: as for a build.
    """
    with open_store(request) as workspace:
        lock = require_lock(workspace, resolved)
        wanted = [environment for environment in resolved.python if environment.name == name]
        (planned,) = list_planned(wanted, GROUP, lock.packages, lock.wheels, resolved.arch)
        if any(not request.store.has_blob(wheel.sha256, wheel.size) for wheel in planned.wheels):
            fetch_locked_wheels(lock, resolved, request.store, request.console)
    return AppEnvironment(planned, make_scheme(name, planned.target.version), hash_contents(planned))


def make_environment_archive(request: BuildRequest, made: AppEnvironment, tools: Tools) -> bytes:
    """What is in the environment's directory, as a tar archive; the same wheels make the same bytes.

    Raises:
        WheelError: a wheel is malformed or hostile.
        InputError: two wheels have the same file, or one is for another machine.
        SourceError, CapabilityError, ToolError: of store and tools.
    """
    tree, below = Tree(), Tree()
    with open_store(request), open_scratch(request.store, request.console) as scratch:
        add_wheels(tree, made.environment, made.scheme, tools, request.store, request.console, scratch)
        for path, node in tree.walk(made.scheme.prefix):
            if path != made.scheme.prefix:
                below.put(path.removeprefix(made.scheme.prefix), node)
        file = io.BytesIO()
        write_tar(below, file, latest=0)
    return file.getvalue()
