"""Our trees beside dpkg's: mmdebstrap runs dpkg and every maintainer script on the same packages."""

from __future__ import annotations

import pytest

from builder.core.store import Store
from tests.oracle.report import compare_set
from tests.oracle.roots import why_not
from tests.oracle.sets import QUICK, SLOW

pytestmark = pytest.mark.image


@pytest.mark.parametrize(
    "names",
    [
        *(pytest.param(names, id=name) for name, names in QUICK.items()),
        *(pytest.param(names, id=name, marks=pytest.mark.slow) for name, names in SLOW.items()),
    ],
)
def test_the_tree_equals_dpkgs_path_by_path(names: tuple[str, ...], store: Store) -> None:
    if reason := why_not():
        pytest.skip(reason)
    report = compare_set(names, store)
    assert [str(difference) for difference in report.unexplained] == []
    assert [entry.paths for entry in report.stale] == []
