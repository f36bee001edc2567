"""Similarity along the trajectory of one run, or of several runs beside each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..measures.base import comparable
from ..measures.lines import bar_of
from ..probe.drift import Drift, analyse
from ..probe.lines import above_in_words, lines_of, shared
from ..probe.trace import Trace
from .labels import Labeller
from .palette import LINES, SIZE, SMALL, Theme, in_lines, new_figure, similarity_axes, theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Axis = Literal["sigma", "steps", "both"]
MARKERS = ("o", "s", "^", "v", "D")
BOUNDED = 1.5  # noise levels above this are of a schedule without an upper bound, as Stable Diffusion's
LEVELS = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100)
MANY = 60  # points on a curve beyond which they are not marked one by one
AXES = {
    "sigma": "noise level σ, from pure noise to the finished picture",
    "steps": "steps completed",
}
SQUEEZED = "noise level σ, drawn as σ / (1 + σ), from pure noise to the finished picture"


@dataclass(frozen=True)
class Series:
    """One trace as numbers to draw; undefined is NaN, which breaks the line."""

    name: str
    steps: list[float]
    sigmas: list[float]
    means: list[float]
    low: list[float]
    high: list[float]
    unseen: list[float]  # measured where the face is known to be, though none was seen there
    final: tuple[float, float, float] | None  # step, sigma, mean of the finished picture
    figures: Drift
    trace: Trace

    @classmethod
    def of(cls, trace: Trace, name: str | None) -> "Series":
        """Read a trace."""
        counted, final, means = trace.counted, trace.final, trace.means
        seen = [record if mean is not None else None for record, mean in zip(trace.records, means, strict=True)]
        shown = [[v for i in counted if record and (v := record.similarity[i]) is not None] for record in seen]
        mean = None if final is None else trace.mean(final)
        return cls(
            name=name or title_of(trace),
            steps=[float(record.step) for record in trace.records],
            sigmas=[_nan(record.sigma) for record in trace.records],
            means=[_nan(mean) for mean in means],
            low=[min(values, default=math.nan) for values in shown],
            high=[max(values, default=math.nan) for values in shown],
            unseen=[_nan(trace.unseen_mean(record)) for record in trace.records],
            final=None if final is None or mean is None else (float(final.step), _nan(final.sigma), mean),
            figures=analyse(trace),
            trace=trace,
        )

    def along(self, axis: str) -> list[float]:
        """Positions of the steps on an axis."""
        return self.sigmas if axis == "sigma" else self.steps

    def squeezed(self) -> "Series":
        """The same with noise levels as shares of noise, σ / (1 + σ), which have an upper bound."""
        final = self.final and (self.final[0], _share(self.final[1]), self.final[2])
        return replace(self, sigmas=[_share(sigma) for sigma in self.sigmas], final=final)

    def place_of(self, step: int, axis: str) -> tuple[float, float] | None:
        """Where a step's mean is drawn."""
        at = self.steps.index(step) if step in self.steps else None
        return None if at is None else (self.along(axis)[at], self.means[at])

    def end(self, axis: str) -> tuple[float, float] | None:
        """Where the finished picture is drawn."""
        return None if self.final is None else (self.final[1 if axis == "sigma" else 0], self.final[2])


def title_of(trace: Trace) -> str:
    """A curve's name: the backbone, its steps, and what cut it short."""
    name = trace.run.backbone or "run"
    name = name if len(name) <= 32 else f"…{name[-31:]}"
    cut = "" if trace.status == "complete" else f", {trace.status}"
    return f"{name}, {trace.steps} step{'s' * (trace.steps != 1)}{cut}"


