"""From what the user wrote to clean data: one walk over data and models together.

The walk knows the dialects (Ignition's case-insensitive JSON, Butane's YAML), finds unknown settings,
settings that are newer than the document's version, and empty sections, and writes clean data in Ignition's
own spelling. :mod:`.building` makes typed parts of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from firstboot.config.explain import describe_kind, find_suggestion
from firstboot.config.fields import Field, list_fields
from firstboot.config.model import Model
from firstboot.config.models import OWN, Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Located, Path, Problem

T = TypeVar("T")


class SugarUse(NamedTuple):
    """One use of sugar.

    Attributes:
        walk: where problems and origins go.
        siblings: the mapping it stands in, as written.
        key: the setting.
        path: where it is.
        result: the clean data that the mapping becomes, to be added to.
        out: where that is.
    """

    walk: Walk
    siblings: dict[str, Any]
    key: str
    path: Path
    result: dict[str, Any]
    out: Path

    @property
    def value(self) -> Any:
        """What the user wrote."""
        return self.siblings[self.key]

    def get_text(self) -> str | None:
        """What the user wrote, as the text of a setting that wants text; complains if it is none."""
        value = self.walk.dialect.scalar(_TEXT, self.value, self.path)
        if isinstance(value, str):
            return value
        self.refuse("expected text", "begin a longer one with |")
        return None

    def refuse(self, message: str, hint: str | None = None, *, on_key: bool = False) -> None:
        """Complain about it."""
        self.walk.problems.append(Problem(self.path, message, hint, on_key=on_key))


Sugar = Callable[[SugarUse], None]
_TEXT = Field("", "", "scalar", str, (3, 0))


class Dialect(NamedTuple):
    """How a front end reads settings.

    Attributes:
        version: the spec version the document is written for; newer settings are unknown to it.
        spelling: which of a field's two names the document uses.
        fold_case: accept any mixture of upper and lower case, with a warning.
        strict: an unknown setting is an error, not a warning.
        scalar: adapts a scalar to what its field wants, given the field, the value and its path.
        own: what no version of Ignition has is known as well.
        merge_keys: ``<<`` brings in the settings of other mappings, as YAML 1.1 has it.
        sugar: settings that are no fields: by name of the model and setting, a function that fills the output.
        extra: settings that are no fields and are dealt with after the walk: by name of the model and setting,
            the field they would be.
    """

    version: tuple[int, int]
    spelling: Literal["name", "alias"]
    fold_case: bool = False
    own: bool = False
    strict: bool = False
    scalar: Callable[[Field, Any, Path], Any] = lambda _field, value, _path: value
    merge_keys: bool = False
    sugar: Mapping[str, Mapping[str, Sugar]] = MappingProxyType({})
    extra: Mapping[str, Mapping[str, Field]] = MappingProxyType({})


class Walk:
    """One document being read.

    Attributes:
        problems: at paths of the document.
        origins: path in the result -> path in the document.
        additions: nodes that sugar made: the list of ``storage`` for it, the node, the sugar's path.
        extras: clean data of the dialect's extra settings, by where they would be in the result.
    """

    def __init__(self, located: Located, dialect: Dialect) -> None:
        self.located = located
        self.dialect = dialect
        self.problems: list[Problem] = []
        self.origins: dict[Path, Path] = {(): ()}
        self.additions: list[tuple[str, dict[str, Any], Path]] = []
        self.extras: dict[Path, Any] = {}

    def clean_document(self) -> Any:
        """Clean data for the whole document."""
        data = self.clean_part(Config, self.located.data, (), ())
        for name, node, path in self.additions:
            storage = data.setdefault("storage", {})
            nodes = storage.setdefault(name, []) if isinstance(storage, dict) else None
            if isinstance(nodes, list):  # if not, that is what the user will hear about
                self.origins[("storage", name, len(nodes))] = path
                nodes.append(node)
        return data

    def locate(self, path: Path) -> Path:
        """The path in the document that a path of the result, or of the extras, comes from."""
        length = next(length for length in range(len(path), -1, -1) if path[:length] in self.origins)
        return (*self.origins[path[:length]], *path[length:])

    def clean_part(self, model: type[Model], data: Any, here: Path, out: Path, *, quiet: bool = False) -> Any:
        """Clean data for ``model``; what is not a mapping is passed on for :mod:`.building` to refuse."""
        if not isinstance(data, dict):
            return data
        result: dict[str, Any] = {}
        sugar = get_for_class(self.dialect.sugar, model)
        use: list[SugarUse] = []
        settings = dict(self._settings(data, here, quiet=quiet))
        values = {key: value for key, (value, _) in settings.items()}
        for key, (value, path) in settings.items():
            if key in sugar:
                use.append(SugarUse(self, values, key, path, result, out))
            else:
                self._setting(model, key, value, path, out, result, quiet=quiet)
        # Last, because it looks at what its siblings have become.
        for use_of_key in use:
            if use_of_key.value is not None:
                sugar[use_of_key.key](use_of_key)
        return result

    def _settings(self, data: dict[str, Any], here: Path, *, quiet: bool) -> Iterator[tuple[str, tuple[Any, Path]]]:
        """The settings of a mapping, and where each is written; those that ``<<`` brings in come first."""
        for key, value in data.items():
            if key == "<<" and self.dialect.merge_keys:
                if not quiet:
                    self._complain((*here, key), "this is not part of the language, but its settings are used")
                for inner, at in _merged(value, (*here, key)):
                    if isinstance(inner, dict):
                        yield from self._settings(inner, at, quiet=True)
                    else:
                        message = f"'<<' brings in a mapping, or a list of mappings; this is {describe_kind(inner)}"
                        self.problems.append(Problem(at, message))
        for key, value in data.items():
            if key != "<<" or not self.dialect.merge_keys:
                yield key, (value, (*here, key))

    def _setting(
        self, model: type[Model], key: str, value: Any, path: Path, out: Path, result: dict[str, Any], *, quiet: bool
    ) -> None:
        extra = get_for_class(self.dialect.extra, model).get(key)
        field = extra or self._find(model, key)
        too_new = field is not None and field.since > self.dialect.version
        if field is None or (too_new and not (self.dialect.own and field.since == OWN.version)):
            if not quiet:
                self._complain(path, *self._why_unknown(model, key, field))
            return
        written = getattr(field, self.dialect.spelling) == key
        if not written and not quiet:
            self._complain(path, f"this setting is spelled '{field.alias}'")
        hush = quiet or not written  # one remark is enough for all that is below
        out_path = (*out, field.alias)
        self.origins[out_path] = path
        clean = self._field(field, value, path, out_path, quiet=hush)
        if clean is None:
            return
        if extra is not None:
            self.extras[out_path] = clean
            return
        before = result.get(field.alias)
        result[field.alias] = _again(before, clean) if before is not None else clean

    def _find(self, model: type[Model], key: str) -> Field | None:
        fields = list_fields(model)
        if self.dialect.spelling == "name":
            return fields.get(key)
        for field in fields.values():
            if field.alias == key:
                return field
        if self.dialect.fold_case:
            # As Go's encoding/json does.
            for field in fields.values():
                if field.alias.casefold() == key.casefold():
                    return field
        return None

    def _why_unknown(self, model: type[Model], key: str, newer: Field | None) -> tuple[str, str | None]:
        message = "unknown setting" if self.dialect.strict else "unknown setting, ignored"
        if newer is not None and newer.since != OWN.version:
            major, minor = newer.since
            return message, f"it came with Ignition {major}.{minor}.0; raise the version at the top"
        known = [
            getattr(field, self.dialect.spelling)
            for field in list_fields(model).values()
            if self.dialect.own or field.since != OWN.version
        ]
        use = (*get_for_class(self.dialect.sugar, model), *get_for_class(self.dialect.extra, model))
        return message, find_suggestion(key, [*known, *use])

    def _complain(self, path: Path, message: str, hint: str | None = None) -> None:
        severity: Literal["error", "warning"] = "error" if self.dialect.strict else "warning"
        self.problems.append(Problem(path, message, hint, severity, on_key=True))

    def _field(self, field: Field, value: Any, here: Path, out: Path, *, quiet: bool) -> Any:
        if value is None:
            if field.kind == "model":
                self._empty(here)
            return None
        match field.kind:
            case "model":
                return self.clean_part(field.model, value, here, out, quiet=quiet)
            case "scalar":
                return self.dialect.scalar(field, value, here)
            case "map":
                return self._map(value, here, out)
            case "models" | "scalars":
                if not isinstance(value, list):
                    return value
                return [
                    self._element(field, item, (*here, index), (*out, index), quiet=quiet)
                    for index, item in enumerate(value)
                ]

    def _element(self, field: Field, value: Any, here: Path, out: Path, *, quiet: bool) -> Any:
        self.origins[out] = here
        if field.kind == "scalars":
            # An element cannot be unset: as in Go, nothing is the empty text.
            return "" if value is None else self.dialect.scalar(field, value, here)
        if value is None:
            self._empty(here)
            return {}
        return self.clean_part(field.model, value, here, out, quiet=quiet)

    def _map(self, value: Any, here: Path, out: Path) -> Any:
        """Names with scalars, all of which become text: as written, without quotes."""
        if not isinstance(value, dict):
            return value
        for key in value:
            self.origins[(*out, key)] = (*here, key)
        return {key: _text_of(item, self.located.plain.get((*here, key))) for key, item in value.items()}

    def _empty(self, here: Path) -> None:
        self.problems.append(Problem(here, "this is empty", None, "warning", on_key=True))


def _text_of(value: Any, written: str | None) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return written or str(value)
    return "" if value is None else value


def _again(before: Any, after: Any) -> Any:
    """A setting written twice in different case: objects are merged, else the last counts."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {**before, **after}
    return after


def _merged(value: Any, here: Path) -> Iterator[tuple[Any, Path]]:
    """What a ``<<`` names, one thing or those of a list, the most important last. They ought to be mappings."""
    if isinstance(value, list):
        for index in reversed(range(len(value))):
            yield value[index], (*here, index)
    else:
        yield value, here


def get_for_class(table: Mapping[str, Mapping[str, T]], model: type[Model]) -> Mapping[str, T]:
    """The entry for a model or the nearest class it derives from."""
    return next((table[parent.__name__] for parent in model.__mro__ if parent.__name__ in table), {})
