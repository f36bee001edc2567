"""One palette for charts, sheets, pages and the browser, and how every chart is dressed in it."""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DOTS = 160  # pixels an inch of a drawing in a page or a file
WIDE, NARROW = 10.1, 4.2  # inches: the width of a drawing on a page, and of one on a phone
SIZE = 9.0  # of a chart's font, in points
LARGE = 10.5  # of the font of a chart that is as wide as a page
SMALL = 7.5  # of the lines below it
MARKERS = "os^vPX"  # never a diamond, which is the finished picture, or the paper's
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
        curves: curves and kinds of dots, in order (after Okabe and Ito), colour-blind readers in mind.
    """

    paper: str
    page: str
    card: str
    ink: str
    quiet: str
    grid: str
    curves: tuple[str, ...]

    def curve(self, number: int) -> str:
        """The colour of the curve with this number, from 0; after the last one the first."""
        return self.curves[number % len(self.curves)]

    def shade(self, number: int, share: float) -> str:
        """A curve's colour from faint (0) to strong (1): for values that rise."""
        ground, colour, ink = (_channels(name) for name in (self.paper, self.curve(number), self.ink))
        first = ground + (colour - ground) * (0.45 + 0.55 * min(2 * share, 1.0))
        mixed = first + (ink - first) * 0.45 * max(2 * share - 1, 0.0)
        return "#" + "".join(f"{round(float(channel)):02x}" for channel in mixed)

    def by_name(self) -> dict[str, str]:
        """Every colour by its name, the curves' as "curve-1" and so on: as style sheets and records name them."""
        grounds = {name: getattr(self, name) for name in ("paper", "page", "card", "ink", "quiet", "grid")}
        return {**grounds, **{f"curve-{number}": colour for number, colour in enumerate(self.curves, 1)}}


def _channels(colour: str) -> npt.NDArray[np.float64]:
    """ "#rrggbb" as three numbers."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float64)


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


def to_javascript() -> str:
    """The colours and dashes for the browser: nodes/web/palette.js holds this text, by a test."""
    themes = {name: theme.by_name() for name, theme in THEMES.items()}
    dashes = {kind: " ".join(f"{length:g}" for length in pattern) for kind, (_, pattern) in LINES.items()}
    command = "python -c \"from infusenet.charts.palette import *; print(to_javascript(), end='')\""
    return (
        f"// Written from infusenet/charts/palette.py; change it there. {command}\n"
        f"export const THEMES = {json.dumps(themes, indent=4)};\n"
        f"export const DASHES = {json.dumps(dashes, indent=4)}; // by kind of line\n"
    )


def theme_named(name: str) -> Theme:
    """The theme of a name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in THEMES:
        raise ValueError(f"Expected the theme {' or '.join(map(repr, THEMES))}, got {name!r}.")
    return THEMES[name]


def marker(number: int) -> str:
    """The mark of the curve with this number, from 0."""
    return MARKERS[number % len(MARKERS)]


def new_figure(width: float, height: float, theme: Theme) -> "Figure":
    """An empty figure of this size in inches, on its own canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(
    axes: Any, theme: Theme, x: str = "", y: str = "", title: str = "", grid: str = "both", size: float = LARGE
) -> Any:
    """Axes in the theme's colours.

    Args:
        axes: of a new figure.
        theme: whose colours.
        x: label along; y: label up; title: above, at the left.
        grid: "x", "y", "both" or "" for none.
        size: of the labels, points.

    Returns:
        The same axes.
    """
    axes.set_facecolor(theme.paper)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.quiet)
    axes.tick_params(which="both", colors=theme.quiet, labelsize=size - 0.75, length=3)
    axes.set_xlabel(x, color=theme.ink, fontsize=size)
    axes.set_ylabel(y, color=theme.ink, fontsize=size)
    axes.set_title(title, color=theme.ink, fontsize=size + 0.5, loc="left", parse_math=False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=theme.grid, linewidth=0.8)
    return axes


def similarity_axes(panel: Any, along: str, theme: Theme, up: str) -> None:
    """Dress a panel that shows similarity along something."""
    dress(panel, theme, x=along, y=up, grid="y", size=SIZE)


def handle(label: str, **look: Any) -> Any:
    """What a legend shows of a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def legend(parent: Any, handles: Sequence[Any], size: float, **options: Any) -> None:
    """A legend of a figure or of axes, which shows names as they are; none without handles."""
    if handles:
        drawn = parent.legend(handles=handles, frameon=False, fontsize=size, columnspacing=1.6, **options)
        for text in drawn.get_texts():
            text.set_parse_math(False)


def write_below(figure: "Figure", text: str, theme: Theme) -> None:
    """Small lines below a chart; then everything is laid out, so that labels can be placed."""
    figure.supxlabel(text, fontsize=SMALL, color=theme.quiet, parse_math=False)
    figure.draw_without_rendering()


def limits(values: Iterable[float]) -> tuple[float, float]:
    """Ends of an axis of similarity: zero and all values, with room for labels."""
    known = [0.0, *values]
    low, high = min(known), max(known)
    span = max(high - low, 0.1)
    return low - 0.12 * span, high + 0.17 * span


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


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG, at 160 pixels an inch."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS, facecolor=figure.get_facecolor())
    return content.getvalue()


@dataclass(frozen=True)
class Drawing:
    """One drawing for a light ground and for a dark one, as PNG; and for a page on a phone, where there is one."""

    light: bytes
    dark: bytes
    narrow: "Drawing | None" = None


def drawing(draw: Callable[[str, float], "Figure"], width: float, narrow: float | None = None) -> Drawing:
    """A drawing in both themes, by a function from a theme's name and a width in inches to a figure."""
    light, dark = (png(draw(theme, width)) for theme in ("light", "dark"))
    return Drawing(light, dark, None if narrow is None else drawing(draw, narrow))


def in_lines(parts: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    """Short texts beside each other, as many a line as fit."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}   {part}" if lines else part
        if lines and fits(joined):
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def in_inches(parts: Sequence[str], width: float) -> list[str]:
    """The same for the small lines below a figure of this width in inches."""
    return in_lines(parts, lambda line: len(line) <= 17.5 * width)
