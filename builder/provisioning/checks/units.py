"""Units of a config that name what will not be there: other units, programs, users, groups."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage, find_hint
from builder.provisioning.checks.own_texts import UnitText
from builder.provisioning.image_facts import ImagePrograms
from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.quadlets import find_unit_name
from firstboot.config.text import Path, Problem

NEEDS = ("Requires", "Requisite", "BindsTo", "Wants")
# Kinds that systemd does not make by itself (systemd.mount(5), systemd.device(5), systemd.slice(5)).
FROM_FILES = (".service", ".socket", ".target", ".timer", ".path")
EXEC = ("ExecStartPre", "ExecStart", "ExecStartPost", "ExecCondition", "ExecReload", "ExecStop", "ExecStopPost")
_PREFIXES = "@-:+!|"  # systemd.service(5), "Command lines"
_SPECIFIER = re.compile(r"%[^%]")


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """One warning for each name that leads nowhere."""
    for unit in image.own_units:
        yield from _needs(unit, image)
        yield from _programs(unit, image)
        yield from _accounts(unit, image)
    yield from _changed(image)


def _changed(image: ConfiguredImage) -> Iterator[Problem]:
    """What is said about a unit that is not there."""
    quadlets = (path for path in image.root.facts.texts if path.startswith(QUADLETS))
    of_image = {name: path for path in quadlets if (name := find_unit_name(path))}
    for index, unit in enumerate(image.config.systemd.units):
        if unit.contents and unit.name in of_image:
            message = f"'{unit.name}' replaces what podman makes of the image's {of_image[unit.name]}"
            instead = "the image's container does not start then; drop-ins change it"
            yield _warning(("systemd", "units", index, "name"), message, instead)
        if unit.contents or image.has_unit(unit.name):
            continue
        at: Path = ("systemd", "units", index, "name")
        hint = find_hint(unit.name, image.unit_names)
        # One that is to be masked or disabled and is not there is as it should be.
        if unit.dropins and not unit.mask:
            yield _warning(at, f"there is no unit '{unit.name}' that the drop-ins could change", hint)


def _needs(unit: UnitText, image: ConfiguredImage) -> Iterator[Problem]:
    for name, value in unit.list_values("Unit", *NEEDS):
        for other in value.split():
            if other.endswith(FROM_FILES) and not _SPECIFIER.search(other) and not image.has_unit(other):
                hint = find_hint(other, image.unit_names)
                yield unit.make_warning(name, other, f"{name}={other}, and there is no such unit", hint)


def _programs(unit: UnitText, image: ConfiguredImage) -> Iterator[Problem]:
    programs = ImagePrograms.make(image.root)
    for name, value in unit.list_values("Service", *EXEC):
        words = value.lstrip(_PREFIXES).split()
        if not words or _SPECIFIER.search(words[0]) or words[0].startswith("$"):
            continue
        program = words[0].strip("\"'")
        is_there = image.has(program) if program.startswith("/") else programs.find(program) is not None
        if not is_there:
            elsewhere = programs.find(posixpath.basename(program))
            hint = "a package of the image's definition can bring it, or a file of this config"
            hint = f"the image has {elsewhere}" if elsewhere else hint
            yield unit.make_warning(name, program, f"{name}= starts {program}, which will not be there", hint)


def _accounts(unit: UnitText, image: ConfiguredImage) -> Iterator[Problem]:
    if any(value.lower() in ("yes", "true", "1", "on") for _, value in unit.list_values("Service", "DynamicUser")):
        return
    settings = (("user", image.users, ("User",)), ("group", image.groups, ("Group", "SupplementaryGroups")))
    for kind, known, names in settings:
        for name, value in unit.list_values("Service", *names):
            for account in value.split():
                if account not in known and not account.isdigit() and not _SPECIFIER.search(account):
                    hint = find_hint(account, known) or f"add it to passwd.{kind}s"
                    yield unit.make_warning(name, account, f"{name}={account}, and there is no such {kind}", hint)


def _warning(at: Path, message: str, hint: str | None) -> Problem:
    return Problem(at, message, hint, "warning")
