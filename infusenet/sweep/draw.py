"""The figures of a sweep's page, drawn with matplotlib from plain numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..plots.theme import Theme, new_figure, theme_named

SIZE = 10.5
MARKERS = "osD^vP"
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """A mean with its interval at a place; None where undefined."""

    x: float
    mean: float | None
    low: float | None
    high: float | None


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor=figure.get_facecolor())
    return content.getvalue()


def _panel(axes: Any, theme: Theme, x: str = "", y: str = "", title: str = "") -> Any:
    axes.set_facecolor(theme.paper)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.tick_params(colors=theme.quiet, labelsize=SIZE - 1, length=3)
    axes.set_xlabel(x, color=theme.quiet, fontsize=SIZE)
    axes.set_ylabel(y, color=theme.quiet, fontsize=SIZE)
    if title:
        axes.set_title(title, color=theme.ink, fontsize=SIZE + 0.5, loc="left", parse_math=False)
    return axes


def _legend(axes: Any, theme: Theme, handles: Any = None) -> None:
    told = axes.get_legend_handles_labels() if handles is None else (handles, [each.get_label() for each in handles])
    if told[0]:
        legend = axes.legend(
            *told, frameon=False, fontsize=SIZE - 0.5, labelcolor=theme.ink, loc="upper left",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3, handlelength=1.8,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def forest(names: Sequence[str], points: Sequence[Point], paper: Sequence[float | None], label: str, theme: str) -> Any:
    """A mean and its interval in each row; the paper's figure as a hollow diamond."""
    look = theme_named(theme)
    figure = new_figure(7.6, 1.0 + 0.42 * len(names), look)
    axes = _panel(figure.add_subplot(), look, x=label)
    axes.grid(axis="x", color=look.grid)
    axes.set_axisbelow(True)
    for place, (point, theirs) in enumerate(zip(points, paper, strict=True)):
        colour = look.curves[place % len(look.curves)]
        if point.low is not None:
            axes.plot([point.low, point.high], [place] * 2, color=colour, lw=2.4, solid_capstyle="round")
        if point.mean is not None:
            axes.plot([point.mean], [place], "o", color=colour, ms=7, label="mean and 95 % interval" * (place == 0))
        if theirs is not None:
            first = all(value is None for value in paper[:place])
            text = "the paper's mean (FLUX, photos)" * first
            axes.plot([theirs], [place], "D", mfc="none", mec=look.quiet, ms=7, label=text)
    axes.set_yticks(range(len(names)), names, color=look.ink, fontsize=SIZE, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    handles, labels = axes.get_legend_handles_labels()
    _legend(axes, look, [handle for handle, text in zip(handles, labels, strict=True) if text])
    return figure


def paired_dots(
    groups: Sequence[str], methods: Sequence[str], values: Mapping[tuple[str, str], Mapping[Any, float]], label: str,
    theme: str,
) -> Any:  # fmt: skip
    """For each group the methods side by side: a dot a picture, a line between a person's own, a bar for the mean."""
    look = theme_named(theme)
    figure = new_figure(max(5.6, 1.9 * len(groups) + 2.2), 3.9, look)
    axes = _panel(figure.add_subplot(), look, y=label)
    axes.grid(axis="y", color=look.grid)
    axes.set_axisbelow(True)
    places = {(g, m): i * (len(methods) + 0.9) + j for i, g in enumerate(groups) for j, m in enumerate(methods)}
    for group in groups:
        for left, right in pairwise(methods):
            a, b = values.get((group, left), {}), values.get((group, right), {})
            for key in a.keys() & b.keys():
                axes.plot(
                    [places[group, left], places[group, right]], [a[key], b[key]], color=look.quiet, lw=0.6, alpha=0.45
                )
    for order, method in enumerate(methods):
        colour = look.curves[order % len(look.curves)]
        for group in groups:
            dots, at = list(values.get((group, method), {}).values()), places[group, method]
            axes.plot([at] * len(dots), dots, MARKERS[order % 6], color=colour, ms=4.5, alpha=0.75, mew=0)
            if dots:
                mean = sum(dots) / len(dots)
                axes.plot([at - 0.3, at + 0.3], [mean] * 2, color=colour, lw=3, label=method * (group == groups[0]))
    middles = [places[group, methods[0]] + (len(methods) - 1) / 2 for group in groups]
    axes.set_xticks(middles, groups, color=look.ink, fontsize=SIZE, parse_math=False)
    handles, labels = axes.get_legend_handles_labels()
    _legend(axes, look, [handle for handle, text in zip(handles, labels, strict=True) if text])
    return figure


def people_lines(people: Sequence[str], values: Mapping[str, Sequence[float | None]], label: str, theme: str) -> Any:
    """A column for each person: every method's mean as a dot, and a line between them."""
    look = theme_named(theme)
    figure = new_figure(max(6.0, 0.27 * len(people) + 3.2), 3.9, look)
    axes = _panel(figure.add_subplot(), look, y=label)
    axes.grid(axis="y", color=look.grid)
    axes.set_axisbelow(True)
    for place in range(len(people)):
        heights = [value for column in values.values() if (value := column[place]) is not None]
        if len(heights) > 1:
            axes.plot([place] * 2, [min(heights), max(heights)], color=look.quiet, lw=1, alpha=0.6)
    for order, (method, column) in enumerate(values.items()):
        known = [(place, value) for place, value in enumerate(column) if value is not None]
        colour, marker = look.curves[order % len(look.curves)], MARKERS[order % 6]
        axes.plot(*zip(*known, strict=True), marker, color=colour, ms=5.5, mew=0, label=method) if known else None
    axes.set_xticks(range(len(people)), people, rotation=60, ha="right", fontsize=SIZE - 1.5, parse_math=False)
    _legend(axes, look)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Sequence[Point]]], x: str, y: str, theme: str, *, ticks: Sequence[float] = ()
) -> Any:
    """Means with their intervals along an axis, panels side by side on one scale."""
    look = theme_named(theme)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    figure = new_figure(4.6 * len(panels) + 2.0, 3.9, look)
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(drawn, panels.items(), strict=True):
        _panel(axes, look, x=x, y=y if axes is drawn[0] else "", title=title if len(panels) > 1 else "")
        axes.grid(color=look.grid)
        axes.set_axisbelow(True)
        for name, points in lines.items():
            place = names.index(name)
            colour = look.curves[place % len(look.curves)]
            known = [point for point in points if point.mean is not None]
            sure = [point for point in known if point.low is not None]
            axes.fill_between(
                [p.x for p in sure], [p.low for p in sure], [p.high for p in sure], color=colour, alpha=0.13, lw=0
            )
            axes.plot(
                [p.x for p in known], [p.mean for p in known], color=colour, lw=1.9, ms=5.5, label=name,
                marker=MARKERS[place % 6], ls=_STYLES[place // len(look.curves) % 4],
            )  # fmt: skip
        if ticks:
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.curves[i % len(look.curves)], marker=MARKERS[i % 6], ms=5.5, label=name,
               ls=_STYLES[i // len(look.curves) % 4])
        for i, name in enumerate(names)
    ]  # fmt: skip
    _legend(drawn[-1], look, handles)
    return figure


def bars(groups: Sequence[str], values: Mapping[str, Sequence[Point]], label: str, x: str, theme: str) -> Any:
    """Bars with intervals, a colour for each name, groups along the axis."""
    look = theme_named(theme)
    figure = new_figure(max(5.6, 0.5 * len(groups) * (len(values) + 1) + 2.6), 3.6, look)
    axes = _panel(figure.add_subplot(), look, y=label, x=x)
    axes.grid(axis="y", color=look.grid)
    axes.set_axisbelow(True)
    width = 0.8 / max(len(values), 1)
    for order, (name, points) in enumerate(values.items()):
        colour = look.curves[order % len(look.curves)]
        at = [place - 0.4 + width * (order + 0.5) for place in range(len(groups))]
        known = [(spot, point) for spot, point in zip(at, points, strict=True) if point.mean is not None]
        axes.bar(
            [spot for spot, _ in known], [point.mean for _, point in known], width * 0.9, color=colour, label=name,
            hatch="" if order == 0 else "//", edgecolor=look.paper, lw=0,
        )  # fmt: skip
        for spot, point in known:
            if point.low is not None:
                axes.plot([spot] * 2, [point.low, point.high], color=look.ink, lw=1.4)
    axes.set_xticks(range(len(groups)), groups, color=look.ink, fontsize=SIZE, parse_math=False)
    _legend(axes, look)
    return figure


def maps(
    panels: Mapping[str, Sequence[Sequence[float | None]]], columns: Mapping[str, Sequence[str]], rows: Sequence[str],
    x: str, label: str, theme: str,
) -> Any:  # fmt: skip
    """Numbers as colours with the numbers in them, a panel each on one scale."""
    look = theme_named(theme)
    if not panels:
        return new_figure(5.5, 0.6, look)
    widths = [len(columns[title]) for title in panels]
    figure = new_figure(max(0.72 * sum(widths) + 3.0, 5.5), 1.3 + 0.46 * len(rows), look)
    drawn = figure.subplots(1, len(panels), squeeze=False, sharey=True, gridspec_kw={"width_ratios": widths})[0]
    known = [v for panel in panels.values() for row in panel for v in row if v is not None] or [0.0]
    low, high = min(known), max(max(known), min(known) + 1e-6)
    picture: Any = None
    for axes, (title, panel) in zip(drawn, panels.items(), strict=True):
        _panel(axes, look, x=x, title=title)
        data = [[float("nan") if v is None else v for v in row] for row in panel]
        picture = axes.imshow(data, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        for i, row in enumerate(panel):
            for j, value in enumerate(row):
                colour = look.ink if value is None else "white" if value < (low + high) / 2 else "black"
                text = "–" if value is None else f"{value:.2f}"
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=SIZE - 1.5)
        axes.set_xticks(range(len(columns[title])), columns[title])
        axes.set_yticks(range(len(rows)), rows, color=look.ink, parse_math=False)
    bar = figure.colorbar(picture, ax=list(drawn), shrink=0.9, pad=0.02)
    bar.set_label(label, color=look.quiet, fontsize=SIZE)
    bar.ax.tick_params(colors=look.quiet, labelsize=SIZE - 1)
    bar.outline.set_visible(False)
    return figure
