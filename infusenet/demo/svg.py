"""Charts as SVG text for the demo's page, whose style sheet gives them their colours in light, in dark and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

MISSING = "–"


@dataclass(frozen=True)
class Row:
    """One row of dots: a label, a colour class of the style sheet, and values.

    `span` is a mean with the deviation around it, drawn as a bar and a band of two deviations: for values that are
    known by these alone, or beside the dots.
    """

    label: str
    colour: str
    values: Sequence[float]
    span: tuple[float, float | None] | None = None


@dataclass(frozen=True)
class Run:
    """One sampling run: the noise level at which each prediction was made, and its similarity, None where undefined."""

    label: str
    colour: str
    sigmas: Sequence[float]
    similarities: Sequence[float | None]


def mean(values: Sequence[float]) -> float | None:
    """The mean, None of nothing."""
    return sum(values) / len(values) if values else None


def number(value: float | None, digits: int = 2) -> str:
    """A figure with a true minus sign, a dash where there is none; nothing is ever written as minus zero."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def strip_chart(rows: Sequence[Row], lines: Sequence[tuple[float, str]] = ()) -> str:
    """Every value as a dot, a row for each kind of picture, the mean as a bar and as a figure at the right.

    Args:
        rows: from top to bottom.
        lines: values with names, drawn through all rows.
    """
    width, left, right, pitch, top = 760, 226, 64, 44, 26 if lines else 8
    spans = [edge for row in rows for edge in _edges(row.span)]
    low, high = _bounds([value for row in rows for value in row.values] + spans + [value for value, _ in lines], 0.2)
    bottom = top + pitch * len(rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    parts = []
    for tick in _ticks(low, high, 0.2):
        parts += [_line(_grid(tick), x(tick), top, x(tick), bottom), _text(x(tick), bottom + 18, number(tick, 1))]
    for value, name in lines:
        parts += [_line("baseline", x(value), top, x(value), bottom), _text(x(value), top - 10, name)]
    for index, row in enumerate(rows):
        middle = top + pitch * (index + 0.5)
        parts.append(_text(left - 16, middle + 4, row.label, f"label {row.colour}", "end"))
        edges = [x(edge) for edge in _edges(row.span)]
        if edges:
            parts.append(_band(row.colour, edges[0], edges[1], middle - 13, 26))
        for place, value in enumerate(row.values):
            spread = (place * 7 % 13 - 6) * 1.3  # so that equal values do not hide each other
            parts.append(_dot(f"dot {row.colour}", x(value), middle + spread, 3.2, f"{row.label}: {number(value, 3)}"))
        average = mean(row.values) if row.span is None else row.span[0]
        if average is not None:
            parts.append(_line(f"mean {row.colour}", x(average), middle - 15, x(average), middle + 15))
        parts.append(_text(width - 8, middle + 4, number(average), "value", "end"))
    parts.append(_text((left + width - right) / 2, bottom + 40, "similarity to the reference (cosine)", "axis"))
    return _svg(width, bottom + 48, "Similarity to the reference of every picture, by kind", parts)


def _edges(span: tuple[float, float | None] | None) -> list[float]:
    """Two deviations below and above a mean; nothing where there is no deviation."""
    return [] if span is None or span[1] is None else [span[0] - 2 * span[1], span[0] + 2 * span[1]]


def drift_chart(runs: Sequence[Run], stranger: float | None) -> str:
    """Similarity of the denoised prediction against the noise level, one line for each run, its peak marked.

    Args:
        runs: sampling runs.
        stranger: the different-person baseline, drawn as a line.
    """
    width, height, left, right, top, bottom = 760, 304, 56, 124, 14, 252
    known = [value for run in runs for value in run.similarities if value is not None]
    low, high = _bounds([*known, *([] if stranger is None else [stranger])], 0.1)

    def x(sigma: float) -> float:
        return left + (1 - sigma) * (width - left - right)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in _ticks(low, high, 0.1):
        parts += [_line(_grid(tick), left, y(tick), width - right, y(tick))]
        parts += [_text(left - 10, y(tick) + 4, number(tick, 1), "tick", "end")]
    parts += [_text(x(sigma), bottom + 20, number(sigma)) for sigma in (1.0, 0.75, 0.5, 0.25, 0.0)]
    labels = [] if stranger is None else [(y(stranger), "strangers", "other")]
    if stranger is not None:
        parts.append(_line("baseline", left, y(stranger), width - right, y(stranger)))
    for run in runs:
        steps = list(enumerate(zip(run.sigmas, run.similarities, strict=True), 1))
        points = [(step, sigma, value) for step, (sigma, value) in steps if value is not None]
        if not points:
            continue
        path = " ".join(f"{x(sigma):.1f},{y(value):.1f}" for _, sigma, value in points)
        parts.append(f'<polyline class="run {run.colour}" points="{path}"/>')
        peak = max(points, key=lambda point: point[2])
        for point in points:
            step, sigma, value = point
            text = f"{run.label}, step {step} of {len(steps)}, sigma {sigma:.2f}: {number(value, 3)}"
            kind, radius = ("peak", 5.0) if point == peak else ("point", 2.6)
            parts.append(_dot(f"{kind} {run.colour}", x(sigma), y(value), radius, text))
        labels.append((y(points[-1][2]), run.label, run.colour))
    parts += [
        _text(width - right + 10, at + 4, text, f"label {kind}", "start") for at, text, kind in _apart(labels, 17)
    ]
    parts.append(
        _text((left + width - right) / 2, height - 8, "noise level \u03c3: pure noise 1, the picture 0", "axis")
    )
    return _svg(width, height, "Similarity of the denoised prediction at every step", parts)


def _bounds(values: Sequence[float], step: float) -> tuple[float, float]:
    """The axis around values, ending on multiples of `step`, zero always inside."""
    return math.floor(min([0.0, *values]) / step) * step, math.ceil(max([step, *values]) / step) * step


def _ticks(low: float, high: float, step: float) -> list[float]:
    return [round(index * step, 6) for index in range(round(low / step), round(high / step) + 1)]


def _grid(tick: float) -> str:
    return "grid zero" if tick == 0 else "grid"


def _apart(labels: Sequence[tuple[float, str, str]], gap: float) -> list[tuple[float, str, str]]:
    """Labels moved down where they would overlap."""
    placed: list[tuple[float, str, str]] = []
    for at, text, kind in sorted(labels):
        placed.append((max(at, placed[-1][0] + gap) if placed else at, text, kind))
    return placed


def _text(x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _band(kind: str, x1: float, x2: float, y: float, height: float) -> str:
    return f'<rect class="band {kind}" x="{x1:.1f}" y="{y:.1f}" width="{x2 - x1:.1f}" height="{height}" rx="4"/>'


def _dot(kind: str, x: float, y: float, radius: float, text: str) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{escape(text)}</title></circle>'


def _svg(width: int, height: float, title: str, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return f'<svg role="img" viewBox="0 0 {width} {height:.0f}"><title>{escape(title)}</title>{body}</svg>'