def similarity_figure(
    traces: Trace | Sequence[Trace],
    *,
    x: Axis | None = None,
    theme: str = "light",
    names: Sequence[str] | None = None,
    width: float = 7.0,
) -> "Figure":
    """Draw how much each prediction of a run looks like the person, or whatever its measure compared it with.

    The curve goes through the steps in which a face was seen. Hollow marks are steps in which none was, measured where
    the face is known to be; they are for the eye and belong to no curve, peak or band. The ring is the peak, the
    diamond the finished picture, the shaded or underlined stretch lies within 5 % of the peak, a band is a batch's
    range. In the grey below, a likeness is not above the lines of other people and of no face by two deviations. Zero
    is always on the axis.

    Args:
        traces: one trace or several. Each curve is the trajectory of one run, whatever its number of steps.
        x: "sigma" (the runs' common axis), "steps", or "both", one above the other; by default "sigma" for one trace
            (steps are written above it) and "both" for several. Steps alone where sigmas are unknown.
        theme: "light" or "dark".
        names: names of the curves; the backbone and its steps by default.
        width: inches; text is made for 7 (700 pixels at the figure's 100 dpi).

    Returns:
        A matplotlib figure with its own Agg canvas; nothing global is touched.

    Raises:
        ValueError: no trace, or an unknown axis or theme.
        SettingsError: the traces were measured by different rules.
        ImportError: matplotlib is missing.
    """
    given = [traces] if isinstance(traces, Trace) else list(traces)
    if not given or x not in (None, "sigma", "steps", "both"):
        raise ValueError(f'Expected at least one trace and x "sigma", "steps" or "both"; got {len(given)} and {x!r}.')
    comparable([trace.rule for trace in given], "These runs")
    colours = theme_named(theme)
    labels = list(names) if names is not None else [None] * len(given)
    series = [Series.of(trace, name) for trace, name in zip(given, labels, strict=True)]
    wanted = x or ("both" if len(series) > 1 else "sigma")
    known = all(math.isfinite(sigma) for one in series for sigma in one.sigmas)
    axes = ["sigma", "steps"] if wanted == "both" else [wanted]
    axes = axes if known else ["steps"]
    unbounded = known and any(sigma > BOUNDED for one in series for sigma in one.sigmas)
    series = [one.squeezed() for one in series] if unbounded else series
    figure = new_figure(width, 1.1 + 3.1 * len(axes), colours)
    panels = [figure.add_subplot(len(axes), 1, row + 1) for row in range(len(axes))]
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(panel, axis, series, colours)
        if unbounded and axis == "sigma":
            shown = [level for level in LEVELS if _share(level) <= max(sigma for one in series for sigma in one.sigmas)]
            panel.set_xticks([_share(level) for level in shown], [f"{level:g}" for level in shown])
            panel.set_xlabel(SQUEEZED, fontsize=SIZE, color=colours.ink)
    _name_curves(panels[0], series, colours)
    figure.supxlabel(_footer(series, width), fontsize=SMALL, color=colours.quiet, parse_math=False)
    figure.draw_without_rendering()
    for panel, axis in zip(panels, axes, strict=True):
        _label_panel(panel, axis, series, colours)
    return figure


def _draw_panel(panel: Any, axis: str, series: Sequence[Series], theme: Theme) -> None:
    """Frame, curves, levels."""
    from matplotlib.ticker import MaxNLocator

    similarity_axes(panel, AXES[axis], theme)
    panel.set_ylabel(series[0].trace.wording.axis, fontsize=SIZE, color=theme.ink)
    for order, one in enumerate(series):
        colour, marker = theme.curves[order % len(theme.curves)], MARKERS[order % len(MARKERS)]
        _draw_curve(panel, axis, one, colour, marker, theme, len(series) == 1)
    if axis == "sigma":
        top = max((sigma for one in series for sigma in one.sigmas), default=1.0)
        panel.set_xlim(top * 1.03, -0.05 * top)
        if len(series) == 1:
            _steps_above(panel, series[0], theme)
    else:
        panel.set_xlim(0, max((one.steps[-1] for one in series if one.steps), default=1) * 1.04 + 0.2)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    low, high = _range(series)
    bar = bar_of(series[0].trace.strangers, series[0].trace.blank)
    if bar is not None and shared([one.trace for one in series]):
        panel.axhspan(low, bar, color=theme.quiet, alpha=0.09, linewidth=0, zorder=0.5)
    panel.set_ylim(low, high)


