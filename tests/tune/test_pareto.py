"""The Pareto figure: its frontier, and that it can be drawn of anything."""

import pytest

from infusenet.charts.palette import figure_pixels
from infusenet.charts.pareto import WayPoint, frontier, pareto_drawing, pareto_figure


def point(seconds, share, meets=True, early=False, label=""):
    return WayPoint("dev", seconds, share, share - 0.02, share + 0.02, meets, early, label)


def test_the_frontier_is_what_none_beats():
    best = [point(1, 0.9), point(2, 0.95), point(4, 1.0)]
    rest = [point(3, 0.94), point(1, 0.8), point(0.5, 2, meets=False), point(0.6, 2, early=True)]
    assert frontier([*rest, *best]) == best


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_corner_is_what_is_wanted(theme):
    figure = pareto_figure([point(1, 1.02, label="fast"), point(4, 1.0, label="slow")], 0.98, 4.0, theme=theme)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    (box,) = [area.get_paths()[0].get_extents() for area in axes.collections]
    assert box.x1 == pytest.approx(4) and box.y0 == pytest.approx(98)
    assert {"fast", "slow"} <= {text.get_text() for text in axes.texts}
    assert figure_pixels(figure).shape[1] == 1010


def test_one_way_without_an_interval_is_drawn():
    drawn = pareto_drawing([WayPoint("dev", 1.0, 1.0, None, None, False, False)], 1.5, 1.0)
    assert drawn.light[:4] == b"\x89PNG" and drawn.dark != drawn.light
