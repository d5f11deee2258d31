"""When a build did what: a row for each step and each program, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from builder.core.console import format_seconds
from builder.core.spans import Span

WIDTH, LABELS, RIGHT = 1100, 330, 70  # pixels: the picture, the names at its left, room for the last duration
ROW, BAR, TOP = 20, 12, 30
STEPS_OF_GRID = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
MOST_LINES = 12


def sort_spans(spans: Sequence[Span]) -> list[Span]:
    """The spans as they are read from top to bottom: by when they began, what is inside of a step below it."""
    began = {(*span.inside, span.title): span.started for span in spans if not span.is_program}

    def place(span: Span) -> list[tuple[float, str]]:
        names = [*span.inside, span.title]
        return [(began.get(tuple(names[: i + 1]), span.started), name) for i, name in enumerate(names)]

    return sorted(spans, key=place)


def draw_timeline(spans: Sequence[Span]) -> str:
    """An SVG of the spans; empty if there are none."""
    if not spans:
        return ""
    ordered = sort_spans(spans)
    begin, end = min(span.started for span in ordered), max(span.ended for span in ordered)
    scale = (WIDTH - LABELS - RIGHT) / max(end - begin, 0.001)
    height = TOP + ROW * len(ordered) + 6
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">']
    step = next((s for s in STEPS_OF_GRID if (end - begin) / s <= MOST_LINES), STEPS_OF_GRID[-1])
    for index in range(int((end - begin) / step) + 1):
        x = LABELS + index * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{TOP - 14}">{index * step:g} s</text>')
    for index, span in enumerate(ordered):
        parts.extend(_row(span, TOP + ROW * index, LABELS + (span.started - begin) * scale, scale))
    return "\n".join([*parts, "</svg>"])


def _row(span: Span, y: float, x: float, scale: float) -> list[str]:
    width = max(span.seconds * scale, 1.5)
    kind = "program" if span.is_program else "step" if span.depth else "phase"
    kind = kind if span.outcome == "done" else "failed"
    name = PurePath(span.title.split(" ", 1)[0]).name if span.is_program else span.title
    tip = f"<title>{escape(span.title)}: {format_seconds(span.seconds)}</title>"
    middle = y + ROW / 2
    place = f'x="{x:.1f}" y="{middle - BAR / 2}" width="{width:.1f}" height="{BAR}"'
    return [
        f'<text class="name {kind}" x="{8 + 14 * span.depth}" y="{middle + 4}">{escape(name)}{tip}</text>',
        f'<rect class="{kind}" {place} rx="2">{tip}</rect>',
        f'<text class="took" x="{x + width + 5:.1f}" y="{middle + 4}">{format_seconds(span.seconds)}</text>',
    ]


def find_longest(spans: Sequence[Span], count: int = 5) -> str:
    """The programs that took longest, in one line; empty if none ran."""
    programs = sorted((span for span in spans if span.is_program), key=lambda span: -span.seconds)[:count]
    return ", ".join(f"{span.title.split(' ', 1)[0]} {format_seconds(span.seconds)}" for span in programs)
