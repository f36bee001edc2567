"""Curves of a sweep's page: means along an axis, drift, and what a change of likeness is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..measures.lines import Line
from .palette import LARGE, WIDE, Theme, dress, handle, new_figure, theme_named
from .statistics import (
    Point,
    Tone,
    above,
    draw_levels,
    level_handles,
    paper_handle,
    paper_look,
    write_unmeasured,
)

Scale = Literal["linear", "doubling", "falling"]


@dataclass(frozen=True)
class Panel:
    """One pair of axes with lines by name.

    Attributes:
        title: above it.
        lines: means by name.
        y: its axis.
        theirs: the paper's points of a line.
        levels: beside the lines.
        is_difference: 0 is a line to judge by.
    """

    title: str
    lines: Mapping[str, Sequence[Point]]
    y: str = ""
    theirs: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    levels: Sequence[Line] = ()
    is_difference: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether there is anything to draw."""
        return any(p.mean is not None for points in (*self.lines.values(), *self.theirs.values()) for p in points)


def curves(
    panels: Sequence[Panel], x: str, tones: Mapping[str, Tone], theme: str, *, shared: bool = True,
    scale: Scale = "linear",
) -> Any:  # fmt: skip
    """Means with their intervals along an axis.

    Args:
        panels: side by side, on one scale where `shared`.
        x: name of the axis.
        tones: of the lines by name.
        theme: a theme's name.
        shared: one scale up for all panels.
        scale: along: "doubling" gives each doubling the same room, "falling" runs from high to low.
    """
    look = theme_named(theme)
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
        _draw(axes, panel, tones, look)
        _ticks(axes, panel.lines.values(), across, scale)
        axes.tick_params(axis="y", labelleft=panel.is_measured and (not shared or not scale_is_shown))
        scale_is_shown |= panel.is_measured
        if not panel.is_measured:
            write_unmeasured(axes, look)
    above(figure, look, _handles(panels, tones, look))
    return figure


