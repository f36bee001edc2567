"""Figures of means: a table with differences, methods side by side, and person by person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..charts import statistics as draw
from ..charts.statistics import Point
from .drawn import INTERVAL, Drawn, both, counted, numbers
from .figure_spec import ASKED_FOR, FigureSpec
from .rows import NAMES, Record, by, mean_of, paired_values, series, summary
from .stats import paired

_BESIDE = tuple(name for name in ASKED_FOR if name not in ("stream_ratio", "residual_ratio"))


def table(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """A line for each way of making pictures, with its difference to the first."""
    groups, paper = series(rows), dict(figure.paper)
    first = next(iter(groups), None)
    base = summary(groups[first], "seconds").mean if first else None
    told = []
    for name, own in groups.items():
        found, seconds = summary(own, figure.value), summary(own, "seconds").mean
        line: dict[str, Any] = {"method": name, **numbers(found), "paper": paper.get(name)}
        apart = paired(paired_values(own, figure.value), paired_values(groups[first], figure.value)) if first else None
        if apart and name != first:
            line |= {"difference": apart.mean, "difference low": apart.low, "difference high": apart.high}
            line |= {"pairs": apart.n}
        else:
            line |= dict.fromkeys(("difference", "difference low", "difference high", "pairs"))
        if figure.value != "seconds":
            beside = [other for other in _BESIDE if other != figure.value]
            line |= {NAMES[other]: mean_of(own, other) for other in beside if mean_of(rows, other) is not None}
            line |= {"seconds": seconds}
        line |= {"speed-up": base / seconds if base and seconds else None}
        if figure.value == "seconds":
            theirs, slowest = paper.get(name), paper.get(str(first))
            line |= {"paper's speed-up": slowest / theirs if theirs and slowest else None}
        told.append(line)
    points = [Point(0, line["mean"], line["low"], line["high"]) for line in told]
    theirs_all = [line["paper"] for line in told]
    caption = (
        f"{counted(rows, figure.value)} {INTERVAL} Differences are to {first}, on the same person, prompt and noise."
    )
    if rows and all(row[figure.value] is None for row in rows):
        caption = f"Not measured here: see below what this page rests on. {caption}"
    return both(lambda theme: draw.forest([*groups], points, theirs_all, NAMES[figure.value], theme), told, caption)


def pairs(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Every picture as a dot, methods side by side in each group."""
    groups, methods, paper = by(rows, figure.x), [*by(rows, "method")], dict(figure.paper)
    told, dots, theirs = [], {}, {}
    for group, inside in groups.items():
        own = {method: [row for row in inside if row["method"] == method] for method in methods}
        for method in methods:
            values = paired_values(own[method], figure.value)
            dots[str(group), method] = {key: value for key, value in values.items() if value is not None}
            theirs[str(group), method] = paper.get(f"{method} / {group}")
            apart = paired(values, paired_values(own[methods[0]], figure.value))
            line = {NAMES[figure.x]: group, "method": method, **numbers(summary(own[method], figure.value))}
            line["paper"] = theirs[str(group), method]
            names = ("difference", "difference low", "difference high")
            against = method != methods[0]
            line |= dict(zip(names, (apart.mean, apart.low, apart.high) if against else (None,) * 3, strict=True))
            if paper:
                base = paper.get(f"{methods[0]} / {group}")
                line["paper's difference"] = line["paper"] - base if against and line["paper"] and base else None
            told.append(line)
    caption = (
        f"{counted(rows, figure.value)} A dot is a picture, a bar the mean; lines join the same person and noise."
        f"{' Hollow diamonds: the paper (FLUX, photos).' * bool(paper)}"
    )
    return both(
        lambda theme: draw.paired_dots([*map(str, groups)], methods, dots, theirs, NAMES[figure.value], theme),
        told,
        caption,
    )


def people(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Every person's mean over seeds and prompts, or in a panel each prompt, method by method."""
    methods = by(rows, "method")
    level = {who: mean_of(own, figure.value) for who, own in by(next(iter(methods.values()), []), "person").items()}
    order = sorted(level, key=lambda who: -9.0 if level[who] is None else float(level[who] or 0.0))
    groups: dict[str, list[Record]] = by(rows, "prompt") if figure.panels else {"": list(rows)}
    told: list[dict[str, Any]] = []
    panels: dict[str, dict[str, list[float | None]]] = {}
    for title, inside in groups.items():
        panels[title] = columns = {}
        for method, own in by(inside, "method").items():
            each = by(own, "person")
            columns[method] = [mean_of(each.get(who, []), figure.value) for who in order]
        prompt = {"prompt": title} if title else {}
        for place, who in enumerate(order):
            told.append({"person": who, **prompt, **{method: columns[method][place] for method in columns}})
    each_row = [tuple(row.get(method) for method in methods) for row in told]
    known = [[value for value in values if value is not None] for values in each_row if None not in values]
    won = sum(values[-1] >= values[0] for values in known)
    names = [*methods]
    caption = (
        f"{counted(rows, figure.value)} Each dot is a person's mean{' in one prompt' * bool(figure.panels)}; people "
        f"are sorted by their mean with {names[0] if names else 'nothing'}; dashed lines are means over people."
    )
    if len(methods) > 1:
        caption += f" {names[-1]} is at least as high as {names[0]} in {won} of {len(known)}."
    return both(lambda theme: draw.people_lines(order, panels, NAMES[figure.value], theme), told, caption)
