"""The strip of dots, read back from the figure's own marks, bars and texts."""

from typing import Any

import numpy as np
import pytest

from infusenet.charts import Dots, figure_pixels, strip_drawing, strip_figure, strip_in_words
from infusenet.charts.labels import mean
from infusenet.charts.palette import DARK, LIGHT
from infusenet.measures import Baseline


def dots(figure: Any) -> list[list[float]]:
    """Values of the dots, a list for each row."""
    return [list(map(float, line.get_xdata())) for line in figure.axes[0].lines if line.get_marker() == "o"]


def bars(figure: Any) -> list[float]:
    """Where the means are drawn."""
    thick = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.6]
    assert all(len(set(line.get_xdata())) == 1 for line in thick)
    return [float(line.get_xdata()[0]) for line in thick]


def texts(figure: Any) -> set[str]:
    import matplotlib.text

    figure.draw_without_rendering()
    return {artist.get_text() for artist in figure.findobj(matplotlib.text.Text) if artist.get_visible()}


def test_mean_of_nothing_is_undefined() -> None:
    assert mean([]) is None
    assert mean([0.25, 0.75]) == 0.5


def test_a_dot_for_each_value_and_the_mean_as_a_bar_and_in_figures() -> None:
    figure = strip_figure([Dots("them", "quiet", [-0.2, 0.0]), Dots("us <&> $x$", "curve-2", [0.2, 0.4, 0.9])])
    assert dots(figure) == [[-0.2, 0.0], [0.2, 0.4, 0.9]]
    assert bars(figure) == pytest.approx([-0.1, 0.5])
    assert {"−0.10", "0.50", "them", "us <&> $x$"} <= texts(figure)


def test_equal_values_do_not_hide_each_other_nor_leave_their_row() -> None:
    (panel,) = strip_figure([Dots("one", "curve-1", [0.5] * 13), Dots("two", "curve-2", [0.5] * 13)]).axes
    for row, line in enumerate(line for line in panel.lines if line.get_marker() == "o"):
        assert len(set(line.get_ydata())) == 13
        assert all(abs(y - row) < 0.3 for y in line.get_ydata())


def test_a_band_of_two_deviations_and_lines_by_name() -> None:
    kinds = [
        Dots("others", "quiet", [0.1, 0.3], Baseline(0.2, 0.1, 9)),
        Dots("one", "curve-3", [], Baseline(0.8, None, 1)),
    ]
    figure = strip_figure(kinds, [("a line & more", 0.4)])
    (band,) = figure.axes[0].patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.0, 0.4))
    assert bars(figure) == [0.2, 0.8]
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [set(line.get_xdata()) for line in dashed] == [{0.4}]
    assert {"a line & more", "0.20", "0.80"} <= texts(figure)


def test_a_kind_without_values_has_a_dash_and_no_bar() -> None:
    figure = strip_figure([Dots("nobody", "curve-1", [])])
    assert dots(figure) == [[]] and bars(figure) == []
    assert "–" in texts(figure)
    assert figure_pixels(strip_figure([])).std() > 0


@pytest.mark.parametrize("width", [8.6, 4.2])
def test_names_have_their_dots_colour_beside_the_rows_or_above_them(width: float) -> None:
    kinds = [Dots("strangers", "quiet", [0.1]), Dots("mini-dev", "curve-1", [0.5])]
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        figure = strip_figure(kinds, theme=name, width=width)
        figure.draw_without_rendering()
        panel = figure.axes[0]
        named = {text.get_text(): text.get_color() for text in [*panel.get_yticklabels(), *panel.texts]}
        marks = [line.get_color() for line in panel.lines if line.get_marker() == "o"]
        assert [named["strangers"], named["mini-dev"]] == marks == [theme.quiet, theme.curves[0]]


def test_nothing_is_drawn_outside_and_nothing_covers_a_dot_at_the_end() -> None:
    for width in (8.6, 4.2):
        figure = strip_figure([Dots("a longer name, 28 steps", "curve-1", [-0.3, 1.0])], width=width)
        low, high = figure.axes[0].get_xlim()
        assert low < -0.3 and high > 1.0
        pixels = figure_pixels(figure)
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert np.all(edge == 255)


def test_a_drawing_has_both_themes_wide_and_narrow() -> None:
    drawn = strip_drawing([Dots("one", "curve-1", [0.5])])
    sizes = [
        int.from_bytes(png[16:20], "big") for png in (drawn.light, drawn.dark, drawn.narrow.light, drawn.narrow.dark)
    ]
    assert sizes == [1376, 1376, 672, 672]
    assert drawn == strip_drawing([Dots("one", "curve-1", [0.5])]), "the same to the byte"


def test_in_words() -> None:
    kinds = [Dots("strangers", "quiet", [-0.1, -0.3]), Dots("blank", "curve-2", [], Baseline(0.1, 0.1, 16))]
    assert strip_in_words(kinds) == "strangers: mean −0.20, 2 dots; blank: mean 0.10, 0 dots"
