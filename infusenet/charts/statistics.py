"""The figures of a sweep's page, drawn with matplotlib from plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .palette import DOTS, LARGE, WIDE, Theme, dress, handle, legend, marker, new_figure, png, theme_named

_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """A mean with its interval at a place; None where undefined."""

    x: float
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Panel:
    """One pair of axes with lines by name; `theirs` are the paper's points of a line."""

    title: str
    lines: Mapping[str, Sequence[Point]]
    y: str = ""
    theirs: Mapping[str, Sequence[Point]] = field(default_factory=dict)


def _legend(figure: Any, theme: Theme, handles: Sequence[Any]) -> None:
    """Above all panels, in one or more rows."""
    wide = figure.get_figwidth() * 12.5  # characters that fit in a row, about
    longest = max((len(each.get_label()) for each in handles), default=0) + 6
    columns = max(1, min(len(handles), int(wide // longest)))
    look = {"labelcolor": theme.ink, "loc": "outside upper left", "handlelength": 1.8}
    legend(figure, handles, LARGE - 0.5, ncols=columns, **look)


def _line_look(theme: Theme, number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line with this number."""
    style = _STYLES[number // len(theme.curves) % len(_STYLES)]
    return {"color": theme.curve(number), "marker": marker(number), "ls": style, "ms": 5.5, "lw": 1.9}


def _paper_look(theme: Theme, colour: str = "") -> dict[str, Any]:
    return {"marker": "D", "mfc": "none", "mec": colour or theme.quiet, "ms": 7, "mew": 1.4, "ls": "", "zorder": 5}


def _paper_handle(theme: Theme) -> Any:
    return handle("the paper (FLUX, photos)", **_paper_look(theme))


def forest(names: Sequence[str], points: Sequence[Point], paper: Sequence[float | None], label: str, theme: str) -> Any:
    """A mean and its interval in each row; the paper's figure as a hollow diamond."""
    look = theme_named(theme)
    figure = new_figure(8.2, 1.25 + 0.36 * len(names), look)
    axes = dress(figure.add_subplot(), look, x=label, grid="x")
    for row, (point, theirs) in enumerate(zip(points, paper, strict=True)):
        colour = look.curve(0)
        if point.low is not None:
            axes.plot([point.low, point.high], [row] * 2, color=colour, lw=2.4, solid_capstyle="round")
        if point.mean is not None:
            axes.plot([point.mean], [row], "o", color=colour, ms=7)
        if theirs is not None:
            axes.plot([theirs], [row], **_paper_look(look))
    axes.set_yticks(range(len(names)), names, color=look.ink, fontsize=LARGE, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    handles = [handle("mean and 95 % interval", color=look.curve(0), marker="o", ms=7, lw=2.4)]
    if any(value is not None for value in paper):
        handles.append(_paper_handle(look))
    _legend(figure, look, handles)
    return figure


def paired_dots(
    groups: Sequence[str], methods: Sequence[str], values: Mapping[tuple[str, str], Mapping[Any, float]],
    paper: Mapping[tuple[str, str], float | None], label: str, theme: str,
) -> Any:  # fmt: skip
    """For each group the methods side by side: a dot a picture, a line between a person's own, a bar for the mean."""
    look = theme_named(theme)
    figure = new_figure(min(WIDE, max(6.0, 2.2 * len(groups) + 1.6)), 4.3, look)
    axes = dress(figure.add_subplot(), look, y=label, grid="y")
    spots = {(g, m): i * (len(methods) + 0.9) + j for i, g in enumerate(groups) for j, m in enumerate(methods)}
    for group in groups:
        for left, right in pairwise(methods):
            a, b = values.get((group, left), {}), values.get((group, right), {})
            for key in a.keys() & b.keys():
                axes.plot(
                    [spots[group, left], spots[group, right]], [a[key], b[key]], color=look.quiet, lw=0.6, alpha=0.45
                )
    for number, method in enumerate(methods):
        colour = look.curve(number)
        for group in groups:
            dots, at = list(values.get((group, method), {}).values()), spots[group, method]
            axes.plot([at] * len(dots), dots, marker(number), color=colour, ms=4.5, alpha=0.75, mew=0)
            if dots:
                axes.plot([at - 0.3, at + 0.3], [sum(dots) / len(dots)] * 2, color=colour, lw=3)
            if paper.get((group, method)) is not None:
                axes.plot([at], [paper[group, method]], **_paper_look(look, colour))
    middles = [spots[group, methods[0]] + (len(methods) - 1) / 2 for group in groups]
    axes.set_xticks(middles, groups, color=look.ink, fontsize=LARGE, parse_math=False)
    handles = [handle(method, color=look.curve(i), marker=marker(i), lw=3) for i, method in enumerate(methods)]
    _legend(figure, look, [*handles, *([_paper_handle(look)] if any(v is not None for v in paper.values()) else [])])
    return figure


def people_lines(
    people: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[float | None]]], label: str, theme: str
) -> Any:
    """A column for each person: every method's value as a dot, a line between them, and each method's mean dashed."""
    look = theme_named(theme)
    names = list(dict.fromkeys(name for columns in panels.values() for name in columns))
    figure = new_figure(min(WIDE, max(6.4, 0.3 * len(people) + 1.6)), 1.1 + 2.5 * max(len(panels), 1), look)
    drawn = figure.subplots(max(len(panels), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(drawn, panels.items(), strict=False):
        dress(axes, look, y=label, title=title, grid="y")
        for i in range(len(people)):
            heights = [value for column in columns.values() if (value := column[i]) is not None]
            if len(heights) > 1:
                axes.plot([i] * 2, [min(heights), max(heights)], color=look.quiet, lw=1, alpha=0.6)
        for name, column in columns.items():
            order = names.index(name)
            known = [(i, value) for i, value in enumerate(column) if value is not None]
            colour = look.curve(order)
            if known:
                axes.plot(*zip(*known, strict=True), marker(order), color=colour, ms=5.5, mew=0)
                axes.axhline(sum(value for _, value in known) / len(known), color=colour, lw=1.2, ls="--", alpha=0.8)
    drawn[-1].set_xticks(range(len(people)), people, rotation=60, ha="right", fontsize=LARGE - 1.5, parse_math=False)
    drawn[-1].set_xlim(-0.7, max(len(people), 1) - 0.3)
    _legend(figure, look, [
        handle(name, color=look.curve(i), marker=marker(i), ls="--", lw=1.2)
        for i, name in enumerate(names)
    ])  # fmt: skip
    return figure


def curves(panels: Sequence[Panel], x: str, theme: str, *, shared: bool = True) -> Any:
    """Means with their intervals along an axis; several panels side by side, on one scale where `shared`."""
    look = theme_named(theme)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    across = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    down = max(math.ceil(len(panels) / across), 1)
    figure = new_figure(7.6 if across == 1 else WIDE, 0.6 + (3.6 if across == 1 else 2.9) * down, look)
    drawn = figure.subplots(down, across, sharey=shared, squeeze=False)
    scale_is_shown = False
    for index, axes in enumerate(drawn.flat):
        scale_is_shown &= index % across > 0  # each row shows it once
        if index >= len(panels):
            axes.set_axis_off()
            continue
        panel, left = panels[index], index % across == 0 or not shared
        dress(axes, look, x=x if index + across >= len(panels) else "", y=panel.y if left else "", title=panel.title)
        for name, points in panel.lines.items():
            _curve(axes, look, names.index(name), points, panel.theirs.get(name, ()))
        _ticks(axes, panel.lines.values(), across)
        is_measured = any(
            p.mean is not None for points in (*panel.lines.values(), *panel.theirs.values()) for p in points
        )
        axes.tick_params(axis="y", labelleft=is_measured and (not shared or not scale_is_shown))
        scale_is_shown |= is_measured
        if not is_measured:
            axes.tick_params(axis="y", which="both", left=False)
            middle = {"ha": "center", "va": "center", "color": look.quiet, "fontsize": LARGE}
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, **middle)
    handles = [handle(name, **_line_look(look, i)) for i, name in enumerate(names)]
    if any(theirs for panel in panels for theirs in panel.theirs.values()):
        handles.append(_paper_handle(look))
    _legend(figure, look, handles if len(handles) > 1 else [])
    return figure


def _curve(axes: Any, theme: Theme, number: int, points: Sequence[Point], theirs: Sequence[Point]) -> None:
    line = _line_look(theme, number)
    known = [point for point in points if point.mean is not None]
    sure = [point for point in known if point.low is not None]
    low, high = [p.low for p in sure], [p.high for p in sure]
    axes.fill_between([p.x for p in sure], low, high, color=line["color"], alpha=0.13, lw=0)
    axes.plot([p.x for p in known], [p.mean for p in known], **line)
    if theirs:
        axes.plot([p.x for p in theirs], [p.mean for p in theirs], **_paper_look(theme, line["color"]))


def _ticks(axes: Any, lines: Iterable[Sequence[Point]], across: int) -> None:
    """Ticks where there are points, labels where they do not touch with so many panels in a row."""
    ticks = sorted({point.x for points in lines for point in points})
    every = [tick for tick in ticks if len(ticks) <= 12 or tick == ticks[0] or tick % 4 == 0]
    apart = (max(every, default=0) - min(every, default=0)) * (0.034, 0.05, 0.085)[across - 1]
    labelled: list[float] = []
    for tick in every:
        if not labelled or tick - labelled[-1] >= apart:
            labelled.append(tick)
    axes.set_xticks(labelled, [f"{tick:g}" for tick in labelled])
    axes.set_xticks([tick for tick in ticks if tick not in labelled], minor=True)
    axes.tick_params(which="minor", length=2)


def bars(
    groups: Sequence[str], values: Mapping[str, Sequence[Point]], paper: Mapping[str, Sequence[float | None]],
    label: str, theme: str,
) -> Any:  # fmt: skip
    """Bars with intervals, a colour for each name, groups along the axis; the paper's as hollow diamonds."""
    look = theme_named(theme)
    figure = new_figure(min(WIDE, max(6.0, 0.62 * len(groups) * (len(values) + 1) + 1.6)), 3.7, look)
    axes = dress(figure.add_subplot(), look, y=label, grid="y")
    width = 0.8 / max(len(values), 1)
    for number, (name, points) in enumerate(values.items()):
        colour = look.curve(number)
        at = [group - 0.4 + width * (number + 0.5) for group in range(len(groups))]
        known = [(spot, point) for spot, point in zip(at, points, strict=True) if point.mean is not None]
        axes.bar(
            [spot for spot, _ in known], [point.mean for _, point in known], width * 0.9, color=colour,
            hatch="" if number == 0 else "//", edgecolor=look.paper, lw=0,
        )  # fmt: skip
        for spot, point in known:
            if point.low is not None:
                axes.plot([spot] * 2, [point.low, point.high], color=look.ink, lw=1.4)
        for spot, theirs in zip(at, paper.get(name, ()), strict=False):
            if theirs is not None:
                axes.plot([spot], [theirs], **_paper_look(look, look.ink))
    axes.set_xticks(range(len(groups)), groups, color=look.ink, fontsize=LARGE, parse_math=False)
    axes.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(fc=look.curve(i), hatch="" if i == 0 else "//", ec=look.paper, label=name)
        for i, name in enumerate(values)
    ]
    if any(value is not None for theirs in paper.values() for value in theirs):
        handles.append(_paper_handle(look))
    _legend(figure, look, handles if len(handles) > 1 else [])
    return figure


__all__ = [
    "DOTS",
    "LARGE",
    "WIDE",
    "Panel",
    "Point",
    "bars",
    "curves",
    "dress",
    "forest",
    "paired_dots",
    "people_lines",
    "png",
]
