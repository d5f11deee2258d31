"""A machine's own settings of an app, over those of the image: ``python3 -m firstboot.app_settings NAME``.

Started by ``app-settings@NAME.service`` where a first-boot config set some. The two are merged at each boot, so that a
new version of the image brings its new settings, and the machine keeps its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from firstboot.config import toml_text
else:
    toml_text = import_lazily("firstboot.config.toml_text")

MANIFEST = Path("usr/lib/build-os/apps.json")
OWN = Path("etc/apps")
MERGED = Path("run/app-settings")


def merge(below: Any, above: Any) -> Any:
    """Tables are merged key by key; of anything else the upper one counts."""
    if isinstance(below, dict) and isinstance(above, dict):
        keys = dict.fromkeys((*below, *above))
        return {
            key: merge(below[key], above[key]) if key in below and key in above else above.get(key, below.get(key))
            for key in keys
        }
    return above


def write_settings(root: Path, name: str) -> Path:
    """Write what the app will find where the image has its settings.

    Raises:
        OSError, ValueError, KeyError: the image has no such app with settings, or its files are not as they should be.
    """
    app = json.loads((root / MANIFEST).read_text(encoding="utf-8"))[name]
    own = json.loads((root / OWN / name / "settings.json").read_text(encoding="utf-8"))
    merged = merge(app["settings"], own)
    path = root / MERGED / name / Path(app["settings_file"]).name
    if path.suffix == ".toml":
        text = toml_text.format_toml(merged)
    else:
        text = json.dumps(merged, indent=2, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)
    return path


if __name__ == "__main__":
    write_settings(Path("/"), sys.argv[1])
