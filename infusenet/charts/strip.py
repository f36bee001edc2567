"""Values of several kinds of pictures as dots, a row for each kind, on one axis of similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..measures.baselines import Baseline
from .labels import mean, number
from .palette import LARGE, NARROW, Drawing, Theme, drawing, dress, new_figure, theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure


BESIDE = 6.0  # inches from which names stand beside the rows


@dataclass(frozen=True)
class Dots:
    """One kind of pictures.

    Attributes:
        label: what they are.
        colour: a theme's colour by name, as "curve-1" or "quiet".
        values: one a picture.
        baseline: their mean and deviation where these are known, with the dots or without: gives a band of two
            deviations to either side.
    """

    label: str
    colour: str
    values: Sequence[float]
    baseline: Baseline | None = None

    @property
    def mean(self) -> float | None:
        """The baseline's, else that of the values; None of nothing."""
        return mean(self.values) if self.baseline is None else self.baseline.mean

    @property
    def band(self) -> tuple[float, float] | None:
        """Two deviations below and above the mean; None without a deviation."""
        upper = None if self.baseline is None else self.baseline.upper
        return None if upper is None or self.baseline is None else (2 * self.baseline.mean - upper, upper)


def strip_figure(
    rows: Sequence[Dots], levels: Sequence[tuple[str, float]] = (), *, theme: str = "light", width: float = 8.6
) -> "Figure":
    """Draw every value as a dot, the mean as a bar and as a figure at the right, two deviations as a band.

    Args:
        rows: from top to bottom.
        levels: names and values of lines through all rows.
        theme: "light" or "dark".
        width: inches.

    Returns:
        A matplotlib figure with its own Agg canvas; nothing global is touched.

    Raises:
        ValueError: an unknown theme.
        ImportError: matplotlib is missing.
    """
    colours = theme_named(theme)
    beside = width >= BESIDE
    figure = new_figure(width, 0.9 + (0.46 if beside else 0.62) * len(rows) + 0.25 * bool(levels), colours)
    axes = dress(figure.add_subplot(), colours, x="similarity to the reference (cosine)", grid="x")
    axes.axvline(0, color=colours.quiet, linewidth=0.9, alpha=0.6, zorder=1)
    for row, dots in enumerate(rows):
        _draw_row(axes, row, dots, colours, 0.33 if beside else 0.24)
    for name, level in levels:
        axes.axvline(level, color=colours.quiet, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1.5)
        above = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "textcoords": "offset points"}
        look = {"ha": "center", "color": colours.quiet, "fontsize": LARGE - 1, "parse_math": False}
        axes.annotate(name, (level, 1), **above, **look)
    _name_rows(axes, rows, colours, beside)
    axes.use_sticky_edges = False  # a dot at the end is shown whole
    axes.margins(x=0.03)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5 if beside else -0.75)
    return figure


def strip_drawing(rows: Sequence[Dots], levels: Sequence[tuple[str, float]] = ()) -> Drawing:
    """The same for a page, in both themes and for a phone."""
    return drawing(lambda theme, width: strip_figure(rows, levels, theme=theme, width=width), 8.6, NARROW)


def _name_rows(axes: Any, rows: Sequence[Dots], theme: Theme, beside: bool) -> None:
    """The names in their colours, beside the rows or above them."""
    looks = [{"color": theme.by_name()[dots.colour], "fontweight": "bold", "fontsize": LARGE} for dots in rows]
    axes.set_yticks(range(len(rows)) if beside else (), [dots.label for dots in rows] * beside, parse_math=False)
    for label, look in zip(axes.get_yticklabels(), looks, strict=False):
        label.set(**look)
    axes.tick_params(axis="y", length=0, pad=10)
    for row, (dots, look) in enumerate(zip(rows, looks, strict=True)):
        if not beside:
            axes.annotate(dots.label, (0, row - 0.34), xycoords=("axes fraction", "data"), parse_math=False, **look)


def _draw_row(axes: Any, row: int, dots: Dots, theme: Theme, reach: float) -> None:
    """Band, dots, the mean's bar, and the mean in figures."""
    colour = theme.by_name()[dots.colour]
    if dots.band is not None:
        low, high = dots.band
        axes.barh([row], [high - low], 1.8 * reach, [low], color=colour, alpha=0.14, zorder=2)
    apart = [(index * 7 % 13 - 6) * 0.09 * reach for index in range(len(dots.values))]  # also where values are equal
    look = {"color": colour, "alpha": 0.55, "markersize": 5.5, "markeredgewidth": 0, "zorder": 3}
    axes.plot(dots.values, [row + height for height in apart], "o", **look)
    if dots.mean is not None:
        axes.plot([dots.mean] * 2, [row - reach, row + reach], color=colour, lw=2.6, solid_capstyle="round", zorder=4)
    right = {"xycoords": ("axes fraction", "data"), "xytext": (14, 0), "textcoords": "offset points"}
    style = {"va": "center", "color": theme.ink, "fontsize": LARGE + 0.5, "fontweight": "bold"}
    axes.annotate(number(dots.mean), (1, row), annotation_clip=False, **right, **style)


def strip_in_words(rows: Sequence[Dots]) -> str:
    """What the strip shows, for those who do not see it."""
    return "; ".join(f"{dots.label}: mean {number(dots.mean)}, {len(dots.values)} dots" for dots in rows)