def _draw_curve(panel: Any, axis: str, one: Series, colour: str, marker: str, theme: Theme, alone: bool) -> None:
    """One trajectory with its marks, band, window, peak and finished picture."""
    place, many = one.along(axis), len(one.steps) > MANY
    if len(one.trace.counted) > 1:
        panel.fill_between(place, one.low, one.high, color=colour, alpha=0.14, linewidth=0, zorder=2)
    window = one.figures.window
    if window is not None and alone:
        shaded = [at for step, at in zip(one.steps, place, strict=True) if window[0] <= step <= window[1]]
        panel.axvspan(min(shaded, default=0), max(shaded, default=0), color=colour, alpha=0.12, linewidth=0, zorder=1)
    elif window is not None:
        inside = [window[0] <= step <= window[1] for step in one.steps]
        under = [mean if flag else math.nan for mean, flag in zip(one.means, inside, strict=True)]
        panel.plot(place, under, color=colour, alpha=0.25, linewidth=9, solid_capstyle="round", zorder=2.5)
    panel.plot(place, one.means, color=colour, linewidth=1.8, zorder=4)
    if not many:
        for values, face in ((one.means, colour), (one.unseen, theme.paper)):
            at = [i for i, value in enumerate(values) if math.isfinite(value)]
            xs, ys = [place[i] for i in at], [values[i] for i in at]
            panel.plot(xs, ys, marker, color=colour, markerfacecolor=face, markersize=4.5, linestyle="none", zorder=5)
    end = one.end(axis)
    if end is not None:
        if one.steps and one.final is not None and one.final[0] == one.steps[-1]:
            link_x, link_y = [place[-1], end[0]], [one.means[-1], end[1]]
            panel.plot(link_x, link_y, color=colour, linewidth=1.2, linestyle=(0, (2, 2)), zorder=3)
        panel.plot(*end, "D", color=colour, markersize=7, markeredgecolor=theme.paper, markeredgewidth=1.2, zorder=7)
    peak = _peak_place(one, axis)
    if peak is not None:
        panel.plot(*peak, "o", markersize=12, markerfacecolor="none", markeredgecolor=theme.ink, zorder=8)


def _label_panel(panel: Any, axis: str, series: Sequence[Series], theme: Theme) -> None:
    """Levels, peaks and finished pictures by name."""
    labeller = Labeller(panel, SIZE)
    for one in series:
        end, ring = one.end(axis), _peak_place(one, axis)
        labeller.avoid_curve([*zip(one.along(axis), one.means, strict=True), *([end] if end else [])])
        for mark in (ring, end):
            if mark:
                labeller.avoid_mark(*mark)
        for at in zip(one.along(axis), one.unseen, strict=True):
            if math.isfinite(at[1]):
                labeller.avoid_mark(*at, reach=5.0)
    lines = _level_lines(series, theme)
    for _, level, colour, dashes in lines:
        panel.axhline(level, color=colour, linewidth=1.1, linestyle=dashes, zorder=1.5)
        labeller.avoid_level(level)
    for text, level, colour, _ in lines:
        labeller.name_level(text, level, colour)
    for order, one in enumerate(series):
        colour, peak, end = theme.curves[order % len(theme.curves)], _peak_place(one, axis), one.end(axis)
        if peak is not None and one.figures.peak is not None:
            text = f"peak {one.figures.peak.value:.2f}, step {one.figures.peak.step}"
            labeller.put(text, *peak, colour)
        if end is not None and end != peak:
            labeller.put(f"finished {end[1]:.2f}", *end, colour)


def _peak_place(one: Series, axis: str) -> tuple[float, float] | None:
    """Where the peak is drawn: at its step, or at the finished picture when that is the best."""
    peak = one.figures.peak
    at = None if peak is None else one.place_of(peak.step, axis)
    if peak is not None and at is not None and at[1] == peak.value:
        return at
    return None if peak is None else one.end(axis)


