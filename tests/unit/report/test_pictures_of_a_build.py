"""The page of ``build-os build --timeline``: what is on it, where, and how large."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.spans import Span
from builder.report.page import Facts, make_page, make_picture
from builder.report.timeline import draw_timeline, find_longest, sort_spans
from builder.report.treemap import Box, draw_treemap, measure_origins, squarify
from builder.tree.node import Slice, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

FACTS = Facts("<demo> 1", 2.0, 3.0, 2, ("packages",), (("demo.qcow2", 180_000_000, "ab" * 32),))
SPANS = [
    Span("mkfs.erofs --quiet out", ("root",), 11.0, 13.0, is_program=True),
    Span("depmod -b x", ("initrd",), 10.5, 10.7, is_program=True),
    Span("initrd", (), 10.0, 11.0),
    Span("root", (), 10.0, 14.0, outcome="failed"),
    Span("packages", (), 4.0, 10.0),
]


def bars(svg: str) -> dict[str, tuple[float, float, float]]:
    """Title -> x, y, width of each bar."""
    return {
        (rect[0].text or "").rpartition(":")[0]: (
            float(rect.get("x", 0)),
            float(rect.get("y", 0)),
            float(rect.get("width", 0)),
        )
        for rect in ElementTree.fromstring(svg).iter("rect")
    }


def test_what_a_step_ran_is_below_the_step_also_when_two_run_beside_each_other() -> None:
    titles = [span.title.split()[0] for span in sort_spans(SPANS)]
    assert titles[0] == "packages"
    assert titles.index("depmod") == titles.index("initrd") + 1
    assert titles.index("mkfs.erofs") == titles.index("root") + 1


def test_bars_are_as_long_as_the_work_took_and_begin_when_it_began() -> None:
    drawn = bars(draw_timeline(SPANS))
    root, packages = drawn["root"], drawn["packages"]
    assert root[2] / packages[2] == pytest.approx(4 / 6, rel=0.01)
    assert root[0] == pytest.approx(packages[0] + packages[2], abs=0.2)
    assert drawn["mkfs.erofs --quiet out"][0] > root[0]


def test_the_longest_programs_are_named() -> None:
    assert find_longest(SPANS) == "mkfs.erofs 2.00 s, depmod 0.20 s"
    assert find_longest([]) == ""


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60))
def test_a_treemap_gives_each_size_its_share_and_nothing_overlaps(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    boxes = squarify(sizes, Box(0, 0, 1000, 600))
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(600_000 * size / sum(sizes), rel=1e-6, abs=1e-6)
        assert box.x >= -1e-3
        assert box.x + box.width <= 1000 + 1e-3
        assert box.y + box.height <= 600 + 1e-3
    for one, other in pairwise(boxes):
        beside = one.x + one.width <= other.x + 1e-3 or one.y + one.height <= other.y + 1e-3
        assert beside or other.x + other.width <= one.x + 1e-3 or other.y + other.height <= one.y + 1e-3


def test_a_file_with_two_names_takes_room_once() -> None:
    tree = Tree()
    node = make_file("", origin="package:a").copy_with(content=Slice("pack", 512, 7))
    tree.put("/usr/bin/one", node)
    tree.put("/usr/bin/two", node)
    tree.put("/etc/b", make_file("four", origin="overlay:b"))
    tree.put("/etc/empty", make_file("", origin="overlay:b"))
    assert measure_origins(tree) == {"package:a": {"/usr/bin/one": 7}, "overlay:b": {"/etc/b": 4}}
    assert "/usr/bin/one: 7 B (package:a)" in draw_treemap(tree)


def test_the_page_needs_nothing_beside_it_and_says_what_was_reused() -> None:
    page = make_page(FACTS, SPANS, Tree())
    assert "src=" not in page
    assert "href=" not in page
    assert "&lt;demo&gt; 1" in page
    assert "2.00 s, 3.0 CPU seconds: 1.5 of 2 processors busy" in page
    assert "Reused: packages." in page
    assert "180.0 MB" in page


def test_the_timeline_alone_is_a_picture_that_brings_its_colours() -> None:
    picture = ElementTree.fromstring(make_picture(SPANS))
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "rect.program" in (picture[0].text or "")
    assert len(picture.findall("{*}rect")) == len(SPANS) + 1


def test_a_build_that_did_nothing_has_a_page_as_well() -> None:
    assert "Nothing had to be done." in make_page(FACTS, [], None)
