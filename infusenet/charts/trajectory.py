"""Similarity along the trajectory of one run, or of several runs beside each other."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..files import write_atomically
from ..measures.base import comparable
from ..measures.lines import bar_of
from ..probe.lines import above_in_words, lines_of, shared
from ..probe.trace import Trace
from .curve import Curve, share_of_noise
from .labels import Labeller
from .palette import (
    LINES,
    SIZE,
    Theme,
    handle,
    in_inches,
    legend,
    limits,
    marker,
    new_figure,
    png,
    similarity_axes,
    theme_named,
    write_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Along = Literal["sigma", "steps", "both"]
BOUNDED = 1.5  # noise levels above this are of a schedule without an upper bound, as Stable Diffusion's
LEVELS = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100)
MANY = 60  # points on a curve beyond which they are not marked one by one
AXES = {
    "sigma": "noise level σ, from pure noise to the finished picture",
    "steps": "steps completed",
}
SQUEEZED = "noise level σ, drawn as σ / (1 + σ), from pure noise to the finished picture"


def similarity_figure(
    traces: Trace | Sequence[Trace],
    *,
    x: Along | None = None,
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
    curves = [Curve.of(trace, name) for trace, name in zip(given, labels, strict=True)]
    wanted = x or ("both" if len(curves) > 1 else "sigma")
    known = all(math.isfinite(sigma) for one in curves for sigma in one.sigmas)
    axes = ["sigma", "steps"] if wanted == "both" else [wanted]
    axes = axes if known else ["steps"]
    unbounded = known and any(sigma > BOUNDED for one in curves for sigma in one.sigmas)
    curves = [one.squeezed() for one in curves] if unbounded else curves
    figure = new_figure(width, 1.1 + 3.1 * len(axes), colours)
    panels = [figure.add_subplot(len(axes), 1, row + 1) for row in range(len(axes))]
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(panel, axis, curves, colours)
        if unbounded and axis == "sigma":
            shown = [
                level
                for level in LEVELS
                if share_of_noise(level) <= max(sigma for one in curves for sigma in one.sigmas)
            ]
            panel.set_xticks([share_of_noise(level) for level in shown], [f"{level:g}" for level in shown])
            panel.set_xlabel(SQUEEZED, fontsize=SIZE, color=colours.ink)
    _name_curves(panels[0], curves, colours)
    write_below(figure, _footer(curves, width), colours)
    for panel, axis in zip(panels, axes, strict=True):
        _label_panel(panel, axis, curves, colours)
    return figure


def save_chart(traces: Trace | Sequence[Trace], path: Path) -> None:
    """Draw the similarity at every step of one run or more, and write it as a PNG that appears whole.

    Raises:
        OSError: the disk refuses.
    """
    write_atomically(path, png(similarity_figure(traces)))


def _draw_panel(panel: Any, axis: str, curves: Sequence[Curve], theme: Theme) -> None:
    """Frame, curves, levels."""
    from matplotlib.ticker import MaxNLocator

    similarity_axes(panel, AXES[axis], theme, curves[0].trace.wording.axis)
    for index, one in enumerate(curves):
        _draw_curve(panel, axis, one, theme.curve(index), marker(index), theme, len(curves) == 1)
    if axis == "sigma":
        top = max((sigma for one in curves for sigma in one.sigmas), default=1.0)
        panel.set_xlim(top * 1.03, -0.05 * top)
        if len(curves) == 1:
            _steps_above(panel, curves[0], theme)
    else:
        panel.set_xlim(0, max((one.steps[-1] for one in curves if one.steps), default=1) * 1.04 + 0.2)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    low, high = _range(curves)
    bar = bar_of(curves[0].trace.strangers, curves[0].trace.blank)
    if bar is not None and shared([one.trace for one in curves]):
        panel.axhspan(low, bar, color=theme.quiet, alpha=0.09, linewidth=0, zorder=0.5)
    panel.set_ylim(low, high)


def _draw_curve(panel: Any, axis: str, one: Curve, colour: str, mark: str, theme: Theme, alone: bool) -> None:
    """One trajectory with its marks, band, window, peak and finished picture."""
    along, many = one.along(axis), len(one.steps) > MANY
    if len(one.trace.counted) > 1:
        panel.fill_between(along, one.low, one.high, color=colour, alpha=0.14, linewidth=0, zorder=2)
    window = one.figures.window
    if window is not None and alone:
        shaded = [at for step, at in zip(one.steps, along, strict=True) if window[0] <= step <= window[1]]
        panel.axvspan(min(shaded, default=0), max(shaded, default=0), color=colour, alpha=0.12, linewidth=0, zorder=1)
    elif window is not None:
        inside = [window[0] <= step <= window[1] for step in one.steps]
        under = [mean if flag else math.nan for mean, flag in zip(one.means, inside, strict=True)]
        panel.plot(along, under, color=colour, alpha=0.25, linewidth=9, solid_capstyle="round", zorder=2.5)
    panel.plot(along, one.means, color=colour, linewidth=1.8, zorder=4)
    if not many:
        for values, face in ((one.means, colour), (one.unseen, theme.paper)):
            at = [i for i, value in enumerate(values) if math.isfinite(value)]
            xs, ys = [along[i] for i in at], [values[i] for i in at]
            panel.plot(xs, ys, mark, color=colour, markerfacecolor=face, markersize=4.5, linestyle="none", zorder=5)
    end = one.end(axis)
    if end is not None:
        if one.steps and one.final is not None and one.final[0] == one.steps[-1]:
            link_x, link_y = [along[-1], end[0]], [one.means[-1], end[1]]
            panel.plot(link_x, link_y, color=colour, linewidth=1.2, linestyle=(0, (2, 2)), zorder=3)
        panel.plot(*end, "D", color=colour, markersize=7, markeredgecolor=theme.paper, markeredgewidth=1.2, zorder=7)
    peak = _peak_point(one, axis)
    if peak is not None:
        panel.plot(*peak, "o", markersize=12, markerfacecolor="none", markeredgecolor=theme.ink, zorder=8)


def _label_panel(panel: Any, axis: str, curves: Sequence[Curve], theme: Theme) -> None:
    """Levels, peaks and finished pictures by name."""
    labeller = Labeller(panel, SIZE)
    for one in curves:
        end, ring = one.end(axis), _peak_point(one, axis)
        labeller.avoid_curve([*zip(one.along(axis), one.means, strict=True), *([end] if end else [])])
        for mark in (ring, end):
            if mark:
                labeller.avoid_mark(*mark)
        for at in zip(one.along(axis), one.unseen, strict=True):
            if math.isfinite(at[1]):
                labeller.avoid_mark(*at, reach=5.0)
    labeller.draw_levels(_level_lines(curves, theme))
    for index, one in enumerate(curves):
        colour, peak, end = theme.curve(index), _peak_point(one, axis), one.end(axis)
        if peak is not None and one.figures.peak is not None:
            text = f"peak {one.figures.peak.value:.2f}, step {one.figures.peak.step}"
            labeller.put(text, *peak, colour)
        if end is not None and end != peak:
            labeller.put(f"finished {end[1]:.2f}", *end, colour)


def _peak_point(one: Curve, axis: str) -> tuple[float, float] | None:
    """Where the peak is drawn: at its step, or at the finished picture when that is the best."""
    peak = one.figures.peak
    at = None if peak is None else one.point_of(peak.step, axis)
    if peak is not None and at is not None and at[1] == peak.value:
        return at
    return None if peak is None else one.end(axis)


def _level_lines(curves: Sequence[Curve], theme: Theme) -> list[tuple[str, float, str, Any]]:
    """Text, level, colour and dashes of the lines beside the curves, once each where all curves share them."""
    levels: dict[tuple[str, float], tuple[str, float, str, Any]] = {}
    for index, one in enumerate(curves):
        for line in lines_of(one.trace):
            common = all(line in lines_of(other.trace) for other in curves)
            colour = theme.quiet if common else theme.curve(index)
            levels.setdefault((line.text, line.level), (line.text, line.level, colour, LINES[line.kind]))
    return list(levels.values())


def _name_curves(panel: Any, curves: Sequence[Curve], theme: Theme) -> None:
    """The curves' names above the first panel, in their colours."""
    handles = [handle(one.name, color=theme.curve(i), marker=marker(i)) for i, one in enumerate(curves)]
    corner = (-0.01, 1.17 if len(curves) == 1 and panel.child_axes else 1.01)
    look = {"labelcolor": "linecolor", "handlelength": 1.6, "borderaxespad": 0}
    legend(panel, handles, SIZE + 0.5, loc="lower left", bbox_to_anchor=corner, ncols=2, **look)


