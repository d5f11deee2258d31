"""YAML and JSON with line marks, and errors that point: the front door, for host and guest.

A :class:`LocatedError`'s text shows every problem under the user's own line::

    bad.yaml:4:3: unknown setting
       |
     4 |   formt: qcow2
       |   ^^^^^ $.disk.formt
       = did you mean 'format'?
"""

from firstboot.config.explain import describe_kind, find_suggestion
from firstboot.config.json_text import load_json
from firstboot.config.text import (
    Located,
    LocatedError,
    Mark,
    Path,
    Problem,
    decode,
    find_value,
    format_path,
    make_printable,
    render,
)
from firstboot.config.yaml_text import load_yaml

__all__ = [
    "Located",
    "LocatedError",
    "Mark",
    "Path",
    "Problem",
    "decode",
    "describe_kind",
    "find_suggestion",
    "find_value",
    "format_path",
    "load_json",
    "load_yaml",
    "make_printable",
    "render",
]
