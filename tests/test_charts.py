"""The page's charts, read back from their SVG."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from infusenet.demo.svg import Row, Run, drift_chart, mean, number, strip_chart


def elements(svg, kind, colour=""):
    """Elements whose class has these words."""
    words = {word for word in (kind, colour) if word}
    return [node for node in ElementTree.fromstring(svg).iter() if words <= set((node.get("class") or "").split())]


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(None, 2, "–"), (0.125, 2, "0.12"), (-0.5, 1, "−0.5"), (-0.0004, 2, "0.00"), (-0.0004, 4, "−0.0004"), (3, 0, "3")],
)
def test_number(value, digits, text):
    assert number(value, digits) == text


def test_mean_of_nothing_is_undefined():
    assert mean([]) is None
    assert mean([0.25, 0.75]) == 0.5


def test_strip_has_a_dot_for_each_value_in_its_place():
    svg = strip_chart([Row("them", "other", [-0.2, 0.0]), Row("us <&>", "quick", [0.2, 0.4, 0.9])])
    dots = elements(svg, "dot", "quick")
    places = [float(dot.get("cx")) for dot in dots]
    assert len(elements(svg, "dot", "other")) == 2
    assert places[1] - places[0] == pytest.approx((places[2] - places[1]) * 2 / 5, abs=0.2)  # linear: .2 against .5
    (bar,) = elements(svg, "mean", "quick")
    assert float(bar.get("x1")) == pytest.approx(places[0] + (0.5 - 0.2) / 0.7 * (places[2] - places[0]), abs=0.2)
    assert "0.50" in texts(svg)
    assert "us <&>" in texts(svg)


def test_strip_draws_a_band_of_two_deviations_and_lines_by_name():
    rows = [Row("others", "other", [0.1, 0.3], (0.2, 0.1)), Row("one", "same", [0.8], (0.8, None))]
    svg = strip_chart(rows, [(0.4, "a line & more")])
    (band,) = elements(svg, "band")
    (line,) = elements(svg, "baseline")
    assert float(band.get("x")) + float(band.get("width")) == pytest.approx(float(line.get("x1")), abs=0.2)
    assert float(band.get("x")) == pytest.approx(float(elements(svg, "grid", "zero")[0].get("x1")), abs=0.2)
    assert "a line & more" in texts(svg)
    assert {"0.20", "0.80"} <= set(texts(svg))


def test_strip_without_values_is_drawn():
    assert elements(strip_chart([Row("nobody", "slow", [])]), "dot") == []


def test_drift_leaves_undefined_steps_out_and_marks_the_first_of_equal_peaks():
    run = Run("mini-dev", "slow", [1.0, 0.75, 0.5, 0.25], [None, 0.3, 0.4, 0.4])
    svg = drift_chart([run], stranger=-0.05)
    (peak,) = elements(svg, "peak", "slow")
    assert "step 3 of 4" in "".join(peak.itertext())
    assert len(elements(svg, "point", "slow")) == 2
    (line,) = elements(svg, "run", "slow")
    assert len(line.get("points").split()) == 3
    (baseline,) = elements(svg, "baseline")
    heights = {float(node.get("y1")) for node in elements(svg, "grid")}
    assert min(heights) < float(baseline.get("y1")) < max(heights)


def test_drift_runs_from_noise_to_the_picture():
    svg = drift_chart([Run("a", "quick", [1.0, 0.0], [0.1, 0.2])], stranger=None)
    first, last = (tuple(map(float, point.split(","))) for point in elements(svg, "run")[0].get("points").split())
    assert first[0] < last[0]  # sigma falls to the right
    assert first[1] > last[1]  # and what is more alike is higher up
    assert "strangers" not in texts(svg)


def test_drift_labels_do_not_overlap():
    runs = [Run(name, "quick", [1.0, 0.0], [0.2, 0.3]) for name in ("one", "two", "three")]
    svg = drift_chart(runs, stranger=0.3)
    heights = sorted(float(node.get("y")) for node in elements(svg, "label"))
    assert len(heights) == 4
    assert all(below - above >= 16 for above, below in itertools.pairwise(heights))


def test_drift_with_nothing_measured_is_drawn():
    svg = drift_chart([Run("a", "quick", [1.0], [None])], stranger=None)
    assert elements(svg, "run") == []
    assert re.search(r"<svg [^>]*viewBox", svg)
