"""The addresses of metadata services: no redirect leads to one of them."""

from __future__ import annotations

import pytest

from firstboot.fetch.errors import FetchError
from firstboot.fetch.targets import follow_redirect, parse_url
from firstboot.platform_index import load_index

pytestmark = pytest.mark.unit

SERVICES = load_index().addresses


@pytest.mark.parametrize("address", SERVICES)
def test_no_redirect_leads_to_one(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(FetchError, match="metadata service"):
        follow_redirect(parse_url("https://example.org/"), f"https://{host}/latest/", guarded=True)


@pytest.mark.parametrize("host", ["[::ffff:168.63.129.16]", "[FD20:CE::254]", "[fd20:ce:0::254]", "[fd00:42:0:0::42]"])
def test_no_other_spelling_of_one_does(host: str) -> None:
    with pytest.raises(FetchError, match="metadata service"):
        follow_redirect(parse_url("https://example.org/"), f"https://{host}/", guarded=True)


def test_neighbours_are_not_kept_from_anybody() -> None:
    assert (
        follow_redirect(parse_url("https://example.org/"), "https://168.63.129.17/", guarded=True).host
        == "168.63.129.17"
    )
