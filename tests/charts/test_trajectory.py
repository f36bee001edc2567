"""The chart says what the trace says: read back from the figure's own marks, lines and texts."""

import itertools
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet.charts import figure_pixels, save_chart, similarity_figure
from infusenet.errors import SettingsError
from infusenet.probe import Baseline, ReferenceInfo, Rule, RunInfo, StepRecord, Trace


def trace_of(curve: list[float | None], *others: list[float | None], backbone: str = "dev", **changes: Any) -> Trace:
    items = list(zip(curve, *others, strict=True))
    sigmas = tuple(1 - i / len(curve) for i in range(len(curve) + 1))
    none = (None,) * len(items[0])
    records = tuple(
        StepRecord(i + 1, sigmas[i], values, tuple(v is not None for v in values),
                   tuple(None if v is None else "detected" for v in values), none, none, none)
        for i, values in enumerate(items)
    )  # fmt: skip
    trace = Trace(
        records=records,
        final=replace(records[-1], sigma=0.0),
        batch=len(items[0]),
        every=1,
        sigmas=sigmas,
        reference=ReferenceInfo(1),
        strangers=Baseline(0.05, 0.1, 30),
        ceiling=0.8,
        recognizer="measurer.onnx abc (CPU)",
        evaluation="after",
        status="complete",
        reason=None,
        warnings=(),
        seconds_in_loop=0.0,
        seconds_after=0.0,
        run=RunInfo(backbone=backbone, steps=len(curve)),
    )
    return replace(trace, **changes)


LONG: list[float | None] = [0.2 + 0.03 * min(i, 8) - 0.006 * max(i - 8, 0) for i in range(28)]
SHORT: list[float | None] = [0.3, 0.42, 0.41, 0.38]


def lines(panel: Any, marker: str) -> list[tuple[list[float], list[float]]]:
    return [(list(l.get_xdata()), list(l.get_ydata())) for l in panel.lines if l.get_marker() == marker]  # noqa: E741


def texts(figure: Any) -> list[Any]:
    import matplotlib.text

    found = figure.findobj(lambda artist: isinstance(artist, matplotlib.text.Text) and artist.get_visible())
    return [text for text in found if text.get_text().strip()]


def words(figure: Any) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than a pixel's breadth."""
    figure_pixels(figure)
    renderer = figure.canvas.get_renderer()
    unseen = [
        tick.label1
        for panel in figure.axes
        for axis, limits in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim()))
        for tick in axis.get_major_ticks()
        if not min(limits) <= tick.get_loc() <= max(limits)
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure) if text not in unseen]
    boxes = [(text, box) for text, box in boxes if box.x1 > 0 and box.y1 > 0 and box.width < figure.bbox.width]
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def test_one_trace_over_sigma() -> None:
    figure = similarity_figure(trace_of(LONG))
    (panel,) = figure.axes
    left, right = panel.get_xlim()
    low, high = panel.get_ylim()
    assert left > 1 > 0 > right, "time runs from noise on the left to the picture on the right"
    assert low < 0 and high > 0.8, "zero and the ceiling are on the axis"
    (xs, ys), *_ = lines(panel, "None")
    assert xs == pytest.approx([1 - i / 28 for i in range(28)]) and ys == pytest.approx(LONG)
    assert (([1 - 8 / 28], [pytest.approx(0.44)])) in [(x, y) for x, y in lines(panel, "o") if len(x) == 1]
    assert lines(panel, "D") == [([0.0], [pytest.approx(LONG[-1])])]
    said = words(figure)
    assert "peak 0.44, step 9" in said and "finished 0.33" in said and "other people 0.05" in said
    assert "steps completed" in said and "measurer.onnx abc" in said and "0.80" in said and "CPU" not in said
    assert panel.patches, "the window is shaded"


def test_two_traces_over_sigma_and_over_steps() -> None:
    figure = similarity_figure([trace_of(SHORT, backbone="schnell"), trace_of(LONG)])
    over_sigma, over_steps = figure.axes
    assert next(len(x) for x, _ in lines(over_steps, "s")) == 28
    assert lines(over_steps, "D")[0][0] == [4.0] and lines(over_steps, "D")[1][0] == [28.0]
    assert [x for x, _ in lines(over_sigma, "D")] == [[0.0], [0.0]]
    said = words(figure)
    assert "schnell, 4 steps" in said and "dev, 28 steps" in said and "trajectory of one run" in said
    assert said.count("other people 0.05") == 2, "once a panel, not once a curve"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [5.0, 7.0, 12.0])
def test_no_text_covers_another(theme: str, width: float) -> None:
    traces = [trace_of(SHORT, backbone="schnell"), trace_of(LONG)]
    for given in (traces, traces[0], traces[1]):
        assert overlaps(similarity_figure(given, theme=theme, width=width)) == []


