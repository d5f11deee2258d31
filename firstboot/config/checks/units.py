"""Units and drop-ins: their names, texts, and whether something else writes the same file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firstboot.config.models import Config, Dropin, Systemd
from firstboot.config.text import Path, Problem
from firstboot.config.unit_text import BadUnit, parse_sections

UNIT_DIRECTORY = "/etc/systemd/system"
UNIT_TYPES = (
    "service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "snapshot",
    "slice", "scope",
)  # fmt: skip


def check_systemd(systemd: Systemd) -> Iterator[Problem]:
    without_install: dict[str, bool] = {}
    for index, unit in enumerate(systemd.units):
        path = ("systemd", "units", index)
        _, dot, kind = unit.name.rpartition(".")
        if not dot or kind not in UNIT_TYPES:
            known = ", ".join(f".{kind}" for kind in UNIT_TYPES)
            yield Problem((*path, "name"), f"'{unit.name}' is not the name of a unit", f"it ends in one of {known}")
        sections: list[str] | None = None
        try:
            sections = parse_sections(unit.contents or "")
        except BadUnit as error:
            yield _bad_unit(error, (*path, "contents"))
        if unit.contents and sections is not None and "Install" not in sections:
            without_install[unit.name] = True
            if unit.enabled:
                message = f"'{unit.name}' is enabled but has no [Install] section, so enabling does nothing"
                yield Problem((*path, "contents"), message, "add WantedBy=multi-user.target", "warning")
        yield from _dropins(unit.dropins, path)
    for index, unit in enumerate(systemd.units):
        # Ignition looks for the template of a service only.
        if not (unit.enabled and "@" in unit.name and unit.name.endswith(".service") and not unit.contents):
            continue
        template = f"{unit.name.partition('@')[0]}@.service"
        if template != unit.name and template in without_install:
            message = f"its template '{template}' has no [Install] section, so enabling '{unit.name}' does nothing"
            yield Problem(("systemd", "units", index, "contents"), message, None, "warning")


def _dropins(dropins: Iterable[Dropin], path: Path) -> Iterator[Problem]:
    for index, dropin in enumerate(dropins):
        here = (*path, "dropins", index)
        if not dropin.name.endswith(".conf"):
            yield Problem((*here, "name"), f"'{dropin.name}' is not the name of a drop-in", "it ends in .conf")
        try:
            parse_sections(dropin.contents or "")
        except BadUnit as error:
            yield _bad_unit(error, (*here, "contents"))


def _bad_unit(error: BadUnit, path: Path) -> Problem:
    return Problem(path, f"line {error.line} of the unit: {error}")


def check_units_against_files(config: Config) -> Iterator[Problem]:
    written: dict[str, str] = {}
    for unit in config.systemd.units:
        path = f"{UNIT_DIRECTORY}/{unit.name}"
        if unit.contents:
            written[path] = unit.name
        for dropin in unit.dropins:
            if dropin.contents:
                written[f"{path}.d/{dropin.name}"] = f"drop-in {dropin.name} of {unit.name}"
    storage = config.storage
    lists = (("directories", storage.directories), ("files", storage.files), ("links", storage.links))
    for name, nodes in lists:
        for index, node in enumerate(nodes):
            if node.path in written:
                here = ("storage", name, index, "path")
                message = f"'{node.path}' is also written by systemd.units ({written[node.path]})"
                yield Problem(here, message, "keep one of the two")
