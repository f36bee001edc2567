"""The chart and the sheet of a sweep say what came of each value: read back from the marks and the tiles."""

from typing import Any

import numpy as np
import pytest

from infusenet.axes import AXES, Tried
from infusenet.charts import contact_sheet, figure_pixels, sheet_tile, values_figure
from infusenet.charts.values import AREA
from infusenet.probe import Baseline


def tried(value: float, *similarities: float | None) -> Tried:
    return Tried(value, similarities, 4, 0, 1.0)


def figure_of(rows: list[Tried], axis: str = "steps", **more: Any) -> Any:
    return values_figure(rows, AXES[axis], recognizer="rec.onnx 12ab (CPU)", **more)


def marks(figure: Any, marker: str) -> list[tuple[float, float]]:
    (panel,) = figure.axes
    lines = [line for line in panel.lines if line.get_marker() == marker and line.get_linestyle() == "None"]
    points = [(x, y) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
    return sorted((float(x), float(y)) for x, y in points if np.isfinite(y))


def words(figure: Any) -> str:
    import matplotlib.text

    texts = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in texts if text.get_visible())


ROWS = [tried(8, 0.4), tried(1, None), tried(4, 0.5), tried(2, 0.3)]


def test_every_value_is_where_it_belongs() -> None:
    figure = figure_of(ROWS, strangers=Baseline(0.07, 0.1, 16), note="A note.")
    (panel,) = figure.axes
    (curve,) = [line for line in panel.lines if line.get_linewidth() == 1.8]
    assert list(curve.get_xdata()) == [1, 2, 4, 8]  # by value, whatever the order
    assert [y if np.isfinite(y) else None for y in curve.get_ydata()] == [None, 0.3, 0.5, 0.4]
    assert marks(figure, "x") == [(1.0, 0.03)]
    rings = [line for line in panel.lines if line.get_markersize() == 12]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [(4, 0.5)]
    told = words(figure)
    for text in ("best 0.50 at 4", "other people 0.07", "3 of 4 pictures show a face", "cross: no face", "A note."):
        assert text in told
    assert "Measured by rec.onnx 12ab" in told and "separate runs" in told
    assert panel.get_ylim()[0] < 0


def test_the_blank_line_is_drawn_and_unknown_is_said() -> None:
    told = words(figure_of(ROWS, strangers=Baseline(0.07, 0.1, 16), blank=Baseline(0.08, 0.1, 16)))
    assert "no face (blank) 0.08" in told and "other people 0.07" in told and "unknown" not in told
    assert "other people: unknown" in words(figure_of(ROWS))


def test_a_batch_is_a_mean_with_its_range_and_hollow_where_some_failed() -> None:
    figure = figure_of([tried(1.0, 0.2, 0.4), tried(2.0, 0.6, None)], "strength")
    (panel,) = figure.axes
    assert {(x, round(y, 9)) for x, y in marks(figure, "o")} == {(1.0, 0.3), (2.0, 0.6)}
    bars = [line for line in panel.lines if line.get_linewidth() == 1.6]
    assert [list(line.get_ydata()) for line in bars] == [[0.2, 0.4]]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "#ffffff" and line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in hollow] == [[2.0]]
    assert "hollow: some pictures without a face" in words(figure)


def test_seeds_are_not_joined_and_keep_their_order() -> None:
    figure = figure_of([tried(2**63, 0.1), tried(5, 0.2)], "seed")
    (panel,) = figure.axes
    assert not [line for line in panel.lines if line.get_linewidth() == 1.8 and line.get_linestyle() == "-"]
    assert [label.get_text() for label in panel.get_xticklabels()] == [str(2**63), "5"]


@pytest.mark.parametrize("rows", [[tried(4, None)], [tried(4, 0.2)], [tried(n, 0.3) for n in range(1, 101)]])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_anything_can_be_drawn_within_the_figure(rows: list[Tried], theme: str) -> None:
    figure = figure_of(rows, theme=theme)
    assert figure_pixels(figure).shape == (420, 700, 3)
    (panel,) = figure.axes
    assert panel.get_position().height > 0.5
    assert "nan" not in words(figure)
    assert ("best" in words(figure)) is (rows[0].similarity is not None)


def test_nothing_tried_is_an_error() -> None:
    with pytest.raises(ValueError, match="got none"):
        figure_of([])


def flat(value: int) -> np.ndarray:
    return np.full((320, 240, 3), (value, 0, 255 - value), np.uint8)


def at(sheet: np.ndarray, place: int, columns: int) -> np.ndarray:
    x, y = 10 + place % columns * 250, 10 + place // columns * (320 + 34 + 14)
    return sheet[y : y + 320, x : x + 240]


def test_every_picture_is_in_its_place_and_the_best_one_framed() -> None:
    pictures = [flat(40 * place) for place in range(4)]
    sheet = contact_sheet(pictures, ROWS, AXES["steps"])
    for place, picture in enumerate(pictures):
        assert (at(sheet, place, 4) == picture).all()
    plain = contact_sheet(pictures, [tried(row.value, None) for row in ROWS], AXES["steps"])
    frame = (slice(5, 10), slice(10 + 2 * 250, 10 + 2 * 250 + 240))  # above the third
    assert (sheet[frame] != plain[frame]).any() and (plain[frame] == 255).all()


def test_a_values_pictures_are_a_row() -> None:
    pictures = [flat(30 * place) for place in range(6)]
    rows = [tried(1, 0.1, None), tried(2, 0.2, 0.4), tried(4, None, None)]
    sheet = contact_sheet(pictures, rows, AXES["steps"])
    assert sheet.shape[1] == 10 + 2 * 250
    for place, picture in enumerate(pictures):
        assert (at(sheet, place, 2) == picture).all()


@pytest.mark.parametrize(
    ("size", "count", "tile"),
    [
        ((864, 1152), 8, (240, 320)),
        ((128, 128), 4, (192, 192)),
        ((250, 200), 4, (250, 200)),
        ((4096, 16), 1, (320, 1)),
    ],
)
def test_tiles(size: tuple[int, int], count: int, tile: tuple[int, int]) -> None:
    assert sheet_tile(*size, count) == tile
    assert sheet_tile(*tile, count) == tile


def test_very_many_pictures_stay_within_the_area() -> None:
    for count in (100, 1600, 10_000):
        width, height = sheet_tile(1024, 1024, count)
        assert width * height * count < AREA * 1.1
