"""A build whose Python sees another time, another order of directories and another number of processors.

Usage: python -P -m builder.verify.perturbed SPEC.json

The patches are made before anything of build-os is imported, so that ``from datetime import datetime`` gets ours.
Programs of the tools tree see the other time through libfaketime, which ld.so.preload(5) of that tree loads. ldconfig
is linked statically and keeps the true time.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def turn_clock(days: int) -> None:
    """Everything that asks for the present is told ``days`` later. Times of files stay as they are."""
    offset = days * 86400
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + offset
    time.time_ns = lambda: now_ns() + offset * 10**9
    for name in ("gmtime", "localtime", "ctime"):
        setattr(time, name, _later(getattr(time, name)))
    for name in ("strftime", "asctime"):
        setattr(time, name, _later_struct(getattr(time, name)))

    class Meta(type):
        """What C code makes is of the real types, and must pass for ours."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, cls.__mro__[1])

    class Datetime(datetime.datetime, metaclass=Meta):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(time.time())

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    class Date(datetime.date, metaclass=Meta):
        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(time.time())

    datetime.datetime, datetime.date = Datetime, Date  # type: ignore[misc]


def _later(function: Callable[[float], Any]) -> Callable[..., Any]:
    return lambda when=None: function(time.time() if when is None else when)


def _later_struct(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments, *([] if _has_time(arguments) else [time.localtime()]))


def _has_time(arguments: tuple[Any, ...]) -> bool:
    return any(not isinstance(argument, str) for argument in arguments)


class Shuffled:
    """``os.scandir`` in another order."""

    def __init__(self, entries: Any, order: random.Random) -> None:
        with entries:
            shuffled = list(entries)
        order.shuffle(shuffled)
        self._entries: Iterator[Any] = iter(shuffled)

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Shuffled:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """The directory was read to its end and closed already."""


def shuffle_directories(seed: int) -> None:
    """No file system promises an order, and most have one that hides who relies on it."""
    order = random.Random(seed)
    scandir, listdir = os.scandir, os.listdir

    def shuffled(path: Any = ".") -> list[Any]:
        names: list[Any] = listdir(path)
        order.shuffle(names)
        return names

    os.scandir = lambda path=".": Shuffled(scandir(path), order)  # type: ignore[assignment]
    os.listdir = shuffled


def count_processors(count: int) -> None:
    """As many jobs at once as a machine with so many processors would start."""
    for name in ("cpu_count", "process_cpu_count"):  # the second since Python 3.13
        if hasattr(os, name):
            setattr(os, name, lambda: count)


def main(path: str) -> None:
    """Patch, then build."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib must not be imported yet
        spec = json.load(file)
    if spec["days"]:
        turn_clock(spec["days"])
        shuffle_directories(spec["seed"])
        count_processors(spec["jobs"])
    from builder.verify.child import build  # noqa: PLC0415 - not before the patches

    build(spec)


if __name__ == "__main__":
    main(sys.argv[1])
