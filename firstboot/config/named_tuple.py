"""``NamedTuple``, as :mod:`typing` has it, for a third of the instructions.

A first boot makes sixty such classes, and each took a million instructions: typing compiles the annotation of every
field to see whether it is a type. Here type checkers do that, beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple

else:
    from collections import namedtuple

    NOT_COPIED = {"__module__", "__qualname__", "__annotations__", "__firstlineno__", "__static_attributes__"}

    class Maker(type):
        """Makes a named tuple of a class statement: fields are what is annotated, and their defaults its values."""

        def __new__(cls, name, _bases, namespace):
            fields = namespace.get("__annotations__", {})
            defaults = [namespace[field] for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            made.__annotations__ = fields
            made.__qualname__ = namespace["__qualname__"]
            for key, value in namespace.items():
                if key not in fields and key not in NOT_COPIED:
                    setattr(made, key, value)
            return made

    class Base:
        """What a class statement names in place of the class that is made."""

        def __mro_entries__(self, _bases):
            return (BASE,)

    BASE = type.__new__(Maker, "NamedTuple", (), {})
    NamedTuple = Base()

__all__ = ["NamedTuple"]
