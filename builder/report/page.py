"""The page around the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from builder.core.console import format_seconds, format_size
from builder.core.spans import Span
from builder.report.sizes import Sizes, format_sizes
from builder.report.timeline import draw_timeline
from builder.report.treemap import draw_legend, draw_treemap
from builder.tree.tree import Tree

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; width: 1100px; color: #1d2733; background: #fff; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } p { margin: .3rem 0; }
table { border-collapse: collapse; } td, th { padding: .1rem 1rem .1rem 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } .quiet { color: #66717e; }
svg { display: block; font: 12px system-ui, sans-serif; }
.grid { stroke: #e4e8ed; } .tick { fill: #66717e; text-anchor: middle; font-size: 11px; }
.name { fill: #1d2733; } .name.phase { font-weight: 600; } .name.program { fill: #a85b16; }
.took { fill: #66717e; font-size: 11px; }
rect.phase { fill: #2f6690; } rect.step { fill: #81b1d5; } rect.program { fill: #e39b52; }
rect.failed { fill: #c2362f; } .name.failed { fill: #c2362f; }
rect.package { fill: #2b333d; stroke: #fff; } .head { fill: #fff; font-size: 11px; }
rect.file { stroke: #2b333d; stroke-width: .4; } .leaf { fill: #16202b; font-size: 10px; pointer-events: none; }
.kernel-modules { fill: #e39b52; background: #e39b52; } .firmware { fill: #d1c05a; background: #d1c05a; }
.python { fill: #7fb77e; background: #7fb77e; } .libraries { fill: #81b1d5; background: #81b1d5; }
.programs { fill: #b59ad6; background: #b59ad6; } .data { fill: #d99aa5; background: #d99aa5; }
.other { fill: #b8c0c8; background: #b8c0c8; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 .8em; border-radius: 2px; }
"""


@dataclass(frozen=True)
class Facts:
    """What the page says in words.

    Attributes:
        wall, cpu: seconds; ``cpu`` of this process and all that it ran.
        processors: how many there are.
        reused: names of the stages that did not run.
        artifacts: (file, bytes, SHA-256).
    """

    title: str
    wall: float
    cpu: float
    processors: int
    reused: tuple[str, ...]
    artifacts: tuple[tuple[str, int, str], ...]


def make_picture(spans: Sequence[Span]) -> str:
    """The timeline alone, as an SVG that needs nothing beside it; there must be spans."""
    head, _, rest = draw_timeline(spans).partition(">")
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg">\n<style>{STYLE}</style>\n{ground}{rest}\n'


def make_size_page(title: str, sizes: Sizes, before: Sizes | None, tree: Tree) -> str:
    """What takes room, as one HTML file: the map, and the numbers of ``build-os size``."""
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{format_size(sizes.total)} of files in {len(tree)} entries, before compression. {draw_legend()}</p>",
        draw_treemap(tree),
        f"<pre>{escape(chr(10).join(format_sizes(sizes, before)))}</pre>",
    ]
    return wrap_page(title, body)


def make_page(facts: Facts, spans: Sequence[Span], tree: Tree | None) -> str:
    """The report as one HTML file; without a tree there is no treemap."""
    busy = facts.cpu / facts.wall if facts.wall else 0.0
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{format_size(size)}</td><td><code>{sha256}</code></td></tr>'
        for name, size, sha256 in facts.artifacts
    )
    reused = f"<p>Reused: {escape(', '.join(facts.reused))}.</p>" if facts.reused else ""
    body = [
        f"<h1>{escape(facts.title)}</h1>",
        f"<p>{format_seconds(facts.wall)}, {facts.cpu:.1f} CPU seconds: "
        f"{busy:.1f} of {facts.processors} processors busy.</p>",
        reused,
        f"<table>{rows}</table>",
        "<h2>When</h2>",
        draw_timeline(spans) or "<p>Nothing had to be done.</p>",
    ]
    if tree is not None:
        body += [
            "<h2>What takes room</h2>",
            f"<p>{format_size(tree.count_bytes())} in {len(tree)} entries, before compression. {draw_legend()}</p>",
            draw_treemap(tree),
        ]
    return wrap_page(facts.title, body)


def wrap_page(title: str, body: Sequence[str]) -> str:
    """A whole page around its parts, in HTML."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"