def test_size_and_colours() -> None:
    light, dark = (figure_pixels(similarity_figure(trace_of(SHORT), theme=name)) for name in ("light", "dark"))
    assert light.shape[1:] == (700, 3) and light.dtype == np.uint8
    assert light[0, 0].tolist() == [255, 255, 255] and dark[0, 0].max() < 40


def unseen(trace: Trace, *steps: int) -> Trace:
    """The same, with no face seen in some steps: measured where a later one has it."""
    records = tuple(
        replace(one, found=(False,) * one.batch, alignment=("back-filled",) * one.batch) if one.step in steps else one
        for one in trace.records
    )
    return replace(trace, records=records)


def test_unseen_points_are_hollow_and_belong_to_no_curve_and_no_peak() -> None:
    trace = unseen(trace_of([0.9, 0.3, 0.42, 0.41, 0.38]), 1, 4)
    figure = similarity_figure(trace)
    filled = {
        line.get_markerfacecolor() == line.get_color(): list(line.get_ydata())
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_markersize() < 6
    }
    assert filled == {False: [0.9, 0.41], True: [0.3, 0.42, 0.38]}
    (_, curve), *_ = lines(figure.axes[0], "None")
    assert [value if math.isfinite(value) else None for value in curve] == [None, 0.3, 0.42, None, 0.38]
    assert "peak 0.42, step 3" in words(figure) and figure.axes[0].get_ylim()[1] > 0.9
    assert "hollow" in words(figure) and "hollow" not in words(similarity_figure(trace_of(SHORT)))


def test_a_batch_has_no_band_where_one_picture_is_unseen() -> None:
    trace = trace_of([0.1, 0.3, 0.2], [0.5, 0.4, 0.4])
    records = (replace(trace.records[0], found=(True, False)), *trace.records[1:])
    (panel,) = similarity_figure(replace(trace, records=records), x="steps").axes
    (band,) = panel.collections
    assert min(x for x, _ in band.get_paths()[0].vertices) == 2
    assert ([1.0], [pytest.approx(0.3)]) in lines(panel, "o"), "the mean, hollow"


SFACE = {"recognizer": "face_recognition_sface_2021dec.onnx 0ba9fbfa01b5 (CPU)", "published_line": 0.363}
BLANK = Baseline(0.19, 0.06, 16)


def test_the_lines_have_their_names_and_the_chart_says_where_it_is_above_them() -> None:
    trace = trace_of([0.1, 0.3, 0.45, 0.4], blank=BLANK, ceiling=None, **SFACE)
    figure = similarity_figure(trace)
    for text in (
        "other people 0.05",
        "no face (blank) 0.19",
        "SFace's same-person line 0.363",
        "above both lines from step 3",
    ):
        assert text in words(figure)
    assert "unknown" not in words(figure) and "never above both lines" in words(
        similarity_figure(replace(trace, strangers=Baseline(0.4, 0.1, 9)))
    )
    (grey,) = [patch for patch in figure.axes[0].patches if patch.get_alpha() == 0.09]
    assert grey.get_y() + grey.get_height() == pytest.approx(0.31)


def test_unknown_lines_are_said_to_be_unknown() -> None:
    said = words(similarity_figure(trace_of(SHORT, strangers=None, blank=BLANK)))
    assert "other people: unknown" in said and "above the blank line from step 2" in said
    assert "above" not in words(similarity_figure(trace_of(SHORT, strangers=None)))


