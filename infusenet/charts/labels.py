"""Figures as text, and labels beside the points they name, which cover neither curves nor each other."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

P = TypeVar("P")
MISSING = "–"

GAP, SIDE = 10.0, 12.0  # points between a label and its point: above or below, and to a side
POSITIONS = (
    ("center", "bottom", 0.0, GAP),
    ("center", "top", 0.0, -GAP),
    ("right", "bottom", -SIDE / 2, GAP),
    ("left", "bottom", SIDE / 2, GAP),
    ("right", "top", -SIDE / 2, -GAP),
    ("left", "top", SIDE / 2, -GAP),
    ("right", "center", -SIDE, 0.0),
    ("left", "center", SIDE, 0.0),
    ("center", "bottom", 0.0, 3 * GAP),
    ("center", "top", 0.0, -3 * GAP),
    ("right", "bottom", -SIDE, 3 * GAP),
    ("left", "bottom", SIDE, 3 * GAP),
    ("right", "top", -SIDE, -3 * GAP),
    ("left", "top", SIDE, -3 * GAP),
    ("center", "bottom", 0.0, 5 * GAP),
    ("center", "top", 0.0, -5 * GAP),
)

ALONG = ((0.995, "right"), (0.005, "left"), (0.75, "center"), (0.5, "center"), (0.25, "center"))
SIDES = (("bottom", 2.5), ("top", -2.5))  # above and below a level, points

Box = tuple[float, float, float, float]  # left, bottom, right, top in display pixels


def mean(values: Sequence[float]) -> float | None:
    """The mean, None of nothing."""
    return math.fsum(values) / len(values) if values else None


def number(value: float | None, digits: int = 2) -> str:
    """A figure with a true minus sign, a dash where there is none; nothing is ever written as minus zero."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


class Labeller:
    """Places labels in one axes, each in the freest place around its point.

    Args:
        axes: drawn once already, so that its place in the figure is known.
        size: font size in points.
    """

    def __init__(self, axes: Any, size: float) -> None:
        self._axes = axes
        self._size = size
        self._taken: list[Box] = []

    def avoid_curve(self, points: Sequence[tuple[float, float]]) -> None:
        """Keep labels off a line through `points` in data coordinates; points that are not finite break it."""
        drawn = [tuple(map(float, self._axes.transData.transform(point))) for point in points]
        for (x0, y0), (x1, y1) in pairwise(drawn):
            length = math.hypot(x1 - x0, y1 - y0)
            if math.isfinite(length):
                parts = max(min(int(length / 6), 200), 1)
                at = [i / parts for i in range(parts + 1)]
                self._taken += [_around(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, 4.0) for t in at]

    def avoid_mark(self, x: float, y: float, reach: float = 9.0) -> None:
        """Keep labels off a mark, as a ring, at (x, y) in data coordinates; `reach` is its radius in pixels."""
        across, up = self._axes.transData.transform((x, y))
        self._taken.append(_around(across, up, reach))

    def avoid_level(self, y: float) -> None:
        """Keep labels off a line across the axes at `y` in data coordinates."""
        frame, up = _box(self._axes.get_window_extent()), float(self._axes.transData.transform((0, y))[1])
        self._taken.append((frame[0], up - 1.0, frame[2], up + 1.0))

    def name_level(self, text: str, y: float, colour: str) -> None:
        """Write `text` on a line across the axes at `y`, at the end where it is freest."""
        label = self._axes.annotate(
            text, (0.0, y), xycoords=("axes fraction", "data"), xytext=(0, 0), textcoords="offset points",
            fontsize=self._size - 1, color=colour, parse_math=False, zorder=9,
        )  # fmt: skip

        def move(position: tuple[float, str, str, float]) -> None:
            label.xy = (position[0], y)
            label.set(ha=position[1], va=position[2], position=(0, position[3]))

        self._settle(label, [(*end, *side) for end in ALONG for side in SIDES], move)

    def draw_levels(self, levels: Sequence[tuple[str, float, str, Any]]) -> None:
        """Lines across the axes, each as (its name, level, colour, dashes), the upper ones named first."""
        for _, level, colour, dashes in levels:
            self._axes.axhline(level, color=colour, linewidth=1.1, linestyle=dashes, zorder=1.5)
            self.avoid_level(level)
        for text, level, colour, _ in sorted(levels, key=lambda one: -one[1]):
            self.name_level(text, level, colour)

    def put(self, text: str, x: float, y: float, colour: str) -> None:
        """Write `text` near the point (x, y) in data coordinates."""
        label = self._axes.annotate(
            text,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=self._size,
            color=colour,
            parse_math=False,
            zorder=9,
        )
        self._settle(label, POSITIONS, lambda position: self._move(label, position))

    def _settle(self, label: Any, positions: Sequence[P], move: Callable[[P], None]) -> None:
        """Leave a label in the freest of some places, the first of equals."""
        label.set_in_layout(False)
        frame = _box(self._axes.get_window_extent())
        renderer = self._axes.figure.canvas.get_renderer()

        def cost(position: P) -> float:
            move(position)
            box = _box(label.get_window_extent(renderer))
            outside = _area(box) - _overlap(box, frame)
            return 3 * outside + sum(_overlap(box, taken) for taken in self._taken)

        move(min(positions, key=cost))
        self._taken.append(_box(label.get_window_extent(renderer)))

    @staticmethod
    def _move(label: Any, position: tuple[str, str, float, float]) -> None:
        across, along, dx, dy = position
        label.set(ha=across, va=along, position=(dx, dy))


def _box(extent: Any) -> Box:
    return extent.x0, extent.y0, extent.x1, extent.y1


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    return _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
