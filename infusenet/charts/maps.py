"""Maps of a sweep's page: numbers in rows and columns as colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .labels import MISSING
from .palette import LARGE, WIDE, dress, new_figure, theme_named


@dataclass(frozen=True)
class Map:
    """Numbers in rows and columns, None where undefined."""

    title: str
    values: Sequence[Sequence[float | None]]
    columns: Sequence[str]


def maps(panels: Sequence[Map], rows: Sequence[str], x: str, label: str, theme: str) -> Any:
    """Numbers as colours on one scale, and as numbers where they fit."""
    look = theme_named(theme)
    if not panels:
        return new_figure(5.5, 0.6, look)
    widths = [max(len(panel.columns), 3) for panel in panels]
    written = sum(widths) <= 20 and len(rows) <= 16
    cell = min(0.72, (WIDE - 2.6) / sum(widths))
    figure = new_figure(max(cell * sum(widths) + 2.6, 5.5), 1.3 + min(0.42 * len(rows), 9.0), look)
    drawn = figure.subplots(1, len(panels), squeeze=False, sharey=True, gridspec_kw={"width_ratios": widths})[0]
    known = [v for panel in panels for row in panel.values for v in row if v is not None] or [0.0]
    low, high = min(known), max(max(known), min(known) + 1e-6)
    picture: Any = None
    for axes, panel in zip(drawn, panels, strict=True):
        dress(axes, look, x=x, title=panel.title, grid="")
        data = [[float("nan") if v is None else v for v in row] for row in panel.values]
        picture = axes.imshow(data, cmap="cividis", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        for i, j, value in ((i, j, v) for i, row in enumerate(panel.values) for j, v in enumerate(row) if written):
            colour = look.ink if value is None else "white" if value < (low + high) / 2 else "black"
            text = MISSING if value is None else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=LARGE - 1.5)
        _thinned(axes.set_xticks, panel.columns, 14)
        _thinned(axes.set_yticks, rows, 24, color=look.ink, parse_math=False)
    bar = figure.colorbar(picture, ax=list(drawn), shrink=0.9, pad=0.02)
    bar.set_label(label, color=look.quiet, fontsize=LARGE)
    bar.ax.tick_params(colors=look.quiet, labelsize=LARGE - 1)
    bar.outline.set_visible(False)
    return figure


def _thinned(put: Any, labels: Sequence[str], most: int, **look: Any) -> None:
    """At most so many labels, evenly: every first, second or fifth ..."""
    every = next((n for n in (1, 2, 4, 5, 10, 20) if len(labels) / n <= most), 50)
    shown = [index for index in range(len(labels)) if index == 0 or (index + 1) % every == 0 or every == 1]
    put(shown, [labels[index] for index in shown], **look)
