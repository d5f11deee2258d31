"""What a first boot will do, as people and programs read it: steps in order, each with the line that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from builder.provisioning.comparison import Unfetched, list_remote_resources
from firstboot.apply.action import Action
from firstboot.apply.disks.mounts import list_to_mount
from firstboot.apply.files import WriteFile
from firstboot.config.loaded import LoadedConfig
from firstboot.config.text import Path
from firstboot.engine.resources import list_keys
from firstboot.fetch.url_text import redact_url

# Modules that carry out what people call otherwise.
_STAGES = dict.fromkeys(("partitions", "raid", "luks", "lvm", "filesystems", "subvolumes"), "disks")
_STAGES |= {"identity": "machine", "stage": "kernel"}


class Step(NamedTuple):
    """One thing that is done.

    Attributes:
        stage: ``fetch``, ``disks``, ``mount``, ``machine``, ``users``, ``files``, ``units`` ...
        what: one line, without secrets.
        file, line, col: what asks for it; ``None`` if it is always done.
    """

    stage: str
    what: str
    file: str | None
    line: int | None
    col: int | None

    def make_json_object(self) -> dict[str, Any]:
        """For programs."""
        return self._asdict()


def list_steps(loaded: LoadedConfig, actions: Iterable[Action]) -> list[Step]:
    """Every step of a first boot, in order."""
    actions = [*actions]
    kernel = [action for action in actions if _stage(action) == "kernel"]
    devices = [action for action in actions if _stage(action) == "disks"]
    others = [action for action in actions if _stage(action) not in ("kernel", "disks", "archives")]
    steps = [*_fetches(loaded)]
    steps += [_step(loaded, "kernel", f"{action.describe()}, and start again", action.at) for action in kernel]
    steps += [_step(loaded, "disks", action.describe(), action.at) for action in devices]
    for filesystem, at in list_to_mount(loaded.config):
        steps.append(_step(loaded, "mount", f"mount {filesystem.device} at {filesystem.path}", at))
    steps += [
        _step(loaded, _stage(action), _described(action), action.at) for action in others if _stage(action) != "units"
    ]
    for index, archive in enumerate(loaded.config.storage.archives):
        what = f"unpack {redact_url(archive.source or '')} into {archive.path}"
        steps.append(_step(loaded, "files", what, ("storage", "archives", index)))
    steps += [_step(loaded, "units", _described(action), action.at) for action in others if _stage(action) == "units"]
    return steps


def draw(steps: Iterable[Step]) -> str:
    """How many, and a tree: stages, below them what is done, and at the right the line that asks for it."""
    steps = [*steps]
    width = max((len(step.what) for step in steps), default=0)
    width = min(width, 72)
    lines = [f"{len(steps)} step{'' if len(steps) == 1 else 's'}"]
    groups = [(stage, [*members]) for stage, members in groupby(steps, key=lambda step: step.stage)]
    for index, (stage, members) in enumerate(groups):
        last = index == len(groups) - 1
        lines.append(f"{'└─' if last else '├─'} {stage}")
        for position, step in enumerate(members):
            branch = f"{'  ' if last else '│ '} {'└─' if position == len(members) - 1 else '├─'}"
            where = f"  {step.file}:{step.line}" if step.file and step.line else ""
            lines.append(f"{branch} {step.what:<{width}}{where}".rstrip())
    return "\n".join(lines)


def _stage(action: Action) -> str:
    module = type(action).__module__.rpartition(".")[2]
    return _STAGES.get(module, module)


def _described(action: Action) -> str:
    if isinstance(action, WriteFile):
        urls = [str(resource.path) for resource in (action.contents, *action.added) if isinstance(resource, Unfetched)]
        if urls:
            return f"{action.describe().rpartition(' (')[0]} (fetched)"
    return action.describe()


def _fetches(loaded: LoadedConfig) -> Iterator[Step]:
    names: dict[str, None] = {}
    for resource in list_remote_resources(loaded.config):
        names.setdefault(redact_url(resource.source or ""))
    for name in names:
        yield _step(loaded, "fetch", f"fetch {name}", _at_of(loaded, name))


def _at_of(loaded: LoadedConfig, name: str) -> Path:
    """Where a URL stands."""
    for index, file in enumerate(loaded.config.storage.files):
        at: Path = ("storage", "files", index)
        if redact_url(file.contents.source or "") == name:
            return (*at, "contents", "source")
        for position, part in enumerate(file.append):
            if redact_url(part.source or "") == name:
                return (*at, "append", position, "source")
    for index, archive in enumerate(loaded.config.storage.archives):
        if redact_url(archive.source or "") == name:
            return ("storage", "archives", index, "source")
    for place, resource in list_keys(loaded.config):
        if redact_url(resource.source or "") == name:
            return (*place, "source")
    raise AssertionError(name)


def _step(loaded: LoadedConfig, stage: str, what: str, at: Path) -> Step:
    if not at:
        return Step(stage, what, None, None, None)
    located, path = loaded.origins.find(at)
    mark = located.mark_of(path)
    return Step(stage, what, located.name, mark.line if mark else None, mark.column if mark else None)
