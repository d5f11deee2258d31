"""PyYAML's parser. In a process that is a first boot and nothing else: without the rest of the package.

``import yaml`` brings what makes objects of YAML and YAML of objects, with the expressions that are compiled for that.
Configs are read from libyaml's events (:mod:`firstboot.config.yaml_text`), which need none of it; but libyaml's wrapper
asks for the package when it is loaded. So this is the one place that puts modules into ``sys.modules`` that are not
what they are called: the package without its ``__init__``, and in place of seven of its modules the one error class
that the wrapper wants of each.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

# What libyaml's wrapper imports and never uses here, and the error that it wants of each.
_ERRORS = {
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}


def leave_out_the_rest() -> None:
    """Call before anything imports yaml, in a process that wants it for configs alone.

    Where the package is of another form, nothing has happened.
    """
    spec = PathFinder.find_spec("yaml")
    if "yaml" in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    package: Any = ModuleType("yaml")
    package.__path__ = spec.submodule_search_locations
    sys.modules["yaml"] = package
    try:
        _fill(package)
    except (ImportError, AttributeError):
        for name in [module for module in sys.modules if module.partition(".")[0] == "yaml"]:
            del sys.modules[name]


def _fill(package: Any) -> None:
    error, events, *_ = (import_module(f"yaml.{name}") for name in ("error", "events", "tokens", "nodes"))
    for name, wanted in _ERRORS.items():
        module: Any = ModuleType(f"yaml.{name}")
        setattr(module, wanted, type(wanted, (error.MarkedYAMLError,), {}))
        sys.modules[module.__name__] = module
        setattr(package, name, module)
    package.reader = sys.modules["yaml.reader"] = _make_reader(error.YAMLError)
    parser = import_module("yaml._yaml").CParser
    package.__dict__.update({name: member for name, member in vars(events).items() if name.endswith("Event")})
    package.MarkedYAMLError = error.MarkedYAMLError
    package.SafeLoader = package.CSafeLoader = parser
    package.parse = _parse


def _make_reader(base: type[Exception]) -> Any:
    """``yaml.reader`` with its error, whose arguments are the original's."""

    class ReaderError(base):  # type: ignore[valid-type, misc]  # a class of the package
        def __init__(self, name: str, position: int, character: Any, encoding: str, reason: str) -> None:
            super().__init__(reason)
            self.name, self.position, self.character = name, position, character
            self.encoding, self.reason = encoding, reason

    module: Any = ModuleType("yaml.reader")
    module.ReaderError = ReaderError
    return module


def _parse(text: str, Loader: Any) -> Any:
    """The package's own ``parse``."""
    loader = Loader(text)
    while loader.check_event():
        yield loader.get_event()
