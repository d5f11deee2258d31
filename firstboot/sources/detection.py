"""Which platform a machine is on: what the kernel's command line names, else what the firmware or a device shows.

Only platforms that show themselves clearly are recognised; all others are named by ``ignition.platform.id=``, which
images made for them have.
"""

from __future__ import annotations

from firstboot.places import Places
from firstboot.platform_index import load_index

PLATFORM_ARGUMENT = "ignition.platform.id"
UNRECOGNISED = "metal"


def detect_platform(places: Places) -> str:
    """The platform's name: ``ignition.platform.id=`` (the last one counts), else what is recognised, else ``metal``."""
    name = None
    for word in places.read_command_line().split():
        argument, equals, value = word.partition("=")
        if equals and argument == PLATFORM_ARGUMENT:
            name = value
    return _recognise_platform(places) if name is None else name


def _recognise_platform(places: Places) -> str:
    index = load_index()
    contents: dict[str, str] = {}
    for name, beginning, platform in index.firmware:
        if name not in contents:
            contents[name] = _read_firmware(places, name)
        if contents[name].startswith(beginning):
            return platform
    for directory, module, platform in index.devices:
        if not (places.sys / directory).is_dir():
            places.load_module(module)
        if (places.sys / directory).is_dir():
            return platform
    return UNRECOGNISED


def _read_firmware(places: Places, name: str) -> str:
    try:
        return (places.sys / "class/dmi/id" / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