@pytest.mark.parametrize("gap", [0.0, 0.004, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("level", [0.02, 0.3, 0.42])
def test_names_of_lines_never_touch(level: float, gap: float) -> None:
    lines = {"strangers": Baseline(level, 0.05, 16), "blank": Baseline(level + gap, 0.05, 16), "ceiling": None}
    for given in (trace_of(LONG, **lines, **SFACE), unseen(trace_of(SHORT, **lines), 1, 2)):
        assert overlaps(similarity_figure(given)) == []


def test_runs_of_different_rules_are_not_drawn_together() -> None:
    one, other = (trace_of(SHORT, rule=Rule("face 1", {"confident from": sure})) for sure in ("0.5", "0.8"))
    similarity_figure([one, one])
    for pair in ([one, other], [one, trace_of(SHORT)]):
        with pytest.raises(SettingsError, match="measured by different rules"):
            similarity_figure(pair)


def test_the_first_of_equal_peaks_is_marked_and_noise_falls_to_the_right() -> None:
    figure = similarity_figure(trace_of([None, 0.3, 0.4, 0.4]))
    assert "peak 0.40, step 3" in words(figure)
    (panel, *_) = figure.axes
    left, right = panel.get_xlim()
    assert left > right, "pure noise at the left"
    low, high = panel.get_ylim()
    assert low < high, "what is more alike is higher up"


def test_a_chart_is_written_whole_and_the_same_to_the_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_chart([trace_of(SHORT), trace_of(LONG)], tmp_path / f"{name}.png")
    one, two = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert one == two and one.startswith(b"\x89PNG")
    with pytest.raises(OSError):
        save_chart(trace_of(SHORT), tmp_path / "none" / "three.png")


def test_a_batch_is_a_band_around_its_mean() -> None:
    figure = similarity_figure(trace_of([0.1, 0.3], [0.5, 0.4]), x="steps")
    (panel,) = figure.axes
    assert lines(panel, "None")[0][1] == pytest.approx([0.3, 0.35])
    (band,) = panel.collections
    corners = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(1, 0.1), (2, 0.3), (1, 0.5), (2, 0.4)} <= corners
    assert "band" in words(figure)


def test_undefined_breaks_the_line_and_nothing_at_all_is_an_empty_chart() -> None:
    figure = similarity_figure(trace_of([0.1, None, 0.3]), x="steps")
    assert math.isnan(lines(figure.axes[0], "None")[0][1][1])
    empty = similarity_figure(trace_of([None, None], strangers=None, ceiling=None))
    assert "peak" not in words(empty).replace("ring: peak", "").replace("of the peak", "")
    assert figure_pixels(empty).std() > 0


def test_unknown_sigmas_leave_the_steps() -> None:
    trace = trace_of(SHORT)
    trace = replace(trace, records=tuple(replace(record, sigma=None) for record in trace.records))
    (panel,) = similarity_figure(trace, x="both").axes
    assert panel.get_xlabel() == "steps completed"


def test_runs_cut_short_say_so() -> None:
    trace = trace_of(SHORT)
    stopped = replace(trace, status="stopped at peak", final=replace(trace.records[1]))
    figure = similarity_figure(stopped)
    assert "stopped at peak" in words(figure)
    assert lines(figure.axes[0], "D") == [([trace.records[1].sigma], [0.42])], "drawn at its own step, not at the end"
    interrupted = similarity_figure(replace(trace, status="interrupted", final=None))
    assert lines(interrupted.axes[0], "D") == [] and "interrupted" in words(interrupted)


def test_long_runs_and_odd_names() -> None:
    many = [0.3 + 0.1 * math.sin(i / 100) for i in range(1000)]
    figure = similarity_figure([trace_of(many, backbone="$x^2$ <b>" * 9), trace_of(SHORT, backbone="$\\frac{")])
    figure_pixels(figure)
    assert overlaps(figure) == []


def test_nothing_global_is_touched() -> None:
    code = (
        "import sys; from infusenet.charts import similarity_figure; from infusenet.probe import Trace;"
        "t = Trace.from_json(sys.stdin.read());"
        "import matplotlib; settings = lambda: {k: v for k, v in matplotlib.rcParams.items() if k != 'backend'};"
        "before = settings(); [sys.modules.pop(name) for name in list(sys.modules) if name == 'matplotlib.pyplot'];"
        "similarity_figure(t); assert settings() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], input=trace_of(SHORT).to_json(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.exact
def test_drawing_in_threads_gives_the_same_picture() -> None:
    alone, drawn = figure_pixels(similarity_figure(trace_of(SHORT))), []
    threads = [
        threading.Thread(target=lambda: drawn.append(figure_pixels(similarity_figure(trace_of(SHORT)))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 3 and all(np.array_equal(picture, alone) for picture in drawn)


@pytest.mark.parametrize("bad", [{"x": "time"}, {"theme": "pink"}, {"traces": []}])
def test_arguments_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        similarity_figure(**{"traces": trace_of(SHORT), **bad})


def test_unbounded_noise_levels_are_drawn_as_shares() -> None:
    """Stable Diffusion's begin at 14.6 and are below 1 for most of the run: linear, those would share one place."""
    levels = (14.6, 5.0, 1.0, 0.25, 0.0)
    trace = trace_of([0.1, 0.2, 0.5, 0.4])
    records = tuple(replace(one, sigma=sigma) for one, sigma in zip(trace.records, levels, strict=False))
    figure = similarity_figure(replace(trace, records=records, sigmas=levels))
    ((places, _),) = lines(figure.axes[0], "o")[:1]
    assert np.allclose(places, [14.6 / 15.6, 5 / 6, 0.5, 0.2])
    ticks = dict(
        zip([label.get_text() for label in figure.axes[0].get_xticklabels()], figure.axes[0].get_xticks(), strict=True)
    )
    assert ticks["1"] == 0.5 and ticks["0"] == 0 and "100" not in ticks
    assert "σ / (1 + σ)" in words(figure) and overlaps(figure) == []
    assert "σ / (1 + σ)" not in words(similarity_figure(trace))
