"""A config and those it names, as one: ``ignition.config.merge`` and ``replace``, written inside it or fetched."""

from __future__ import annotations

import base64
from typing import Protocol

from firstboot.config.document import read
from firstboot.config.loaded import Document, LoadedConfig, merge_all
from firstboot.config.models import ConfigSources, Ignition, Reference, Resource
from firstboot.config.origins import Complaint, ConfigError, Origins
from firstboot.config.resource import BadResource, inline_bytes, is_inline
from firstboot.config.text import LocatedError, Path, Problem, decode, render
from firstboot.config.versions import translate

MAX_NESTING = 8  # of configs inside configs
MAX_CONFIGS = 100  # that one config may bring along: two that merge each other must end somewhere
_CONFIG: Path = ("ignition", "config")
_AUTHORITIES: Path = ("ignition", "security", "tls", "certificateAuthorities")


class Remote(Protocol):
    """Whoever fetches what is not written in a config itself."""

    def adapt_to(self, ignition: Ignition) -> Remote:
        """The same with the timeouts, proxies and certificate authorities (``data:`` URLs) of a config."""

    def read(self, resource: Resource, *, lower_case_hash: bool = False) -> bytes:
        """The bytes of a config, decompressed and verified.

        Raises:
            BadResource: they cannot be had, or are not what was promised.
        """

    def read_authorities(self, resource: Resource) -> bytes:
        """A bundle of certificates.

        Raises:
            BadResource: it cannot be had, or is none.
        """

    def describe(self, resource: Resource) -> str:
        """What to call it in messages."""


def render_document(document: Document, remote: Remote | None = None, base: LoadedConfig | None = None) -> LoadedConfig:
    """A document in the newest version's terms, with the configs it names merged or put in its place.

    Args:
        remote: fetches them. Without it, those that would have to be fetched are left out: nobody knows yet
            what they say.
        base: the configs this one will be merged over. Their timeouts, proxies and authorities hold for it too.

    Raises:
        ConfigError: errors of the document, or of one inside it.
    """
    renderer = _Renderer(base)
    loaded = renderer.inline_authorities(_translated(document), None, remote)
    return renderer.resolve_references(loaded, renderer.adapt_remote(remote, loaded), 0)


def _translated(document: Document) -> LoadedConfig:
    complaints = [Complaint(document.located, problem) for problem in document.problems]
    errors = [complaint for complaint in complaints if complaint.problem.severity == "error"]
    if document.config is None or errors:
        raise ConfigError(errors)
    if document.wrap is not None:
        hint = "'build-os config compile' makes a MachineConfig of it, for a cluster"
        problem = Problem(
            ("variant",), f"the variant {document.variant} is not for a machine that boots by itself", hint
        )
        raise ConfigError([Complaint(document.located, problem)])
    return LoadedConfig(translate(document.config, document.version), document.origins, tuple(complaints))


