"""One text in, one checked config of its own version out: detect what it is, read it, check it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from firstboot.config import buildos, butane
from firstboot.config.artifact import list_artifacts
from firstboot.config.building import build
from firstboot.config.butane import MACHINE, Surroundings, lint
from firstboot.config.butane.draft import Draft
from firstboot.config.butane.variants import VARIANTS, Edition
from firstboot.config.checks import check
from firstboot.config.checks.nodes import NO_CONTENTS
from firstboot.config.explain import describe_kind, find_suggestion
from firstboot.config.lazy import import_lazily
from firstboot.config.loaded import Document, Version
from firstboot.config.models import Config
from firstboot.config.origins import Origins
from firstboot.config.shape import Dialect, Walk
from firstboot.config.text import Located, LocatedError, Path, Problem, find_value, refuse
from firstboot.config.urls import BadUrl, check_url
from firstboot.config.versions import NAMES, OWN_SUFFIX, find_version, format_version

if TYPE_CHECKING:
    from firstboot.config import guessing, includes, json_text, yaml_text
    from firstboot.config.buildos import sugar_output, variables
    from firstboot.config.butane import desugar, embedded, openshift
    from firstboot.config.checks import logins
else:
    includes = import_lazily("firstboot.config.includes")
    sugar_output = import_lazily("firstboot.config.buildos.sugar_output")
    desugar = import_lazily("firstboot.config.butane.desugar")
    embedded = import_lazily("firstboot.config.butane.embedded")
    variables = import_lazily("firstboot.config.buildos.variables")
    openshift = import_lazily("firstboot.config.butane.openshift")
    logins = import_lazily("firstboot.config.checks.logins")
    guessing = import_lazily("firstboot.config.guessing")
    json_text = import_lazily("firstboot.config.json_text")
    yaml_text = import_lazily("firstboot.config.yaml_text")

# Their values never reach a log, a console or a result file; nor does what looks like a secret: see redaction.
SECRET_KEYS = frozenset({"passwordHash", "password_hash", "inline", "environment"})


def read(text: str, name: str, surroundings: Surroundings = MACHINE) -> Document:
    """Read and check one config of any supported kind.

    Args:
        text: the config.
        name: what to call it in messages.
        surroundings: what compiling Butane needs besides; by default what there is on a machine.

    Raises:
        LocatedError: it cannot even be read: empty, a syntax error, an unknown kind or version. Everything
            else is in :attr:`Document.problems`.
    """
    if not text:
        raise refuse(name, "the config is empty")
    located = _parse(text, name)
    if not isinstance(located.data, dict):
        kind = describe_kind(located.data)
        raise LocatedError(located, [Problem((), f"a config is a mapping (key: value), this is {kind}")])
    if "variant" in located.data:
        return _read_variant(located, surroundings)
    return _read_ignition(located)


def _parse(text: str, name: str) -> Located:
    if text.startswith("#cloud-config"):
        hint = "write it as variant: buildos, or as Butane or Ignition"
        raise refuse(name, "this is cloud-config, which build-os does not read", hint=hint)
    if not _begins_with_brace(text):
        if _begins_with_brace(text.removeprefix("\ufeff")) and "variant" not in text:
            # YAML may begin with one, JSON may not (RFC 8259, section 8.1).
            raise refuse(name, "JSON syntax: a byte-order mark is before it", hint="save the file as UTF-8 without one")
        return _yaml(text, name)
    try:
        return json_text.load_json(text, name, secret_keys=SECRET_KEYS)
    except LocatedError as not_json:
        # YAML can begin with '{' as well.
        if "variant" not in text:
            raise
        try:
            located = _yaml(text, name)
        except LocatedError:
            raise not_json from None
        if isinstance(located.data, dict) and "variant" in located.data:
            return located
        raise


def _begins_with_brace(text: str) -> bool:
    return re.match(r"\s*\{", text) is not None


def _yaml(text: str, name: str) -> Located:
    return yaml_text.load_yaml(text, name, secret_keys=SECRET_KEYS)


# --- Ignition ---


def _read_ignition(located: Located) -> Document:
    if not _begins_with_brace(located.text):
        newest = {name: _newest(versions) for name, versions in {"buildos": buildos.EDITIONS, **VARIANTS}.items()}
        ours = {*buildos.SETTINGS["Config"], "hostname", "timezone", "include"}
        raise LocatedError(
            located, [Problem((), "'variant' is required", guessing.make_variant_hint(located.data, ours, newest))]
        )
    path = _path_of(located.data, ("ignition", "version"))
    text = find_value(located.data, path)
    own = isinstance(text, str) and text.endswith(OWN_SUFFIX)
    version = find_version(text.removesuffix(OWN_SUFFIX) if isinstance(text, str) else text)
    if version is None:
        known = f"supported are {', '.join(NAMES)}"
        if isinstance(text, str) and re.match("[12][.]", text):
            known = f"this is the old format of Container Linux; ign-converter, of CoreOS, makes 3.x of it; {known}"
        what = f"the version '{text}' is not supported" if isinstance(text, str) else "a version is required"
        raise LocatedError(located, [Problem(path, what, known)])
    walk = Walk(located, Dialect(version, "alias", fold_case=True, own=own))
    return _compiled(walk, "ignition", version, walk.clean_document())


def _path_of(data: Any, wanted: tuple[str, ...]) -> Path:
    """``wanted`` as spelled in ``data``, in whatever case; exact matches first."""
    path: Path = ()
    for name in wanted:
        actual = name
        if isinstance(data, dict):
            actual = next((key for key in (name, *data) if key in data and key.casefold() == name), name)
            data = data.get(actual)
        path = (*path, actual)
    return path


# --- YAML variants ---


def _read_variant(located: Located, surroundings: Surroundings) -> Document:
    variant, text = located.data["variant"], located.data.get("version")
    known = {"buildos": buildos.EDITIONS, **VARIANTS}
    if not isinstance(variant, str) or variant not in known:
        near = find_suggestion(str(variant), known)
        problem = Problem(("variant",), f"the variant '{variant}' is not supported", near or _one_of(known))
        raise LocatedError(located, [problem])
    versions = known[variant]
    if "version" not in located.data:
        raise LocatedError(located, [Problem((), "'version' is required", f"add 'version: {_newest(versions)}'")])
    if not isinstance(text, str) or text not in versions:
        shown = "" if text is None else f" '{text}'"
        what = f"the version{shown} of {variant} is not supported"
        raise LocatedError(located, [Problem(("version",), what, _one_of(versions))])
    edition = versions[text]
    if variant == "buildos":
        return _read_buildos(located, edition, surroundings)
    walk = Walk(located, butane.make_dialect(located, edition, surroundings))
    return _compiled_variant(walk, variant, edition, surroundings)


def _read_buildos(located: Located, edition: Edition, surroundings: Surroundings) -> Document:
    if not any(key in located.data for key in buildos.FILLED_IN):
        return _compiled_variant(
            Walk(located, buildos.make_dialect(edition, surroundings)), "buildos", edition, surroundings
        )
    filled = variables.fill_in(located, surroundings)
    dialect = buildos.make_dialect(edition, surroundings)._replace(
        scalar=partial(variables.adapt_variable, filled.whole)
    )
    walk = Walk(filled.located, dialect)
    walk.problems += filled.problems
    within = surroundings._replace(values={**surroundings.values, **filled.values})
    document = _compiled_variant(walk, "buildos", edition, within)
    # What else is wrong with a value that is not there would be about us.
    said = {*filled.problems}
    spoiled = {problem.path for problem in said}
    problems = tuple(problem for problem in document.problems if problem in said or problem.path not in spoiled)
    return document._replace(problems=problems, secrets=document.secrets | filled.secrets)


def _compiled_variant(walk: Walk, variant: str, edition: Edition, surroundings: Surroundings) -> Document:
    data = walk.clean_document()
    _set_version(walk, data, edition.spec)
    return _compiled(walk, variant, edition.spec, data, edition, surroundings)


def _set_version(walk: Walk, data: dict[str, Any], version: Version) -> None:
    ignition = data.setdefault("ignition", {})
    if isinstance(ignition, dict):
        if "version" in ignition:
            where = walk.origins[("ignition", "version")]
            walk.problems.append(Problem(where, "unknown setting, ignored", None, "warning", on_key=True))
        ignition["version"] = format_version(version)
        walk.origins[("ignition", "version")] = ("version",)


def _one_of(names: Iterable[str]) -> str:
    return f"supported are {', '.join(names)}"


def _newest(versions: Iterable[str]) -> str:
    return [version for version in versions if not version.endswith("-experimental")][-1]


# --- both ---


def _compiled(
    walk: Walk,
    variant: str,
    version: Version,
    data: Any,
    edition: Edition | None = None,
    surroundings: Surroundings = MACHINE,
) -> Document:
    config, problems, broken = build(data, walk.origins, walk.located)
    origins = Origins({out: (walk.located, here) for out, here in walk.origins.items()})
    wrap = None
    secrets: frozenset[str] = frozenset()
    sense: list[Problem] = []
    if edition is None:
        sense += check(config, version)
    else:
        if not broken:
            sense += _before_sugar(config, walk, edition)
        if variant == "buildos" and (config.passwd.users or config.passwd.groups):
            # Before fragments are merged in: those of other languages may say what their machines take.
            walk.problems += [_as_written(problem, walk) for problem in logins.check_logins(config.passwd)]
        if walk.extras or edition.machine_config or (walk.dialect.own and config.storage.luks):
            draft = Draft(config, origins, walk, edition, surroundings)
            _make_sugar(draft)
            # These are about what is written; what follows is about what was made of it.
            walk.problems += [_as_written(problem, walk) for problem in draft.problems]
            config, origins, wrap = draft.config, draft.origins, draft.wrap
            secrets = frozenset(draft.secrets)
        sense += _after_sugar(config, edition)
    if not walk.dialect.own:
        sense += _no_artifacts(config, version)
    # What could not be built stands in the config empty; complaints about that would be about us.
    problems += [problem for problem in sense if not any(problem.path[: len(path)] == path for path in broken)]
    # Nor is there anything to say about contents that could not be had.
    failed = {problem.path for problem in walk.problems if problem.severity == "error"}
    problems = [
        problem for problem in problems if problem.message != NO_CONTENTS or not _contents_of(problem, origins, failed)
    ]
    in_text = [_in_text(problem, origins, walk.located) for problem in problems]
    if edition is not None:
        in_text = [problem._replace(path=_snake(problem.path, walk.located)) for problem in in_text]
    # Ignition says nothing about a key that is set twice; the last one counts.
    noticed = () if edition is None else walk.located.warnings
    everything = (*noticed, *walk.problems, *in_text)
    usable = not any(problem.severity == "error" for problem in everything)
    return Document(walk.located, variant, version, config if usable else None, everything, origins, wrap, secrets)


def _make_sugar(draft: Draft) -> None:
    """Make all sugar, in Butane's order: what comes later may fill in or override what came before."""
    extras = draft.extras
    mounts = {path: value for path, value in extras.items() if path[-1] == "with_mount_unit"}
    if mounts:
        desugar.make_mount_units(draft, mounts)
    if ("storage", "trees") in extras or ("systemd", "quadlets") in extras:
        desugar.make_nodes(draft)
    if ("boot_device",) in extras:
        desugar.make_boot_device(draft)
    if ("grub",) in extras:
        desugar.make_grub(draft)
    if draft.edition.sugar:
        sugar_output.make(draft)
    if ("include",) in extras:
        includes.include_fragments(draft, read)
    if draft.edition.machine_config:
        desugar.make_machine_config(draft)


