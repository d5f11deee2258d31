"""Tests that are programs: every executable below a directory ``guest`` is run in a machine, as root.

What it wants is said by a header, in comments at its beginning, in YAML (the shape of kola's external tests)::

    #!/bin/bash
    ## build-os:
    ##   description: the web server answers
    ##   config: ../../machines/web.yaml
    ##   tags: [boot]

Exit status 0 is success, 77 is "skipped" (as automake and autopkgtest have it), everything else a failure. kola's own
headers are understood as far as we can do what they ask for. :mod:`vm.testing.guest_run` has what a script is offered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from vm.spec.extra_disk import parse_disk
from vm.testing import GUEST_DIRECTORY
from vm.testing.guest_run import SKIPPED, run_script

if TYPE_CHECKING:
    from vm.machine import Machine

HEADERS = ("## build-os:", "## kola:")
HEADER_BYTES = 16 << 10
MINUTE = 60.0


class Header(BaseModel):
    """What a script says of itself.

    Attributes:
        config: the first-boot configuration, relative to the script.
        isolation: ``snapshot``: the machine is as it was right after it had booted; ``shared``: it may be one that
            other scripts have run in; ``own``: it is booted for this script, and never one that was woken up.
        memory: MiB.
        disks: further empty disks, as 'build-os run --disk' takes them.
        minutes: the deadline on a host with KVM.
        allow_console: regular expressions of console lines that are not bad signs.
        architectures: only on these; others skip it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    tags: tuple[str, ...] = ()
    config: Path | None = None
    isolation: Literal["snapshot", "shared", "own"] = "snapshot"
    memory: int = Field(1024, ge=128, validation_alias=AliasChoices("memory", "minMemory"))
    cpus: int = Field(2, ge=1)
    disks: tuple[str, ...] = Field((), validation_alias=AliasChoices("disks", "additionalDisks"))
    minutes: float = Field(5, gt=0, validation_alias=AliasChoices("minutes", "timeoutMin"))
    allow_console: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    def make_options(self, script: Path) -> dict[str, Any]:
        """Keywords of the ``vm`` marker."""
        config = None if self.config is None else (script.parent / self.config).resolve()
        options: dict[str, Any] = {"config": config, "memory": self.memory, "cpus": self.cpus}
        if self.disks:
            options["extra_disks"] = tuple(parse_disk(text) for text in self.disks)
        return options | {"seconds": self.minutes * MINUTE}


def read_header(path: Path) -> Header:
    """The header of a script; one without any wants nothing special.

    Raises:
        ValueError: it makes no sense; the message is for the author.
    """
    with path.open("rb") as file:
        lines = file.read(HEADER_BYTES).decode("utf-8", errors="replace").splitlines()
    start = next((number for number, line in enumerate(lines) if line.rstrip() in HEADERS), None)
    if start is None:
        return Header()
    text = "\n".join(_body(lines[start + 1 :]))
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"its header is not YAML: {error}") from None
    if data is None:
        return Header()
    if not isinstance(data, dict):
        raise ValueError("its header is not a mapping")
    if lines[start].rstrip() == "## kola:":
        data = _from_kola(data)
    try:
        return Header.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc'])) or 'header'}: {problem['msg']}" for problem in error.errors()]
        raise ValueError(f"its header is wrong: {'; '.join(problems)}") from None


def _body(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a header without the marks of a comment; it ends with the first line that has none."""
    for line in lines:
        if not line.startswith("##"):
            return
        yield line[2:]


def _from_kola(data: dict[str, Any]) -> dict[str, Any]:
    """kola's keys as ours. What only chooses among its platforms and distributions means nothing here."""
    ours = {
        key: value for key, value in data.items() if key not in ("distros", "platforms", "conflicts", "injectContainer")
    }
    if "exclusive" in ours:
        ours["isolation"] = "snapshot" if ours.pop("exclusive") else "shared"
    for key in ("tags", "architectures"):
        if isinstance(ours.get(key), str):
            ours[key] = ours[key].split()
    return ours


def is_guest_script(path: Path) -> bool:
    """Whether a file is a program in a directory ``guest``."""
    return path.parent.name == GUEST_DIRECTORY and path.is_file() and os.access(path, os.X_OK)


class GuestScript(pytest.File):
    """One script, which is one test."""

    def collect(self) -> Iterator[pytest.Function]:
        """The test that runs it in the machine it asks for."""
        try:
            header = read_header(self.path)
        except ValueError as error:
            raise self.CollectError(f"{self.path}: {error}") from None
        function = start_machine if header.isolation == "own" else take_machine
        body = function(self.path, header)
        body.__doc__ = header.description
        test = pytest.Function.from_parent(self, name=self.path.name, callobj=body)
        for tag in header.tags:
            self.config.addinivalue_line("markers", f"{tag}: a tag of a guest script")
            test.add_marker(tag)
        if header.allow_console:
            test.add_marker(pytest.mark.allow_console(*header.allow_console))
        if header.isolation != "own":
            test.add_marker(pytest.mark.vm(isolation=header.isolation, **header.make_options(self.path)))
        yield test


def take_machine(script: Path, header: Header) -> Any:
    """A test function for a machine that has been woken up."""

    def run_script(request: pytest.FixtureRequest, image: Any, vm: Machine) -> None:
        run_guest_script(request, script, header, image.arch, vm)

    return run_script


def start_machine(script: Path, header: Header) -> Any:
    """A test function for a machine that is booted for it."""

    def run_script(request: pytest.FixtureRequest, image: Any, vm_factory: Any) -> None:
        machine = vm_factory(**header.make_options(script))
        if header.config is not None:
            machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        run_guest_script(request, script, header, image.arch, machine)

    return run_script


def run_guest_script(request: pytest.FixtureRequest, script: Path, header: Header, arch: str, machine: Machine) -> None:
    """Run it and tell how it ended."""
    if header.architectures and arch not in header.architectures:
        pytest.skip(f"it is for {', '.join(header.architectures)}")
    ending = run_script(machine, script)
    request.node.add_report_section("call", "output in the guest", ending.output)
    if ending.status == SKIPPED:
        pytest.skip(ending.last_line or "it says so")
    if ending.status != 0:
        pytest.fail(f"{script.name} ended with status {ending.status}: {ending.last_line}", pytrace=False)