def _handles(panels: Sequence[Panel], tones: Mapping[str, Tone], theme: Theme) -> list[Any]:
    """What the legend names: lines where there are several, levels, the paper."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    levels = list(dict.fromkeys(level for panel in panels for level in panel.levels))
    handles = [handle(name, **tones[name].look(theme)) for name in names] + level_handles(levels, theme)
    handles += [paper_handle(theme)] if any(any(panel.theirs.values()) for panel in panels) else []
    return handles if len(handles) > 1 else []


def _draw(axes: Any, panel: Panel, tones: Mapping[str, Tone], theme: Theme) -> None:
    draw_levels(axes, panel.levels, theme)
    if panel.is_difference:
        axes.axhline(0, color=theme.ink, lw=1)
    for name, points in panel.lines.items():
        line = tones[name].look(theme)
        known = [point for point in points if point.mean is not None]
        sure = [point for point in known if point.low is not None]
        low, high = [p.low for p in sure], [p.high for p in sure]
        axes.fill_between([p.x for p in sure], low, high, color=line["color"], alpha=0.13, lw=0)
        axes.plot([p.x for p in known], [p.mean for p in known], **line)
        theirs = panel.theirs.get(name, ())
        axes.plot([p.x for p in theirs], [p.mean for p in theirs], **paper_look(theme, line["color"]))


def _ticks(axes: Any, lines: Iterable[Sequence[Point]], across: int, scale: Scale) -> None:
    """Ticks where there are points, labels where they do not touch with so many panels in a row."""
    ticks = sorted({point.x for points in lines for point in points})
    if scale == "falling":
        axes.invert_xaxis()
        return
    doubling = scale == "doubling" and bool(ticks) and ticks[0] > 0
    if doubling:
        axes.set_xscale("log", base=2)
    place = math.log2 if doubling else float
    every = [tick for tick in ticks if len(ticks) <= 12 or tick == ticks[0] or tick % 4 == 0]
    apart = (place(max(every)) - place(min(every))) * (0.034, 0.05, 0.085)[across - 1] if every else 0
    labelled: list[float] = []
    for tick in every:
        if not labelled or place(tick) - place(labelled[-1]) >= apart:
            labelled.append(tick)
    axes.set_xticks(labelled, [f"{tick:g}" for tick in labelled])
    axes.set_xticks([tick for tick in ticks if tick not in labelled], [], minor=True)
    axes.tick_params(which="minor", length=2)


@dataclass(frozen=True)
class DriftBar:
    """A fixed contrast, the same from a peak that others chose, and how high noise alone makes a peak lie."""

    fixed: Point
    crossed: Point
    by_noise: float | None
    paper: float | None = None


def drifts(
    groups: Sequence[str], bars: Mapping[str, Sequence[DriftBar | None]], tones: Mapping[str, Tone], label: str,
    theme: str,
) -> Any:  # fmt: skip
    """Bars of the fixed contrasts with intervals, groups along the axis, a colour for each name."""
    look = theme_named(theme)
    figure = new_figure(min(WIDE, max(6.0, 0.72 * len(groups) * (len(bars) + 1) + 1.6)), 3.9, look)
    axes = dress(figure.add_subplot(), look, y=label, grid="y")
    width = 0.8 / max(len(bars), 1)
    for order, (name, own) in enumerate(bars.items()):
        for group, bar in enumerate(own):
            if bar is not None:
                tone = tones[name if name in tones else groups[group]]
                _bar(axes, bar, group - 0.4 + width * (order + 0.5), width, tone.colour(look), look)
    axes.axhline(0, color=look.ink, lw=1)
    axes.set_xticks(range(len(groups)), groups, color=look.ink, fontsize=LARGE, parse_math=False)
    axes.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    known = [bar for own in bars.values() for bar in own if bar is not None]
    if not known:
        write_unmeasured(axes, look)
    above(figure, look, _drift_handles(list(bars), known, tones, look))
    return figure


def _bar(axes: Any, bar: DriftBar, at: float, width: float, colour: str, theme: Theme) -> None:
    if bar.by_noise is not None:
        axes.fill_between([at - width * 0.48, at + width * 0.48], 0, bar.by_noise, color=theme.grid, lw=0, zorder=0.5)
    left, right = at - width * 0.16, at + width * 0.24
    if bar.fixed.mean is not None:
        axes.bar([left], [bar.fixed.mean], width * 0.44, color=colour)
    if bar.crossed.mean is not None:
        axes.plot([right], [bar.crossed.mean], "s", mfc=theme.paper, mec=colour, ms=6, mew=1.6)
    for spot, point in ((left, bar.fixed), (right, bar.crossed)):
        if point.low is not None:
            axes.plot([spot] * 2, [point.low, point.high], color=theme.ink, lw=1.4, zorder=4)
    if bar.paper is not None:
        axes.plot([left], [bar.paper], **paper_look(theme, theme.ink))


def _drift_handles(names: Sequence[str], bars: Sequence[DriftBar], tones: Mapping[str, Tone], theme: Theme) -> Any:
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(fc=tones[name].colour(theme), label=name) for name in names if len(names) > 1]
    handles.append(handle("from a peak chosen on other people", ls="", marker="s", mfc=theme.paper, mec=theme.ink))
    if any(bar.by_noise is not None for bar in bars):
        handles.append(Patch(fc=theme.grid, label="noise alone stays below this in 95 of 100 cases"))
    return handles + ([paper_handle(theme)] if any(bar.paper is not None for bar in bars) else [])


def claims_strip(rows: Sequence[tuple[Point, float | None, int | None]], theme: str) -> Any:
    """What was found of several claims, small and without words: an interval a row beside 0.

    Args:
        rows: the difference found, the paper's figure, and the number of a curve's colour; None is quiet.
        theme: a theme's name.
    """
    look = theme_named(theme)
    figure = new_figure(3.3, 0.5 + 0.24 * max(len(rows), 1), look)
    figure.patch.set_alpha(0)
    axes = dress(figure.add_subplot(), look, grid="x", size=8)
    axes.set_facecolor("none")
    axes.axvline(0, color=look.ink, lw=1)
    for row, (point, paper, colour) in enumerate(rows):
        drawn = look.quiet if colour is None else look.curve(colour)
        if point.low is not None:
            axes.plot([point.low, point.high], [row] * 2, color=drawn, lw=2.2, solid_capstyle="round")
        if point.mean is not None:
            axes.plot([point.mean], [row], "o", color=drawn, ms=5)
        if paper is not None:
            axes.plot([paper], [row], **{**paper_look(look), "ms": 5, "mew": 1.1})
    axes.set_yticks([])
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=5)
    return figure
