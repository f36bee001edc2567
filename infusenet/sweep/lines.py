"""Figures along an axis: curves over separate runs, drift from their peak, and the steps within single runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..charts import statistics as draw
from ..charts.statistics import Point
from .drawn import INTERVAL, Drawn, both, counted, many, numbers, point
from .figure_spec import FigureSpec
from .rows import NAMES, Record, by, lifted, mean_of, number, series, summary
from .stats import Drift, drift_over

_PAPER = " Hollow diamonds: the paper (FLUX, photos)."


def curve(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means along an axis, each from separate runs."""
    paper, lift = dict(figure.paper), figure.less is not None
    told: list[dict[str, Any]] = []
    panels: list[draw.Panel] = []
    for value in figure.values:
        what = f"{NAMES[value]} above {NAMES[figure.split]} {number(figure.less)}" if lift else NAMES[value]
        for title, lines in _groups(figure, lifted(rows, figure) if lift else rows).items():
            drawn, theirs = {}, {}
            for name, own in lines.items():
                found = {x: summary(inside, value) for x, inside in by(own, figure.x).items()}
                drawn[name] = [point(x, each) for x, each in found.items()]
                marks = {x: paper.get(f"{name} / {number(x)}") for x in found}
                theirs[name] = [Point(x, mark, None, None) for x, mark in marks.items() if mark is not None]
                for x, each in found.items():
                    line = {"panel": title} if title and title != name else {}
                    line |= {"line": name, NAMES[figure.x]: x, "value": what, **numbers(each)}
                    told.append(line | {"paper": marks[x]})
            several = len(figure.values) > 1
            panels.append(draw.Panel(what if several else title, drawn, "" if several else what, theirs))
    caption = f"{counted(rows, figure.value)} Every point is separate runs from the same noise. {INTERVAL}"
    caption += _PAPER * bool(paper)
    return both(
        lambda theme: draw.curves(panels, NAMES[figure.x], theme, shared=len(figure.values) == 1),
        _without_constants(told, "value"),
        caption,
    )


def _groups(figure: FigureSpec, rows: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Panels of lines: a line for each method, in one panel or one each prompt; or a panel for each method and a line
    for each value of `split`."""
    if figure.panels:
        return {prompt: series(own, but=(figure.x,)) for prompt, own in by(rows, "prompt").items()}
    if figure.split == "method":
        return {"": series(rows, but=(figure.x,))}
    short = "" if figure.split == "prompt" else f"{NAMES[figure.split]} "
    return {
        method: {f"{short}{number(value)}": inside for value, inside in by(own, figure.split).items()}
        for method, own in by(rows, "method").items()
    }


def drift(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """From the peak of the mean curve to its end."""
    told, columns, paper = [], {}, dict(figure.paper)
    panels = _groups(figure, rows)
    groups = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    theirs: dict[str, list[float | None]] = {}
    for title, lines in panels.items():
        points = []
        theirs[title or "drift"] = [paper.get(f"{title} / {group}" if title else group) for group in groups]
        for group, mark in zip(groups, theirs[title or "drift"], strict=True):
            found = _drift(lines.get(group, []), figure.x, figure.value)
            points.append(Point(0, found.drift, found.low, found.high) if found else Point(0, None, None, None))
            line: dict[str, Any] = {"method": title or group, **({"group": group} if title else {})}
            early = found.early if found else None
            line["early window"] = f"{number(early[0])} to {number(early[1])}" if early else None
            names = ("peak_at", "peak", "final_at", "final", "drift", "low", "high", "people")
            line |= {name.replace("_", " "): getattr(found, name) if found else None for name in names}
            told.append(line | {"paper": mark})
        columns[title or "drift"] = points
    caption = (
        f"{counted(rows, figure.value)} Drift is the peak of the mean curve less its end: it is never negative, and "
        "noise alone makes it positive. The early window holds the numbers of steps around the peak whose mean is "
        "within 5 % of it. Intervals: bootstrap 95 % over people with a face at every number of steps."
    )
    caption += _PAPER * bool(paper)
    label = f"drift of {NAMES[figure.value]}"
    return both(lambda theme: draw.bars(groups, columns, theirs, label, theme), told, caption)


def _drift(rows: Sequence[Record], x: str, value: str) -> Drift | None:
    """Peak and end of a value's mean curve along `x`, from a curve for each person."""
    places = by(rows, x)
    curves = {
        who: [mean_of([row for row in inside if row["person"] == who], value) for inside in places.values()]
        for who in dict.fromkeys(row["person"] for row in rows)
    }
    return drift_over(curves, [*places])


def _told(method: str, found: Drift | None) -> str:
    """A trajectory's figures in a sentence."""
    if found is None:
        return f"{method}: nobody has a value at every step. "
    early = f"the early window is step {number(found.early[0])} to {number(found.early[1])}, " if found.early else ""
    return (
        f"{method}: {early}the peak {found.peak:.3f} at step {number(found.peak_at)}, the end {found.final:.3f}, the "
        f"drift {found.drift:.3f}. "
    )


def trajectory(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """What each step of one run believes the finished picture to be."""
    told: list[dict[str, Any]] = []
    panels = []
    for value in figure.values:
        lines = {}
        for name, own in series(_with_settings(rows)).items():
            found = {step: summary(inside, value) for step, inside in by(own, "step").items()}
            lines[name] = [point(step, each) for step, each in found.items()]
            told += [
                {"method": name, "step": step, "value": NAMES[value], **numbers(each)} for step, each in found.items()
            ]
        several = len(figure.values) > 1
        panels.append(draw.Panel(NAMES[value] if several else "", lines, "" if several else NAMES[value]))
    people = len({row["person"] for row in rows})
    runs = len({(row["method"], row["person"], row["prompt"], row["seed"], row["steps"]) for row in rows})
    caption = (
        f"{runs} runs of {people} {many(people, 'person', 'people')}. These are the steps within single runs, not "
        "runs of so many steps: each point belongs to one step of a run, and similarity, sharpness and contrast are "
        "those of its prediction of the finished picture at that step. "
    )
    if "similarity" in figure.values:
        for name, own in series(_with_settings(rows)).items():
            caption += _told(name, _drift(own, "step", "similarity"))
    caption += INTERVAL
    return both(
        lambda theme: draw.curves(panels, NAMES["step"], theme, shared=len(figure.values) == 1),
        _without_constants(told, "value"),
        caption,
    )


def _without_constants(rows: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Rows without a column that says the same everywhere."""
    same = len({row[column] for row in rows}) <= 1
    return [{key: value for key, value in row.items() if key != column or not same} for row in rows]


def _with_settings(rows: Sequence[Record]) -> list[Record]:
    """Step records with the settings that tables have."""
    return [{"strength": None, "guidance": None, "true_cfg": None, "first_steps": None, **row} for row in rows]
