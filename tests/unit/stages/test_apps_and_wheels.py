"""``build-os check`` and apps that run in an environment: what no locked wheel has is said before a build."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import InputError
from builder.core.store import Store
from builder.debian.lock import LockedWheel
from builder.definition.app_models import App
from builder.definition.resolved_app import ResolvedApp
from builder.stages.app_wheels import require_entry_points
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.unit


def make_app(**settings: Any) -> ResolvedApp:
    model = App.model_validate_json(json.dumps({"name": "shop", "python": "web", **settings}))
    return ResolvedApp("shop", model, {"own/job.py": Path("x")}, model.entrypoint, (), ())


@pytest.fixture
def wheel(tmp_path: Path, store: Store) -> LockedWheel:
    """A wheel with a module and a script, in the store."""
    path = make_wheel(
        tmp_path, files={"shop/web.py": ""}, entry_points="[console_scripts]\nshop-serve = shop.web:main\n"
    )
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    blob = store.locate_blob(sha256)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    return LockedWheel("image", "web", "shop", "1.0", path.name, sha256, len(data))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"entrypoint": "shop-serve"}, None),
        ({"entrypoint": "shop-sreve"}, "no wheel of 'web' has a script 'shop-sreve' (did you mean 'shop-serve'?)"),
        ({"entrypoint": "shop.web:main"}, None),
        (
            {"entrypoint": "shop.wbe:main"},
            "no wheel of 'web' has a module 'shop.wbe', nor has the app's directory",
        ),
        ({"module": "own.job"}, None),
        ({"module": "http.server"}, None),
        ({"module": "flask"}, "no wheel of 'web' has a module 'flask', nor has the app's directory"),
        ({"module": "flask", "python": "other"}, None),
    ],
)
def test_what_no_wheel_has_is_named(
    store: Store, wheel: LockedWheel, settings: dict[str, str], problem: str | None
) -> None:
    app = make_app(**settings)
    if problem is None:
        require_entry_points([app], [wheel], store)
        return
    with pytest.raises(InputError) as raised:
        require_entry_points([app], [wheel], store)
    assert raised.value.names == {next(iter(settings.values())): problem}


def test_nothing_is_said_before_the_wheels_are_there(store: Store, wheel: LockedWheel) -> None:
    store.locate_blob(wheel.sha256).unlink()
    require_entry_points([make_app(module="flask")], [wheel], store)
