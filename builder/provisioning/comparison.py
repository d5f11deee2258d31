"""A config compared with an image: what is wrong with the two together, and what a first boot would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from builder.provisioning.checks import (
    accounts,
    apps,
    containers,
    logins,
    packages,
    places,
    ports,
    python,
    units,
    updates,
)
from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.checks.own_texts import ProblemInText
from builder.provisioning.checks.verify import verify
from builder.provisioning.image_facts import ImageFacts, ImagePrograms, ImageRoot
from builder.provisioning.reading import read_located
from builder.provisioning.values import NO_VALUES, Values
from firstboot.apply.action import Action, Machine
from firstboot.apply.allowed import check_writable
from firstboot.apply.contents import Contents, Stored
from firstboot.apply.kernel.arguments import check_baked, list_wanted_words
from firstboot.apply.kernel.stage import SetArguments
from firstboot.config.document import read
from firstboot.config.loaded import Document, LoadedConfig
from firstboot.config.models import Config, Resource
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.resource import is_inline
from firstboot.config.text import Problem
from firstboot.engine.compile import finish, merge_documents
from firstboot.engine.errors import WRONG_CONFIG, list_complaints
from firstboot.engine.keyfiles import translate_keyfiles
from firstboot.engine.plan import WHOLE_MACHINE, foresee, plan, plan_devices
from firstboot.engine.provision import BASE_SUFFIXES
from firstboot.engine.resources import list_keys
from firstboot.fetch.url_text import redact_url
from firstboot.places import BASE_DIRECTORY, Places

CHECKS = (
    units.check,
    ports.check,
    apps.check,
    containers.check,
    places.check,
    accounts.check,
    logins.check,
    python.check,
    packages.check,
    updates.check,
)


class Comparison(NamedTuple):
    """What came of it.

    Attributes:
        complaints: errors, which the machine itself would refuse, and warnings.
        notes: what could not be looked at.
        loaded: image's base configs and this one, merged; ``None`` if there is an error before that.
        actions: what a first boot would do, in order; empty if it would refuse.
    """

    complaints: tuple[Complaint, ...]
    notes: tuple[str, ...] = ()
    loaded: LoadedConfig | None = None
    actions: tuple[Action, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether the machine would refuse it."""
        return any(complaint.problem.severity == "error" for complaint in self.complaints)


class Unfetched(Stored):
    """Contents that are elsewhere: nobody has fetched them."""


def compare_with_image(
    path: Path | None, files_dir: Path | None, facts: ImageFacts, values: Values = NO_VALUES
) -> Comparison:
    """Check a config against an image.

    Args:
        path: the config; ``None`` for what the image does without one.
        values: of its variables and secrets.

    Raises:
        BuildError: there is no such file.
    """
    root = ImageRoot(facts)
    try:
        loaded, notes = _load(path, files_dir, facts, values)
    except WRONG_CONFIG as error:
        return Comparison(tuple(list_complaints(error)))
    loaded = translate_keyfiles(loaded, root)
    machine = Machine(root, ImagePrograms.make(root))
    machine.fetched = make_unfetched(loaded.config)
    complaints = [*loaded.warnings]
    complaints += [
        loaded.make_complaint(problem) for problem in check_baked(loaded.config.kernel_arguments, facts.command_line)
    ]
    actions: list[Action] = [*_kernel(loaded.config, facts)]
    if actions:
        notes.append("kernel arguments can be set where UEFI starts the machine from its disk, without Secure Boot")
    try:
        actions += plan_devices(loaded, machine)
    except ConfigError as error:
        complaints += error.complaints
    later = foresee(loaded, machine) if loaded.config.has_devices else machine
    try:
        actions += plan(drop_archives(loaded), later, WHOLE_MACHINE)
    except ConfigError as error:
        complaints += error.complaints
    complaints += later.warnings
    image = ConfiguredImage(root, loaded.config)
    verified = verify(image)
    problems = [*_archives(loaded.config, root), *(problem for check in CHECKS for problem in check(image))]
    for archive in loaded.config.storage.archives:
        notes.append(f"the archive at {redact_url(archive.source or '')} was not fetched: what is in it is not checked")
    complaints += [_complaint(loaded, problem) for problem in (*problems, *verified.problems)]
    notes += [verified.note] if verified.note else []
    refused = any(complaint.problem.severity == "error" for complaint in complaints)
    return Comparison(tuple(complaints), tuple(notes), loaded, () if refused else tuple(actions))


def _kernel(config: Config, facts: ImageFacts) -> Iterator[Action]:
    """What a machine that was started by the image alone has to tell its kernel."""
    words = list_wanted_words(config.kernel_arguments, facts.command_line)
    if words:
        yield SetArguments(words, Places())


def _complaint(loaded: LoadedConfig, problem: Problem) -> Complaint:
    if not isinstance(problem, ProblemInText):
        return loaded.make_complaint(problem)
    located, path = loaded.origins.find(problem.path)
    return Complaint(located, problem.point_at_line(located, path))


def _load(
    path: Path | None, files_dir: Path | None, facts: ImageFacts, values: Values
) -> tuple[LoadedConfig, list[str]]:
    """The image's base configs with the config on top, as the machine merges them; and what was left out.

    URLs are not followed.
    """
    names = sorted(name for name in facts.texts if name.startswith(f"{BASE_DIRECTORY}/"))
    documents = [read(facts.texts[name], name) for name in names if name.endswith(BASE_SUFFIXES)]
    if path is not None:
        documents.append(read_located(path, files_dir, values))
    if not documents:
        documents.append(read('{"ignition": {"version": "3.6.0"}}', "no config"))
    return finish(merge_documents(documents)), [note for document in documents for note in _not_looked_at(document)]


def drop_archives(loaded: LoadedConfig) -> LoadedConfig:
    """Archives are planned by what is in them, which nobody has fetched."""
    storage = loaded.config.storage.model_copy(update={"archives": ()})
    return loaded._replace(config=loaded.config.model_copy(update={"storage": storage}))


def _archives(config: Config, root: ImageRoot) -> Iterator[Problem]:
    for index, archive in enumerate(config.storage.archives):
        at = ("storage", "archives", index, "path")
        yield from check_writable(root.see(archive.path), archive.path, at)


def make_unfetched(config: Config) -> Mapping[Resource, Contents]:
    """A stand-in for everything that would have to be fetched."""
    return {resource: Unfetched(Path("/dev/null"), 0) for resource in list_remote_resources(config)}


def list_remote_resources(config: Config) -> Iterator[Resource]:
    """Contents of files, and keys, that a config names by a URL."""
    for file in config.storage.files:
        yield from (
            resource for resource in (file.contents, *file.append) if resource.source and not is_inline(resource)
        )
    yield from (archive.resource for archive in config.storage.archives)
    yield from (resource for _, resource in list_keys(config) if resource.source)


def _not_looked_at(document: Document) -> Iterator[str]:
    assert document.config is not None
    sources = document.config.ignition.config
    for resource in (*sources.merge, sources.replace):
        if not is_inline(resource):
            yield f"the config at {redact_url(resource.source or '')} was not fetched: what it says is not checked"


def list_problems(comparison: Comparison, name: str) -> list[Problem]:
    """What is said about the document of this name."""
    return [complaint.problem for complaint in comparison.complaints if complaint.located.name == name]