def _level_lines(series: Sequence[Series], theme: Theme) -> list[tuple[str, float, str, Any]]:
    """Text, level, colour and dashes of the lines beside the curves, once each where all curves share them."""
    found: dict[tuple[str, float], tuple[str, float, str, Any]] = {}
    for order, one in enumerate(series):
        for line in lines_of(one.trace):
            common = all(line in lines_of(other.trace) for other in series)
            colour = theme.quiet if common else theme.curves[order % len(theme.curves)]
            found.setdefault((line.text, line.level), (line.text, line.level, colour, LINES[line.kind]))
    return sorted(found.values(), key=lambda line: -line[1])


def _name_curves(panel: Any, series: Sequence[Series], theme: Theme) -> None:
    """The curves' names above the first panel, in their colours."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=theme.curves[i % len(theme.curves)], marker=MARKERS[i % len(MARKERS)], label=one.name)
        for i, one in enumerate(series)
    ]
    above = 1.17 if len(series) == 1 and panel.child_axes else 1.01
    legend = panel.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, above), ncols=2, frameon=False, fontsize=SIZE + 0.5,
        labelcolor="linecolor", handlelength=1.6, columnspacing=1.6, borderaxespad=0,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _steps_above(panel: Any, one: Series, theme: Theme) -> None:
    """Step numbers over the sigma axis, as many as can be read."""
    apart, last, ticks = 0.045 * (max(one.sigmas, default=1.0) or 1.0), math.inf, []
    for step, sigma in zip(one.steps, one.sigmas, strict=True):
        if abs(last - sigma) >= apart:
            ticks.append((sigma, f"{step:.0f}"))
            last = sigma
    above = panel.secondary_xaxis("top")
    above.set_xticks([sigma for sigma, _ in ticks], [name for _, name in ticks])
    above.tick_params(colors=theme.quiet, labelsize=SIZE - 0.5, length=3)
    above.spines["top"].set_visible(False)
    above.set_xlabel("steps completed", fontsize=SIZE, color=theme.quiet)


def _range(series: Sequence[Series]) -> tuple[float, float]:
    """From below zero or the lowest value to above the highest, with room for labels."""
    values = [0.0, *(value for one in series for value in [*one.low, *one.high, *one.means, *one.unseen])]
    values = [value for value in values if math.isfinite(value)]
    for one in series:
        values += [one.final[2]] if one.final else []
        values += [line.level for line in lines_of(one.trace)]
    low, high = min(values), max(values)
    span = max(high - low, 0.1)
    return low - 0.12 * span, high + 0.17 * span


def _footer(series: Sequence[Series], width: float) -> str:
    """How to read the chart, where it is above the lines, and which network measured."""
    traces = [one.trace for one in series]
    recognizers = ", ".join(dict.fromkeys(trace.recognizer.partition(" (")[0] for trace in traces))
    bars = [bar_of(trace.strangers, trace.blank) is not None for trace in traces]
    parts = ["ring: peak", "diamond: finished picture"]
    parts += [f"{'shaded' if len(series) == 1 else 'broad'}: within 5 % of the peak"]
    parts += ["band: range of the batch"] if any(len(trace.counted) > 1 for trace in traces) else []
    unseen = any(math.isfinite(value) for one in series for value in one.unseen)
    parts += [f"hollow: {traces[0].wording.unseen} there, counts for nothing"] if unseen else []
    parts += ["grey: not above the lines by 2 deviations"] if all(bars) and shared(traces) else []
    above = [(one.name, above_in_words(one.trace)) for one in series]
    said = [text if len(series) == 1 else f"{name}: {text}" for name, text in above if text]
    unknown = traces[0].wording.others_unknown if any(trace.strangers is None for trace in traces) else None
    said += [unknown] if unknown else []
    measured = ["Each curve is the trajectory of one run.", f"Measured by {recognizers}"]
    return "\n".join([*in_lines(said, width), *in_lines(parts, width), " ".join(measured)])


def _share(sigma: float) -> float:
    """Noise as a share of what is seen, 0 to 1."""
    return sigma / (1 + sigma)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
