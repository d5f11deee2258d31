"""A disk as one writes it on the command line."""

from __future__ import annotations

import pytest

from builder.core.errors import InputError
from vm.spec.extra_disk import ExtraDisk, parse_disk

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("512M", ExtraDisk(512 << 20)),
        ("2G:4k", ExtraDisk(2 << 30, block_size=4096)),
        ("1T:nvme,serial=data-1", ExtraDisk(1 << 40, "data-1", "nvme")),
        ("2G:scsi,4k,serial=x", ExtraDisk(2 << 30, "x", "scsi", 4096)),
    ],
)
def test_a_disk_is_read(text: str, disk: ExtraDisk) -> None:
    assert parse_disk(text) == disk


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "size ''"),
        ("0G", "size '0G'"),
        ("2", "size '2'"),
        ("-2G", "size '-2G'"),
        ("2G:floppy", "no option 'floppy'"),
        ("2G:serial=", "no option 'serial='"),
        ("2G:serial=a/b", "no option 'serial=a/b'"),
    ],
)
def test_anything_else_is_refused_with_an_example(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        parse_disk(text)
    assert "for example" in str(caught.value.hint)
