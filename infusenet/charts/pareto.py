"""Seconds against likeness: a point for each way to make a picture, and the corner that is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .labels import Labeller
from .palette import LARGE, SIZE, SMALL, WIDE, Drawing, Theme, drawing, dress, handle, legend, new_figure, theme_named
from .statistics import Tone, tones

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class WayPoint:
    """A way in the figure.

    Attributes:
        backbone: gives its colour.
        seconds: a picture.
        share: likeness, 1 = the reference way's; `low` and `high` are its 95 % interval, None of few people.
        meets: whether it met the whole target; else it is hollow.
        early: whether it left the search early, on few pictures; then it steps back.
        label: written beside it, "" for none.
    """

    backbone: str
    seconds: float
    share: float
    low: float | None
    high: float | None
    meets: bool
    early: bool
    label: str = ""


def frontier(points: Sequence[WayPoint]) -> list[WayPoint]:
    """Those that meet the target to the end and that no other one beats in both seconds and likeness, by seconds."""
    best: list[WayPoint] = []
    for point in sorted(points, key=lambda point: (point.seconds, -point.share)):
        if point.meets and not point.early and (not best or point.share > best[-1].share):
            best.append(point)
    return best


def pareto_figure(
    points: Sequence[WayPoint], least: float, most: float, *, theme: str = "light", width: float = WIDE
) -> Figure:
    """Draw the ways, their frontier, and the corner of what is wanted.

    Args:
        points: every way.
        least: the share of likeness that is wanted.
        most: seconds of the reference way; what is slower saves nothing.
        theme: "light" or "dark".
        width: inches.

    Returns:
        A matplotlib figure with its own Agg canvas; nothing global is touched.
    """
    look = theme_named(theme)
    figure = new_figure(width, 5.0, look)
    axes = dress(figure.add_subplot(), look, x="seconds per picture", y="likeness, % of the reference's")
    colours = tones({point.backbone: point.backbone for point in points})
    _corner(axes, points, least, most, look)
    edge = frontier(points)
    axes.plot(*_places(edge), color=look.quiet, lw=1.2, zorder=2)
    points = _apart(points)
    for point in points:
        _draw(axes, point, colours[point.backbone].colour(look), look)
    _legend(figure, colours, look, len(edge) > 1)
    figure.draw_without_rendering()
    labels = Labeller(axes, SIZE)
    for point in points:
        labels.avoid_mark(point.seconds, 100 * point.share)
    for point in points:
        if point.label:
            labels.put(point.label, point.seconds, 100 * point.share, look.ink)
    return figure


def pareto_drawing(points: Sequence[WayPoint], least: float, most: float) -> Drawing:
    """The figure for a page, in both themes."""
    return drawing(lambda theme, width: pareto_figure(points, least, most, theme=theme, width=width), WIDE)


def _corner(axes: Any, points: Sequence[WayPoint], least: float, most: float, theme: Theme) -> None:
    """Shade what is fast and alike enough; time has a scale of ratios."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    fastest = min(point.seconds for point in points)
    shares = [least, *(end for point in points for end in _ends(point))]
    low, high = 100 * min(shares), 100 * max(shares)
    room = 0.12 * max(high - low, 5.0)
    axes.set_xscale("log")
    axes.set_xlim(fastest / 1.25, 1.25 * max(most, *(point.seconds for point in points)))
    axes.set_ylim(low - room, high + 1.6 * room)
    axes.fill_between([fastest / 1.25, most], 100 * least, high + 1.6 * room, color=theme.curve(2), alpha=0.1, lw=0)
    axes.axhline(100 * least, color=theme.curve(2), lw=1, zorder=1)
    axes.xaxis.set_major_locator(_Ratios())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_major_locator(MaxNLocator(7, integer=True))
    words = f"wanted: {100 * least:g} % or more, faster than the reference"
    style = {"fontsize": SMALL + 0.5, "color": theme.curve(2), "ha": "left", "va": "top"}
    axes.annotate(words, (fastest / 1.25, 100 * least), xytext=(6, -3), textcoords="offset points", **style)


def _Ratios() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(base=10, subs=(1.0, 2.0, 5.0))


def _ends(point: WayPoint) -> list[float]:
    """What of a point has to be seen: its share, and its interval where that is drawn."""
    ends = () if point.early else (point.low, point.high)
    return [point.share, *(end for end in ends if end is not None)]


def _apart(points: Sequence[WayPoint]) -> list[WayPoint]:
    """Points with those that take equally long moved to the side a little, so that each interval is seen."""
    turns: dict[tuple[str, float], int] = {}
    moved = []
    for point in points:
        key = point.backbone, round(point.seconds, 6)
        turns[key] = turn = turns.get(key, -1) + 1
        moved.append(replace(point, seconds=point.seconds * (1 + 0.012 * turn)))
    return moved


def _draw(axes: Any, point: WayPoint, colour: str, theme: Theme) -> None:
    """A point and its interval."""
    at, alpha = 100 * point.share, 0.35 if point.early else 1.0
    if point.low is not None and point.high is not None and not point.early:
        axes.plot([point.seconds] * 2, [100 * point.low, 100 * point.high], color=colour, lw=1.4, alpha=0.55, zorder=2)
    fill = colour if point.meets else theme.paper
    size = 4.5 if point.early else 9.0 if point.label else 7.0
    axes.plot([point.seconds], [at], "o", ms=size, mfc=fill, mec=colour, mew=1.4, alpha=alpha, zorder=3)


def _legend(figure: Figure, colours: Mapping[str, Tone], theme: Theme, with_edge: bool) -> None:
    dot: dict[str, Any] = {"marker": "o", "ls": "", "mew": 1.4}
    handles = [handle(name, **dot, ms=7, color=tone.colour(theme)) for name, tone in colours.items()]
    quiet = {"mec": theme.quiet, **dot}
    handles += [
        handle("meets the target", **quiet, ms=7, mfc=theme.quiet),
        handle("misses part of it", **quiet, ms=7, mfc=theme.paper),
        handle("dropped early, few pictures", **quiet, ms=4.5, mfc=theme.quiet, alpha=0.35),
    ]
    handles += [handle("best trade-offs", color=theme.quiet, lw=1.2)] if with_edge else []
    options = {"labelcolor": theme.ink, "loc": "outside upper left", "ncols": 3 if figure.get_figwidth() > 6 else 1}
    legend(figure, handles, LARGE - 1.5, **options)


def _places(points: Sequence[WayPoint]) -> tuple[list[float], list[float]]:
    return [point.seconds for point in points], [100 * point.share for point in points]
