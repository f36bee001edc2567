"""Figures along an axis: curves over separate runs, drift from their peak, and the steps within single runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...charts import statistics as draw
from ...charts.statistics import Point
from ..spec import FigureSpec
from .stats import MeanDrift, Summary, drift_over
from .table import by, mean_of, minus, number, series, summary, title

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
INTERVAL = "Intervals: bootstrap 95 % of the mean, whole people resampled."
PAPER = " Hollow diamonds: the paper (FLUX, photos)."
Rendering = tuple[Callable[[str], Any], list[Row], str]
"""From a theme's name to a chart, its numbers, and its caption."""


def counted(frame: pd.DataFrame, value: str) -> str:
    """What a figure rests on, in words."""
    missing = summary(frame, value).missing
    people, prompts = frame["person"].nunique(), frame["prompt"].nunique()
    text = f"{len(frame) - missing} pictures of {many(people, 'person', 'people')}, {many(prompts, 'prompt')}"
    failed, unmade = (int((frame["status"] == status).sum()) for status in ("failed", "missing"))
    unseen = missing - failed - unmade if value == "similarity" else 0
    left = [(failed, "failed"), (unmade, "not made yet"), (unseen, unseen_in_words(frame))]
    return text + "".join(f", {count} {what}" for count, what in left if count) + "."


def unseen_in_words(frame: pd.DataFrame) -> str:
    """What pictures without a similarity lack."""
    of_faces = frame["rule"].dropna().str.startswith("face").all()
    return "without a face" if of_faces else "without a likeness"


def many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def numbers(found: Summary) -> Row:
    """Statistics as columns."""
    return {name: getattr(found, name) for name in ("n", "missing", "people", "mean", "std", "low", "high")}


def point(x: float, found: Summary) -> Point:
    return Point(x, found.mean, found.low, found.high)


