"""``quadlets``: files that Podman makes units of (podman-systemd.unit(5))."""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.config.butane.files import NoLocalFile
from firstboot.config.butane.models import Quadlet, QuadletDropin
from firstboot.config.butane.trees import TAKEN, Planting, make_file
from firstboot.config.models import Link
from firstboot.config.text import Path, Problem

ROOTFUL = "/etc/containers/systemd"
ROOTLESS = "/etc/containers/systemd/users"
SUFFIXES = (".container", ".volume", ".network", ".kube", ".image", ".build", ".pod", ".artifact")
MODE = 0o644


def install(quadlet: Quadlet, at: Path, planting: Planting) -> Iterator[Problem]:
    """Add the files of a quadlet; an instance of a template, ``a@1.container``, becomes a link to it."""
    wrong = list(_check(quadlet, at))
    if wrong:
        yield from wrong
        return
    path = f"{ROOTFUL if quadlet.rootful else ROOTLESS}/{quadlet.name}"
    template = _template_of(quadlet.name)
    if planting.nodes.has(path):
        yield Problem(at, f"{path}: {TAKEN}")
    elif template is not None:
        planting.nodes.put_link(Link(path=path, target=template), at)
    else:
        yield from _add(quadlet, path, at, planting)
    for index, dropin in enumerate(quadlet.dropins):
        here = (*at, "dropins", index)
        dropin_path = f"{path}.d/{dropin.name}"
        if planting.nodes.has(dropin_path):
            yield Problem(here, f"{dropin_path}: {TAKEN}")
        else:
            yield from _add(dropin, dropin_path, here, planting)


def _check(quadlet: Quadlet, at: Path) -> Iterator[Problem]:
    if not quadlet.name.endswith(SUFFIXES):
        hint = f"it ends in one of {', '.join(SUFFIXES)}"
        yield Problem((*at, "name"), f"'{quadlet.name}' is not the name of a quadlet", hint)
    if "/" in quadlet.name:
        yield Problem((*at, "name"), f"the name '{quadlet.name}' contains '/'")
    instance = _template_of(quadlet.name) is not None
    if instance and (quadlet.contents is not None or quadlet.contents_local is not None):
        yield Problem((*at, "contents"), "an instance of a template has the template's contents, and none of its own")
    yield from _check_sources(quadlet, at)
    for index, dropin in enumerate(quadlet.dropins):
        here = (*at, "dropins", index)
        if not dropin.name.endswith(".conf") or "/" in dropin.name:
            yield Problem((*here, "name"), f"'{dropin.name}' is not the name of a drop-in", "it ends in .conf")
        yield from _check_sources(dropin, here)


def _check_sources(part: Quadlet | QuadletDropin, at: Path) -> Iterator[Problem]:
    if part.contents is not None and part.contents_local is not None:
        yield Problem((*at, "contents_local"), "give only one of contents and contents_local", on_key=True)


def _template_of(name: str) -> str | None:
    """``a@.container`` for ``a@1.container``; ``None`` for what is no instance."""
    stem, dot, suffix = name.partition(".")
    base, sign, instance = stem.partition("@")
    return f"{base}@{dot}{suffix}" if sign and instance else None


def _add(part: Quadlet | QuadletDropin, path: str, at: Path, planting: Planting) -> Iterator[Problem]:
    data = (part.contents or "").encode("utf-8", "surrogatepass")
    if part.contents_local:
        try:
            data = planting.files.read(part.contents_local)
        except NoLocalFile as error:
            yield Problem((*at, "contents_local"), str(error), error.hint)
            return
    planting.nodes.put_file(make_file(path, MODE, data, planting.encode), at)
