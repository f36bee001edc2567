"""Figures along an axis: curves over separate runs, drift, spread and direction, and the steps within single runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...charts import panels as draw
from ...charts.labels import number as written
from ...charts.panels import DriftBar, Panel
from ...charts.statistics import Point, Tone, tones_apart
from ...measures.baselines import Baseline
from ...pages import with_sign
from ..figure_spec import FigureSpec
from .shown import (
    PAPER,
    Rendering,
    Row,
    counted,
    difference,
    intervals,
    levels_of,
    many,
    numbers,
    point,
    tones_of,
)
from .stats import Drift, Key, direction_of, drift_of, fitted_time, paired, parted, summarise
from .table import by, mean_of, minus, number, paired_values, series, summary, title

if TYPE_CHECKING:
    import pandas as pd

Levels = Mapping[str, Baseline | None]
CHANGES = ("by direction", "by dispersion")
NORMS = (
    " This is the ratio of the norms of the two streams' attention outputs before projection. It shows how large "
    "one stream's update is compared with the other's. It is not an attention probability, and not a share of what "
    "forms a face."
)


def curve(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Means along an axis, each from separate runs; where asked for, the paired differences to one place beside."""
    rows: list[Row] = []
    panels: list[Panel] = []
    rests_on, tones = counted(frame, figure.value), _tones(figure, frame)
    above = "" if figure.minus is None else f" above {title(figure.split)} {number(figure.minus)}"
    frame = frame if figure.minus is None else minus(frame, figure)
    several = len(figure.values) > 1 or figure.against is not None
    for value in figure.values:
        what = title(value) + above
        for panel, lines in _groups(figure, frame).items():
            points, papers, beside = {}, {}, {}
            for name, own in lines.items():
                places = by(own, figure.x)
                found = {x: summary(inside, value) for x, inside in places.items()}
                gain = _gains(places, value, figure.against)
                points[name], beside[name] = ([point(x, each) for x, each in some.items()] for some in (found, gain))
                marks = {x: figure.paper.get(f"{name} / {number(x)}") for x in found}
                papers[name] = [Point(x, mark, None, None) for x, mark in marks.items() if mark is not None]
                head = {"panel": panel} if panel and panel != name else {}
                for x, each in found.items():
                    row = {**head, "line": name, title(figure.x): x, "value": what, **numbers(each), "paper": marks[x]}
                    rows.append(row | (difference(gain.get(x)) if gain else {}))
            lines_beside = [] if above else levels_of(levels, value)
            panels.append(Panel(what if several else panel, points, "" if several else what, papers, lines_beside))
            if figure.against is not None:
                name = f"difference from {title(figure.x)} {number(figure.against)}"
                panels.append(Panel(f"{panel} {name}".strip(), beside, "", is_difference=True))
    caption = f"{rests_on} Each point comes from separate runs that start from the same noise.{intervals(frame)}"
    caption += PAPER * bool(figure.paper) + NORMS * any(value.startswith("stream_") for value in figure.values)
    caption += _time_in_words(figure, frame)
    scale: draw.Scale = "doubling" if figure.x == "steps" else "linear"
    make = lambda theme: draw.curves(panels, title(figure.x), tones, theme, shared=not several, scale=scale)  # noqa: E731
    return Rendering(make, _without_constants(rows, "value"), caption)


def _gains(places: Mapping[Any, pd.DataFrame], value: str, against: float | None) -> dict[Any, Any]:
    """Paired differences of each place to one of them."""
    if against is None or against not in places:
        return {}
    base = paired_values(places[against], value)
    return {x: paired(paired_values(own, value), base) for x, own in places.items() if x != against}


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


def _tones(figure: FigureSpec, frame: pd.DataFrame) -> dict[str, Tone]:
    """How the lines look: by backbone, or by a number that rises from line to line."""
    lines = {name: own for group in _groups(figure, frame).values() for name, own in group.items()}
    if figure.split == "prompt":
        return tones_apart(lines)
    return tones_of(lines, rising=figure.split != "method")


def _time_in_words(figure: FigureSpec, frame: pd.DataFrame) -> str:
    """What a run costs whatever its steps, and what each step costs."""
    if figure.x != "steps" or "seconds" not in figure.values:
        return ""
    text = ""
    for name, own in series(frame, but=("steps",)).items():
        known = own[own["alone"].fillna(False).astype(bool) & own["seconds"].notna()]
        if (found := fitted_time(known["steps"].tolist(), known["seconds"].tolist())) is not None:
            fixed, each = (written(value, 3) for value in found)
            text += f" {name}: {fixed} seconds, plus {each} for each step."
    return text