class _Renderer:
    def __init__(self, base: LoadedConfig | None) -> None:
        self.base = base
        self.count = 0

    def adapt_remote(self, remote: Remote | None, loaded: LoadedConfig) -> Remote | None:
        """``remote`` as the config says, which the base configs are under."""
        if remote is None:
            return None
        whole = loaded if self.base is None else merge_all([self.base, loaded])
        return remote.adapt_to(whole.config.ignition)

    def inline_authorities(
        self, loaded: LoadedConfig, above: LoadedConfig | None, remote: Remote | None
    ) -> LoadedConfig:
        """The config with its certificate authorities written in it, so that they are fetched only once."""
        ignition = loaded.config.ignition
        authorities = ignition.security.tls.certificate_authorities
        if remote is None or not authorities:
            return loaded
        none = ignition.security.tls.model_copy(update={"certificate_authorities": ()})
        plain = ignition.model_copy(update={"security": ignition.security.model_copy(update={"tls": none})})
        bare = _with_ignition(loaded, plain)
        fetching = self.adapt_remote(remote, bare if above is None else merge_all([above, bare]))
        assert fetching is not None
        inline = []
        for index, authority in enumerate(authorities):
            try:
                data = fetching.read_authorities(authority)
            except BadResource as error:
                raise make_resource_error(loaded, error, (*_AUTHORITIES, index)) from None
            source = "data:;base64," + base64.b64encode(data).decode()
            inline.append(authority.model_copy(update={"source": source, "compression": None, "http_headers": ()}))
        tls = ignition.security.tls.model_copy(update={"certificate_authorities": tuple(inline)})
        security = ignition.security.model_copy(update={"tls": tls})
        return _with_ignition(loaded, ignition.model_copy(update={"security": security}))

    def resolve_references(self, loaded: LoadedConfig, remote: Remote | None, nesting: int) -> LoadedConfig:
        """``loaded`` with everything it names; ``remote`` is configured for it."""
        sources = loaded.config.ignition.config
        if sources.replace.source:
            # Whatever else the config says is dropped, as the specification wants; its warnings are still true.
            inner = self._referenced(loaded, None, sources.replace, (*_CONFIG, "replace"), remote, nesting)
            return loaded if inner is None else inner._replace(warnings=(*loaded.warnings, *inner.warnings))
        for index, reference in enumerate(sources.merge):
            if reference.source:
                here = (*_CONFIG, "merge", index)
                inner = self._referenced(loaded, loaded, reference, here, remote, nesting)
                if inner is not None:
                    loaded = merge_all([loaded, inner])
                    remote = self.adapt_remote(remote, loaded)
        return _without_sources(loaded)

    def _referenced(
        self,
        loaded: LoadedConfig,
        above: LoadedConfig | None,
        reference: Reference,
        path: Path,
        remote: Remote | None,
        nesting: int,
    ) -> LoadedConfig | None:
        """The config a reference names, rendered; ``None`` if it would have to be fetched and cannot be.

        Args:
            above: what it is merged over, whose settings hold while what it names is fetched.
        """
        source = (*path, "source")
        inline = is_inline(reference)
        if not inline and remote is None:
            return None
        self.count += 1
        if nesting >= MAX_NESTING or self.count > MAX_CONFIGS:
            message = f"configs are nested deeper than {MAX_NESTING}"
            if self.count > MAX_CONFIGS:
                message = f"more than {MAX_CONFIGS} configs name each other"
            raise ConfigError([loaded.make_complaint(Problem(source, message, "does one of them name itself?"))])
        try:
            # Unlike a file's, the hash of a config is compared as text: upper-case digits never match.
            if remote is None or inline:
                data = inline_bytes(reference, lower_case_hash=True)
            else:
                data = remote.read(reference, lower_case_hash=True)
        except BadResource as error:
            raise make_resource_error(loaded, error, path) from None
        name = "the config in this data URL" if remote is None or inline else remote.describe(reference)
        try:
            inner = self.inline_authorities(_translated(read(decode(data, name), name)), above, remote)
            settings = inner if above is None else merge_all([above, inner])
            inner = self.resolve_references(inner, self.adapt_remote(remote, settings), nesting + 1)
        except (LocatedError, ConfigError) as error:
            if not inline:
                raise _as_config_error(error) from None
            first = error.problems[0] if isinstance(error, LocatedError) else error.complaints[0].problem
            located = error.located if isinstance(error, LocatedError) else error.complaints[0].located
            line = render(located, [first]).splitlines()[0]
            raise ConfigError([loaded.make_complaint(Problem(source, line, first.hint))]) from None
        return _at_its_reference(inner, loaded, source, name) if inline else inner


def _at_its_reference(inner: LoadedConfig, loaded: LoadedConfig, source: Path, name: str) -> LoadedConfig:
    """A config whose own text is nobody's file: everything in it is pointed at where it is embedded."""
    document, there = loaded.origins.find(source)
    warnings = tuple(
        Complaint(document, warning.problem._replace(path=there, message=f"{name}: {warning.problem.message}"))
        for warning in inner.warnings
    )
    return LoadedConfig(inner.config, Origins({(): (document, there)}), warnings)


def make_resource_error(loaded: LoadedConfig, error: BadResource, path: Path) -> ConfigError:
    """What is wrong with the resource at ``path``, where the user wrote it."""
    field: Path = ("verification", "hash") if error.field == "hash" else (error.field,)
    return ConfigError([loaded.make_complaint(Problem((*path, *field), str(error), error.hint))])


def _as_config_error(error: LocatedError | ConfigError) -> ConfigError:
    if isinstance(error, ConfigError):
        return error
    return ConfigError(Complaint(error.located, problem) for problem in error.problems)


def _with_ignition(loaded: LoadedConfig, ignition: Ignition) -> LoadedConfig:
    return loaded._replace(config=loaded.config.model_copy(update={"ignition": ignition}))


def _without_sources(loaded: LoadedConfig) -> LoadedConfig:
    """What was merged is no longer to be fetched."""
    sources = ConfigSources()
    return _with_ignition(loaded, loaded.config.ignition.model_copy(update={"config": sources}))