def curve(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """Means along an axis, each from separate runs."""
    rows: list[Row] = []
    panels: list[draw.Panel] = []
    several, rests_on = len(figure.values) > 1, counted(frame, figure.value)
    above = "" if figure.minus is None else f" above {title(figure.split)} {number(figure.minus)}"
    frame = frame if figure.minus is None else minus(frame, figure)
    for value in figure.values:
        what = title(value) + above
        for panel, lines in _groups(figure, frame).items():
            points, papers = {}, {}
            for name, own in lines.items():
                found = {x: summary(inside, value) for x, inside in by(own, figure.x).items()}
                points[name] = [point(x, each) for x, each in found.items()]
                marks = {x: figure.paper.get(f"{name} / {number(x)}") for x in found}
                papers[name] = [Point(x, mark, None, None) for x, mark in marks.items() if mark is not None]
                head = {"panel": panel} if panel and panel != name else {}
                for x, each in found.items():
                    row = {**head, "line": name, title(figure.x): x, "value": what, **numbers(each)}
                    rows.append({**row, "paper": marks[x]})
            panels.append(draw.Panel(what if several else panel, points, "" if several else what, papers))
    caption = f"{rests_on} Every point is separate runs from the same noise. {INTERVAL}{PAPER * bool(figure.paper)}"
    along = title(figure.x)
    make = lambda theme: draw.curves(panels, along, theme, shared=not several)  # noqa: E731
    return make, _without_constants(rows, "value"), caption


def _groups(figure: FigureSpec, frame: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """Panels of lines: a line for each method, in one panel or one each prompt; or a panel for each method and a line
    for each value of `split`."""
    if figure.panels:
        return {prompt: series(own, but=(figure.x,)) for prompt, own in by(frame, "prompt").items()}
    if figure.split == "method":
        return {"": series(frame, but=(figure.x,))}
    short = "" if figure.split == "prompt" else f"{title(figure.split)} "
    return {
        method: {f"{short}{number(value)}": inside for value, inside in by(own, figure.split).items()}
        for method, own in by(frame, "method").items()
    }


def drift_bars(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """From the peak of the mean curve to its end."""
    rows, bars, panels = [], {}, _groups(figure, frame)
    groups = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    papers: dict[str, list[float | None]] = {}
    for panel, lines in panels.items():
        key = panel or "drift"
        papers[key] = [figure.paper.get(f"{panel} / {group}" if panel else group) for group in groups]
        drifts = [_drift(lines[group], figure.x, figure.value) if group in lines else None for group in groups]
        bars[key] = [Point(0, d.drift, d.low, d.high) if d else Point(0, None, None, None) for d in drifts]
        for group, found, mark in zip(groups, drifts, papers[key], strict=True):
            early = found.early if found else None
            row: Row = {"method": panel or group, **({"group": group} if panel else {})}
            row["early window"] = f"{number(early[0])} to {number(early[1])}" if early else None
            names = ("peak_at", "peak", "final_at", "final", "drift", "low", "high", "people")
            row |= {name.replace("_", " "): getattr(found, name) if found else None for name in names}
            rows.append({**row, "paper": mark})
    caption = (
        f"{counted(frame, figure.value)} Drift is the peak of the mean curve less its end: it is never negative, and "
        "noise alone makes it positive. The early window holds the numbers of steps around the peak whose mean is "
        "within 5 % of it. Intervals: bootstrap 95 % over people with a face at every number of steps."
    )
    label = f"drift of {title(figure.value)}"
    return lambda theme: draw.bars(groups, bars, papers, label, theme), rows, caption + PAPER * bool(figure.paper)


def _drift(frame: pd.DataFrame, x: str, value: str) -> MeanDrift | None:
    """Peak and end of a value's mean curve along `x`, from a curve for each person."""
    places = [*by(frame, x)]
    means = {key: mean_of(own, value) for key, own in frame.groupby(["person", x])}
    curves = {who: [means.get((who, index)) for index in places] for who in frame["person"].unique()}
    return drift_over(curves, places)


def trajectory(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """What each step of one run believes the finished picture to be."""
    rows: list[Row] = []
    panels, several, lines = [], len(figure.values) > 1, series(frame)
    for value in figure.values:
        points = {}
        for name, own in lines.items():
            found = {step: summary(inside, value) for step, inside in by(own, "step").items()}
            points[name] = [point(step, each) for step, each in found.items()]
            rows += [{"method": name, "step": s, "value": title(value), **numbers(each)} for s, each in found.items()]
        panels.append(draw.Panel(title(value) if several else "", points, "" if several else title(value)))
    runs = len(frame[["method", "person", "prompt", "seed", "steps"]].drop_duplicates())
    caption = (
        f"{runs} runs of {many(frame['person'].nunique(), 'person', 'people')}. These are the steps within single "
        "runs, not runs of so many steps: each point belongs to one step of a run, and similarity, sharpness and "
        "contrast are those of its prediction of the finished picture at that step. "
    )
    if "similarity" in figure.values:
        caption += "".join(_in_words(name, _drift(own, "step", "similarity")) for name, own in lines.items())
    make = lambda theme: draw.curves(panels, title("step"), theme, shared=not several)  # noqa: E731
    return make, _without_constants(rows, "value"), caption + INTERVAL


def _in_words(method: str, found: MeanDrift | None) -> str:
    """A trajectory's figures in a sentence."""
    if found is None:
        return f"{method}: nobody has a value at every step. "
    early = f"the early window is step {number(found.early[0])} to {number(found.early[1])}, " if found.early else ""
    return (
        f"{method}: {early}the peak {found.peak:.3f} at step {number(found.peak_at)}, the end {found.final:.3f}, the "
        f"drift {found.drift:.3f}. "
    )


def _without_constants(rows: Sequence[Row], column: str) -> list[Row]:
    """Rows without a column that says the same everywhere."""
    same = len({row[column] for row in rows}) <= 1
    return [{key: value for key, value in row.items() if key != column or not same} for row in rows]