def _contents_of(problem: Problem, origins: Origins, failed: Iterable[Path]) -> bool:
    """Whether something is wrong already with the contents of the file that a problem is about."""
    place = (*origins.find(problem.path[:-1])[1], "contents")
    return any(path[: len(place)] == place for path in failed)


def _as_written(problem: Problem, walk: Walk) -> Problem:
    """A problem of what the document itself says, where it says so."""
    return problem._replace(path=_snake(walk.locate(problem.path), walk.located))


def _in_text(problem: Problem, origins: Origins, located: Located) -> Problem:
    """A problem of the config where it is written; of what a fragment says, where that is included."""
    source, path = origins.find(problem.path)
    there = problem._replace(path=path)
    if source is located:
        return there
    line = str(LocatedError(source, [there._replace(severity="error")])).splitlines()[0]
    return problem._replace(path=("include",), message=line, on_key=True)


def _snake(path: Path, located: Located) -> Path:
    """A path in Butane's spelling; what is missing in the text comes in that of the compiled config."""
    return tuple(
        re.sub("MiB|[A-Z]", lambda match: f"_{match[0].lower()}", step)
        if isinstance(step, str) and path[: index + 1] not in located.marks
        else step
        for index, step in enumerate(path)
    )


def _no_artifacts(config: Config, version: Version) -> Iterator[Problem]:
    """What is in a registry is nowhere for Ignition and Butane."""
    for path, resource in list_artifacts(config):
        try:
            check_url(resource.source or "", version)
        except BadUrl as error:
            yield Problem((*path, "source"), str(error), "only variant: buildos has artifacts of registries")


