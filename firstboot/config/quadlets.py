"""What podman makes units of when a machine starts (podman-systemd.unit(5))."""

from __future__ import annotations

from collections.abc import Iterator

DIRECTORIES = ("/etc/containers/systemd/", "/usr/share/containers/systemd/")
_ENDS = {"container": "", "kube": "", "pod": "-pod", "volume": "-volume", "network": "-network"}
_ENDS |= {"image": "-image", "build": "-build"}


def find_unit_name(path: str) -> str | None:
    """The name of the unit that is made of a file; ``None`` if none is."""
    stem, _, kind = path.rpartition("/")[2].rpartition(".")
    return f"{stem}{_ENDS[kind]}.service" if stem and kind in _ENDS else None


def list_possible_files(unit: str) -> Iterator[str]:
    """The paths of files that a unit could be made of."""
    stem, _, kind = unit.rpartition(".")
    for name, end in _ENDS.items():
        if kind == "service" and stem.endswith(end) and stem != end:
            yield from (f"{directory}{stem.removesuffix(end)}.{name}" for directory in DIRECTORIES)