# -- drift ---------------------------------------------------------------------------------------------------------


def drift_bars(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """From a fixed early place to the end, and from the peak to the end as far as it is more than chance."""
    rows: list[Row] = []
    bars: dict[str, list[DriftBar | None]] = {}
    panels = _groups(figure, frame)
    groups = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for panel, lines in panels.items():
        key = panel or "drift"
        drifts = [_drift(lines[group], figure) if group in lines else None for group in groups]
        papers = [figure.paper.get(f"{panel} / {group}" if panel else group) for group in groups]
        bars[key] = [_bar(found, paper) for found, paper in zip(drifts, papers, strict=True)]
        for group, found, paper in zip(groups, drifts, papers, strict=True):
            row: Row = {"method": panel or group, **({"group": group} if panel else {})}
            rows.append({**row, **_drift_columns(found, figure), "paper": paper})
    tones = tones_of(panels[""] if "" in panels else by(frame, "method"))
    early = f"{title(figure.x)} {number(figure.early)}"
    caption = (
        f"{counted(frame, figure.value)} Bars: the value at {early} minus the value at the end, paired by person, "
        "with both points chosen beforehand. Squares: the same, but from a peak chosen on other people and other "
        "noises, because any peak lies above the end by chance. Grey area: how far above the end such a peak lies in "
        f"95 of 100 cases where nothing is lost.{intervals(frame)}"
    )
    label = f"{title(figure.value)} lost to the end"
    make = lambda theme: draw.drifts(groups, bars, tones, label, theme)  # noqa: E731
    return Rendering(make, rows, caption + PAPER * bool(figure.paper))


def _bar(found: Drift | None, paper: float | None) -> DriftBar | None:
    if found is None:
        return None
    return DriftBar(point(0, found.fixed), point(0, found.crossed), found.by_noise_high, paper)


def _drift_columns(found: Drift | None, figure: FigureSpec) -> Row:
    if found is None:
        return {}
    contrast = None if found.early_at is None else f"{number(found.early_at)} to {number(found.final_at)}"
    fixed = {title(figure.x): contrast, "people": found.people, "lost": found.fixed.mean}
    peak = {"peak at": found.peak_at, "peak": found.peak, "end": found.final, "peak less end": found.found}
    noise = {"by noise alone": found.by_noise, "by noise in 95 of 100": found.by_noise_high}
    crossed = difference(found.crossed)
    return {**fixed, "low": found.fixed.low, "high": found.fixed.high, **peak, **noise} | {
        "peak that others chose": crossed.pop("difference"), **crossed}  # fmt: skip


def _drift(frame: pd.DataFrame, figure: FigureSpec) -> Drift | None:
    """Of a value's curves along x: one a person and noise, of means over prompts."""
    places = [*by(frame, figure.x)]
    means = {key: mean_of(own, figure.value) for key, own in frame.groupby(["person", "seed", figure.x])}
    curves: dict[str, dict[int, list[float | None]]] = {}
    for who, seed in dict.fromkeys((who, seed) for who, seed, _ in means):
        curves.setdefault(who, {})[seed] = [means.get((who, seed, place)) for place in places]
    return drift_of(curves, places, figure.early)


# -- spread and direction ------------------------------------------------------------------------------------------


def spread(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Likeness, direction and agreement of noises along x, and what the change of likeness is made of."""
    rows: list[Row] = []
    panels: list[Panel] = []
    names = ("similarity", "direction", "agreement")
    for method, own in series(frame, but=(figure.x,)).items():
        parts = {x: _parts(inside) for x, inside in by(own, figure.x).items()}
        base = parts.get(figure.early, {})
        lines: dict[str, list[Point]] = {name: [] for name in (*names, *CHANGES)}
        for x, own_parts in parts.items():
            made = {key: parted(one[1:], base[key][1:]) for key, one in own_parts.items() if key in base}
            row: Row = {"method": method, title(figure.x): x, "people": len({key[0] for key in own_parts})}
            for of, columns in ((names, own_parts), (CHANGES, made if x != figure.early else {})):
                for place, name in enumerate(of):
                    found = summarise([each[place] for each in columns.values()], [key[0] for key in columns])
                    lines[name].append(point(x, found))
                    row |= {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}
            rows.append(row)
        since = f"{method}: change since {number(figure.early)} {title(figure.x)}"
        panels.append(Panel(method, {name: lines[name] for name in names}))
        panels.append(Panel(since, {name: lines[name] for name in CHANGES}, is_difference=True))
    tones = {name: Tone(place) for place, name in zip((2, 0, 1), names, strict=True)}
    tones |= dict(zip(CHANGES, (Tone(0), Tone(1)), strict=True))
    caption = (
        f"{counted(frame, 'agreement')} Agreement c: cosine between pictures of the same person from different "
        "noises. Direction: cosine between the reference and the average over ever more noises, similarity / "
        "sqrt(c). Right: the change in similarity is the sum of both lines. A loss by dispersion means that a "
        "person's pictures become less like each other, not that they move away from the "
        f"person.{intervals(frame)}{''.join(_parted_in_words(method, rows, figure) for method in by(frame, 'method'))}"
    )
    make = lambda theme: draw.curves(panels, title(figure.x), tones, theme, shared=False, scale="doubling")  # noqa: E731
    return Rendering(make, rows, caption)


def _parted_in_words(method: str, rows: Sequence[Row], figure: FigureSpec) -> str:
    """What the last change is made of."""
    last = [row for row in rows if str(row["method"]).startswith(method)][-1]
    parts = [
        f"{name} {with_sign(last[name])} [{with_sign(last[f'{name} low'])}, {with_sign(last[f'{name} high'])}]"
        for name in CHANGES
        if last[f"{name} low"] is not None
    ]
    places = f"{number(figure.early)} to {last[title(figure.x)]} {title(figure.x)}"
    return f" {method}, {places}: {', '.join(parts)}." if parts else ""


def _parts(frame: pd.DataFrame) -> dict[Key, tuple[float, float, float]]:
    """Similarity, direction and agreement by person and prompt, of means over noises; only where all are defined."""
    found = {}
    for key, own in frame.groupby(["person", "prompt"], sort=False):
        alike, agreed = mean_of(own, "similarity"), mean_of(own, "agreement")
        direction = direction_of(alike, agreed)
        if alike is not None and agreed is not None and direction is not None:
            found[key] = alike, direction, agreed
    return found


# -- within single runs --------------------------------------------------------------------------------------------


def trajectory(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """What each step of one run believes the finished picture to be, along the noise level."""
    rows: list[Row] = []
    panels, lines = [], series(frame)
    falling = "sigma" in frame and bool(frame["sigma"].notna().any())
    several, by_value = len(figure.values) > 1, figure.split == "value"
    shown: dict[tuple[str, str], list[Point]] = {}
    for value in figure.values if len(frame) else ():
        for name, own in lines.items():
            shown[name, value] = points = []
            for step, inside in by(own, "step").items():
                found, noise = summary(inside, value), mean_of(inside, "sigma") if falling else None
                points.append(point(step if noise is None else noise, found))
                row = {"method": name, "step": step, "noise level": noise, "value": title(value)}
                rows.append(row | numbers(found))
    if by_value:
        titles = {value: title(value) for value in figure.values}
        panels = [Panel(name, {titles[v]: shown[name, v] for v in figure.values}) for name in lines]
        tones = tones_apart(dict.fromkeys(titles.values()))
    else:
        tones = tones_of(lines)
        for value in figure.values if len(frame) else ():
            of_value = {name: shown[name, value] for name in lines}
            heads = (title(value), "") if several else ("", title(value))
            panels.append(Panel(heads[0], of_value, heads[1], levels=levels_of(levels, value)))
    runs = len(frame[["method", "person", "prompt", "seed", "steps"]].drop_duplicates())
    along = "noise level, from all to none" if falling else title("step")
    caption = (
        f"{runs} runs of {many(frame['person'].nunique(), 'person', 'people')}. Each point is one step within a "
        "run, not a run with that many steps. Similarity, sharpness and contrast are those of the finished picture "
        f"as predicted at that step, at the noise level where the step starts.{intervals(frame)}"
    )
    caption += NORMS * any(value.startswith("stream_") for value in figure.values)
    make = lambda theme: draw.curves(  # noqa: E731
        panels, along, tones, theme, shared=by_value or not several, scale="falling" if falling else "linear"
    )
    return Rendering(make, _without_constants(rows, "value"), caption)


def _without_constants(rows: Sequence[Row], column: str) -> list[Row]:
    """Rows without a column that says the same everywhere."""
    same = len({row[column] for row in rows}) <= 1
    return [{key: value for key, value in row.items() if key != column or not same} for row in rows]