def _before_sugar(config: Config, walk: Walk, edition: Edition) -> Iterator[Problem]:
    """What Butane looks at before it makes sugar."""
    yield from lint.check_modes(config)
    if config.storage.disks:
        yield from lint.check_reuse(config, edition, list_mirrored_devices(walk.extras.get(("boot_device",))))
    if config.ignition.config.merge or config.ignition.config.replace.source is not None:
        yield from embedded.check_embedded(config, walk, edition, read)


def list_mirrored_devices(boot_device: object) -> frozenset[object]:
    """The disks of a ``boot_device.mirror``, which wipes their tables, as far as it is one."""
    mirror = boot_device.get("mirror") if isinstance(boot_device, dict) else None
    devices = mirror.get("devices") if isinstance(mirror, dict) else None
    return (
        frozenset(device for device in devices if isinstance(device, str)) if isinstance(devices, list) else frozenset()
    )


def _after_sugar(config: Config, edition: Edition) -> Iterator[Problem]:
    """What Butane looks at in what sugar has become."""
    yield from lint.check_forbidden(config, edition)
    yield from lint.check_partitions(config, edition)
    if edition.machine_config:
        yield from openshift.check_supported(config)
    # The Ignition inside Butane does not know what 3.7 adds to 3.6.
    yield from check(config, min(edition.spec, (3, 6)))
