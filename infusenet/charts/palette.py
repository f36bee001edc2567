"""Colours that stay apart for colour-blind readers, on white and on black."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DOTS = 160  # pixels an inch of a drawing in a page or a file
SIZE = 9.0  # of a chart's font, in points
SMALL = 7.5  # of the lines below it
LINES: dict[str, Any] = {"impostor": (0, (5, 3)), "blank": (0, (1, 1.8)), "published": (0, (7, 2, 1, 2)),
                         "genuine": (0, (10, 3))}  # fmt: skip
"""Dashes of the lines beside curves, by `infusenet.measures.lines.Line.kind`."""


@dataclass(frozen=True)
class Theme:
    """The colours of charts, sheets, pages and the browser's chart: each can be read as text on all three grounds.

    Attributes:
        paper: the ground of a chart.
        page: the ground of a page around it.
        card: the ground of a box on a page.
        ink: text.
        quiet: text that steps back, lines to judge by.
        grid: lines to read values by, frames.
        curves: curves and kinds of dots, in order (after Okabe and Ito).
    """

    paper: str
    page: str
    card: str
    ink: str
    quiet: str
    grid: str
    curves: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    page="#faf9f6",
    card="#ffffff",
    ink="#1f2328",
    quiet="#5c6370",
    grid="#e2dfd8",
    curves=("#0072b2", "#bd4f00", "#00825e", "#a3357a", "#7a5c00"),
)
DARK = Theme(
    paper="#16181d",
    page="#16181d",
    card="#1e2126",
    ink="#e8eaed",
    quiet="#a0a6b0",
    grid="#31353d",
    curves=("#56b4e9", "#f0a03c", "#2cc295", "#e78ac3", "#f0e442"),
)
THEMES = {"light": LIGHT, "dark": DARK}


def theme_named(name: str) -> Theme:
    """The theme of a name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in THEMES:
        raise ValueError(f"Expected the theme {' or '.join(map(repr, THEMES))}, got {name!r}.")
    return THEMES[name]


def new_figure(width: float, height: float, theme: Theme) -> "Figure":
    """An empty figure of this size in inches, on its own canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def similarity_axes(panel: Any, along: str, theme: Theme) -> None:
    """Dress a panel that shows similarity along something: a grid to read values by, one line below."""
    panel.set_facecolor(theme.paper)
    panel.tick_params(colors=theme.quiet, labelsize=SIZE - 0.5, length=3)
    panel.grid(axis="y", color=theme.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.quiet)
    panel.set_ylabel("similarity (cosine)", fontsize=SIZE, color=theme.ink)
    panel.set_xlabel(along, fontsize=SIZE, color=theme.ink)


def figure_pixels(figure: "Figure") -> npt.NDArray[np.uint8]:
    """Draw a figure.

    Args:
        figure: as `similarity_figure` makes them.

    Returns:
        RGB uint8 [H, W, 3], at the figure's own size and dpi.
    """
    canvas: Any = figure.canvas
    canvas.draw()
    pixels: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels


def in_lines(parts: Sequence[str], width: float) -> list[str]:
    """Short texts beside each other, as many a line as a figure of this width in inches has room for."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}   {part}" if lines else part
        if lines and len(joined) <= 17.5 * width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines
