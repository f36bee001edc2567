"""One value against another: a point with both intervals for each way to make pictures, and the best trade-offs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .labels import Labeller
from .palette import SIZE, WIDE, dress, new_figure, theme_named
from .statistics import Point, Tone

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Place:
    """A way to make pictures: its label, its colour, and its means with their intervals."""

    label: str
    tone: Tone
    across: Point
    up: Point


def undominated(places: Sequence[Place]) -> list[Place]:
    """Those to which no other is at least as good in both values, where more is better, and better in one.

    From left to right.
    """
    best: list[Place] = []
    for place in sorted(places, key=lambda place: (-_mean(place.across), -_mean(place.up))):
        if not best or _mean(place.up) > _mean(best[-1].up):
            best.append(place)
    return best[::-1]


def plane_figure(places: Sequence[Place], x: str, y: str, theme: str) -> Figure:
    """Draw the ways and join the best trade-offs.

    Args:
        places: every way with both means; more is better of both.
        x: what lies across, in words.
        y: what lies up.
        theme: a theme's name.
    """
    look = theme_named(theme)
    figure = new_figure(WIDE, 5.6, look)
    axes = dress(figure.add_subplot(), look, x=x, y=y)
    edge = [(_mean(place.across), _mean(place.up)) for place in undominated(places)]
    axes.plot(*zip(*edge, strict=True), color=look.quiet, lw=1.2, zorder=1)
    for place in places:
        colour, at = place.tone.colour(look), (_mean(place.across), _mean(place.up))
        for own, other, turned in ((place.across, at[1], False), (place.up, at[0], True)):
            if own.low is not None and own.high is not None:
                ends, across = [own.low, own.high], [other] * 2
                axes.plot(*((across, ends) if turned else (ends, across)), color=colour, lw=1.0, alpha=0.3, zorder=2)
        axes.plot(*([value] for value in at), "o", color=colour, ms=7.5, zorder=3)
    axes.margins(0.12, 0.1)
    figure.draw_without_rendering()
    labels = Labeller(axes, SIZE - 1)
    labels.avoid_curve(edge)
    for place in places:
        labels.avoid_mark(_mean(place.across), _mean(place.up))
    for place in places:
        labels.put(place.label, _mean(place.across), _mean(place.up), look.ink)
    return figure


def _mean(point: Point) -> float:
    assert point.mean is not None
    return point.mean
