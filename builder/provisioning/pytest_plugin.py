"""A pytest plugin that :mod:`vm.pytest_plugin` loads: configs of machines are compared with the image before they boot.

It is here because ``vm`` knows images by ``build.json`` alone. Loaded by every pytest run where build-os is installed,
so it imports nothing until it is asked.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


def pytest_build_os_refusal(config_file: Path, build_json: Path) -> str | None:
    """Why a machine of this image would refuse the config, drawn; ``None`` if it would not, or nobody can tell."""
    return _refusal(config_file, config_file.read_bytes(), build_json)


@cache
def _refusal(path: Path, _content: bytes, build_json: Path) -> str | None:
    from builder.core.errors import InputError  # noqa: PLC0415 - see the top
    from builder.provisioning.build_comparison import compare_with_build  # noqa: PLC0415

    try:
        compare_with_build(path, build_json)
    except InputError as error:
        return str(error)
    return None
