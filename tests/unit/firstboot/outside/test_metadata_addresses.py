"""The addresses of metadata services: one list for redirects, for the firewall and for the documentation."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from firstboot.fetch.errors import FetchError
from firstboot.fetch.metadata_services import SERVICES
from firstboot.fetch.redirect import follow, parse

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[4]
GUARD = REPOSITORY / "overlays/containers/usr/lib/build-os/metadata-guard.nft"


def addresses(text: str) -> set[str]:
    """Those in a text."""
    found = set()
    for word in re.findall(r"[0-9a-f.:]{6,}", text):
        try:
            found.add(str(ipaddress.ip_address(word)))
        except ValueError:
            continue
    return found


def test_containers_are_kept_from_every_one() -> None:
    elements = re.findall(r"elements = \{([^}]*)\}", GUARD.read_text())
    assert addresses(" ".join(elements)) == SERVICES.keys()


def test_the_documentation_lists_every_one() -> None:
    text = (REPOSITORY / "docs/metadata.md").read_text().partition("## Who may ask")[2]
    listed = {name for row in text.splitlines() if row.startswith("| `") for name in addresses(row)}
    assert listed == SERVICES.keys()


@pytest.mark.parametrize("address", SERVICES)
def test_no_redirect_leads_to_one(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(FetchError, match="metadata service"):
        follow(parse("https://example.org/"), f"https://{host}/latest/", guarded=True)


@pytest.mark.parametrize("host", ["[::ffff:168.63.129.16]", "[FD20:CE::254]", "[fd20:ce:0::254]", "[fd00:42:0:0::42]"])
def test_no_other_spelling_of_one_does(host: str) -> None:
    with pytest.raises(FetchError, match="metadata service"):
        follow(parse("https://example.org/"), f"https://{host}/", guarded=True)


def test_neighbours_are_not_kept_from_anybody() -> None:
    assert follow(parse("https://example.org/"), "https://168.63.129.17/", guarded=True).host == "168.63.129.17"