def _steps_above(panel: Any, one: Curve, theme: Theme) -> None:
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


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Ends of the axis of similarity."""
    values = [value for one in curves for value in [*one.low, *one.high, *one.means, *one.unseen]]
    values += [one.final[2] for one in curves if one.final]
    values += [line.level for one in curves for line in lines_of(one.trace)]
    return limits(value for value in values if math.isfinite(value))


def _footer(curves: Sequence[Curve], width: float) -> str:
    """How to read the chart, where it is above the lines, and which network measured."""
    traces = [one.trace for one in curves]
    recognizers = ", ".join(dict.fromkeys(trace.recognizer.partition(" (")[0] for trace in traces))
    bars = [bar_of(trace.strangers, trace.blank) is not None for trace in traces]
    parts = ["ring: peak", "diamond: finished picture"]
    parts += [f"{'shaded' if len(curves) == 1 else 'broad'}: within 5 % of the peak"]
    parts += ["band: range of the batch"] if any(len(trace.counted) > 1 for trace in traces) else []
    unseen = any(math.isfinite(value) for one in curves for value in one.unseen)
    parts += [f"hollow: {traces[0].wording.unseen}, not counted"] if unseen else []
    parts += ["grey: less than 2 standard deviations above the lines"] if all(bars) and shared(traces) else []
    above = [(one.name, above_in_words(one.trace)) for one in curves]
    said = [text if len(curves) == 1 else f"{name}: {text}" for name, text in above if text]
    unknown = traces[0].wording.others_unknown if any(trace.strangers is None for trace in traces) else None
    said += [unknown] if unknown else []
    measured = ["Each curve is the trajectory of one run.", f"Measured by {recognizers}"]
    return "\n".join([*in_inches(said, width), *in_inches(parts, width), " ".join(measured)])
