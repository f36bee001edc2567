"""The figures of a sweep's page: what is shown of which rows, as pictures and as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...charts import statistics as draw
from ...charts.maps import Map, maps
from ...charts.palette import png
from ...charts.plane import Place, plane_figure
from ...charts.sheet import face_grid, fitted
from ...errors import PictureError
from ...files import open_picture
from ...files import png as encoded
from ...metrics import METRICS
from ..figure_spec import FigureSpec
from .curves import Levels, curve, drift_bars, spread, trajectory
from .shown import PAPER, Rendering, Row, counted, difference, intervals, levels_of, numbers, point, tones_of
from .stats import paired
from .table import Tables, by, mean_of, number, paired_values, series, shown, summary, title
from .verdicts import Verdict, verdicts

if TYPE_CHECKING:
    import pandas as pd

_BLOCKS = {
    "stream_ratio": "text-stream norm divided by image-stream norm (RMS over tokens) of the attention output "
    "before projection; a norm, not an attention probability",
    "residual_ratio": "norm of InfuseNet's residual as applied, divided by that of the hidden state it is added to",
}
_AS_RATIO = ("sharpness", "contrast", "face_sharpness")  # their unit says little: a share of the first says more
_ONE_NOISE = "No claim is made. With only one noise, the people it selects look better than they are."


@dataclass(frozen=True)
class RenderedFigure:
    """A figure ready for the page."""

    light: bytes  # PNG
    dark: bytes
    rows: list[Row]  # its numbers, for the CSV beside it and the table below it; undefined ones are None
    caption: str  # how to read it, and what it rests on
    verdicts: list[Verdict]  # what its numbers say of each claim


def render_figure(figure: FigureSpec, tables: Tables, folder: Path, levels: Levels | None = None) -> RenderedFigure:
    """One figure, of a sweep's tables, its folder of pictures and its levels; empty where nothing is made yet."""
    if figure.kind == "pictures":
        return _pictures(figure, shown(tables.points, figure), folder)
    frame = {"trajectory": tables.steps, "blocks": tables.blocks}.get(figure.kind, tables.points)
    made = _KINDS[figure.kind](figure, shown(frame, figure), levels or {})
    one_noise = figure.people.startswith("top") and frame["seed"].nunique() == 1
    caption = _ONE_NOISE if one_noise else made.caption
    chart = made.draw if made.rows else draw.unmeasured
    return RenderedFigure(png(chart("light")), png(chart("dark")), made.rows, caption, verdicts(figure, tables))


# -- means ---------------------------------------------------------------------------------------------------------


def _table(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """A line for each way of making pictures, with its difference to the first."""
    groups, rows = series(frame), []
    first, value = next(iter(groups), ""), figure.value
    beside = [name for name, metric in METRICS.items() if not metric.always and name != value]
    beside = [name for name in beside if mean_of(frame, name) is not None]
    found = {name: summary(own, value) for name, own in groups.items()}
    base = paired_values(groups[first], value) if groups else {}
    gains = {name: None if name == first else paired(paired_values(own, value), base) for name, own in groups.items()}
    for name, own in groups.items():
        gain = gains[name]
        row = {"method": name, **numbers(found[name]), "paper": figure.paper.get(name)}
        row |= {**difference(gain), "pairs": gain and gain.n}
        if value != "seconds":
            row |= {title(other): mean_of(own, other) for other in beside} | {"seconds": summary(own, "seconds").mean}
        if gain:
            row |= _ratio("ratio", own, groups[first], value) if value in _AS_RATIO else {}
            row |= _ratio("speed-up", groups[first], own, "seconds")
            paper, theirs = (figure.paper.get(one) if value == "seconds" else None for one in (first, name))
            row["paper's speed-up"] = paper / theirs if paper and theirs else None
        rows.append(row)
    caption = f"{counted(frame, value)}{intervals(frame)} Differences are to {first or None}, on the same person, "
    caption += "prompt and noise."
    if not len(frame) or frame[value].isna().all():
        caption = f"Not measured here. See “What this page rests on” below. {caption}"
    tones, papers = tones_of(groups), [row["paper"] for row in rows]
    points, apart = ([point(0, some[name]) for name in groups] for some in (found, gains))
    against, lines = first if len(groups) > 1 else "", levels_of(levels, value)
    make = lambda theme: draw.forest(  # noqa: E731
        [*groups], points, apart, papers, [*tones.values()], title(value), against, theme, lines
    )
    return Rendering(make, rows, caption + PAPER * bool(figure.paper))


def _ratio(name: str, own: pd.DataFrame, base: pd.DataFrame, value: str) -> Row:
    """How many times the base's value this one's is, on the same person, prompt and noise, with an interval."""
    logs = [
        {
            key: math.log(found) if found is not None and found > 0 else None
            for key, found in paired_values(side, value).items()
        }
        for side in (base, own)
    ]
    found = paired(*reversed(logs))
    ends = {"": found.mean, " low": found.low, " high": found.high}
    row: Row = {f"{name}{end}": None if log is None else math.exp(log) for end, log in ends.items()}
    return {**row, f"{name} pairs": found.n}


def _pairs(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Every picture as a dot, methods side by side in each group."""
    groups, columns, paper = by(frame, figure.x), series(frame, but=(figure.x,)), figure.paper
    methods, rows, dots, papers = [*columns], [], {}, {}
    for group in groups:
        inside = {method: own[own[figure.x] == group] for method, own in columns.items()}
        values = {method: paired_values(own, figure.value) for method, own in inside.items()}
        for method in methods:
            dots[str(group), method] = {key: value for key, value in values[method].items() if value is not None}
            papers[str(group), method] = mark = paper.get(f"{method} / {group}")
            found = summary(inside[method], figure.value)
            against = method != methods[0]
            row = {title(figure.x): group, "method": method, **numbers(found), "paper": mark}
            row |= difference(paired(values[method], values[methods[0]]) if against else None)
            if paper:
                base = paper.get(f"{methods[0]} / {group}")
                row["paper's difference"] = mark - base if against and mark and base else None
            rows.append(row)
    caption = (
        f"{counted(frame, figure.value)} Each dot is a picture and each bar the mean. Lines join the same person and "
    )
    caption += f"noise. Paired differences to {methods[0] if methods else None} are in the numbers.{intervals(frame)}"
    names, label, tones = [*map(str, groups)], title(figure.value), tones_of(columns)
    lines = levels_of(levels, figure.value)
    make = lambda theme: draw.paired_dots(names, methods, dots, papers, tones, label, theme, lines)  # noqa: E731
    return Rendering(make, rows, caption + PAPER * bool(paper))


def _people(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Every person's mean over seeds and prompts, or in a panel each prompt, method by method."""
    methods = by(frame, "method")
    first = next(iter(methods.values()), frame)
    level = {who: mean_of(own, figure.value) for who, own in by(first, "person").items()}
    order = sorted(level, key=lambda who: -9.0 if level[who] is None else float(level[who] or 0.0))
    rows: list[Row] = []
    panels: dict[str, dict[str, list[float | None]]] = {}
    for prompt, inside in (by(frame, "prompt") if figure.panels else {"": frame}).items():
        panels[prompt] = columns = {}
        for method, own in by(inside, "method").items():
            each = {who: mean_of(rows_of, figure.value) for who, rows_of in by(own, "person").items()}
            columns[method] = [each.get(who) for who in order]
        for place, who in enumerate(order):
            values = {method: column[place] for method, column in columns.items()}
            rows.append({"person": who, **({"prompt": prompt} if prompt else {}), **values})
    caption = (
        f"{counted(frame, figure.value)} Each dot is a person's mean{' for one prompt' * bool(figure.panels)}. "
        f"People are sorted by their mean with {next(iter(methods), 'nothing')}. Dashed lines are means over people."
    )
    if len(methods) > 1:
        one, *_, last = methods
        known = [row for row in rows if None not in [row.get(method) for method in methods]]
        won = sum(row[last] >= row[one] for row in known)
        caption += f" {last} is at least as high as {one} in {won} of {len(known)}."
    tones, lines = tones_of(methods), levels_of(levels, figure.value)
    make = lambda theme: draw.people_lines(order, panels, tones, title(figure.value), theme, lines)  # noqa: E731
    return Rendering(make, rows, caption)


def _plane(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """A point for each way of making pictures: one value up, another across."""
    groups, rows, places = series(frame), [], []
    tones = tones_of(groups)
    for name, own in groups.items():
        up, across = (summary(own, value) for value in figure.values)
        row: Row = {"method": name}
        for value, found in zip(figure.values, (up, across), strict=True):
            ends = {"": found.mean, " low": found.low, " high": found.high}
            row |= {f"{title(value)}{end}": number for end, number in ends.items()}
        rows.append(row)
        if up.mean is not None and across.mean is not None:
            label = name.removeprefix(f"{next(iter(groups))}, ")  # what it changes; the first one is named whole
            places.append(Place(label, tones[name], point(0, across), point(0, up)))
    caption = (
        f"{counted(frame, figure.value)}{intervals(frame)} The line joins the methods to which no other one is at "
    )
    caption += "least as good on both axes and better on one, by the means alone: the intervals may overlap."
    y, x = (title(value) for value in figure.values)
    return Rendering(lambda theme: plane_figure(places, x, y, theme), rows if places else [], caption)


# -- maps and pictures ---------------------------------------------------------------------------------------------


def _table_map(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Means over two axes, each cell of separate runs."""
    return _map(figure, frame, f"{counted(frame, figure.value)} Each cell is the mean of separate runs.")


def _block_map(figure: FigureSpec, frame: pd.DataFrame, levels: Levels) -> Rendering:
    """Means over blocks and steps of single runs."""
    runs = len(frame[["method", "person", "prompt", "seed"]].drop_duplicates())
    caption = f"{runs} runs. Each cell is their mean {_BLOCKS[figure.value]}."
    return _map(figure.model_copy(update={"x": "step", "y": "block"}), frame, caption)


def _map(figure: FigureSpec, frame: pd.DataFrame, caption: str) -> Rendering:
    rows, panels, ys = [], [], [*by(frame, figure.y)]
    for method, own in by(frame, "method").items():
        cells, xs = dict(list(own.groupby([figure.y, figure.x]))), [*by(own, figure.x)]
        means = [[mean_of(cells.get((y, x), own[:0]), figure.value) for x in xs] for y in ys]
        panels.append(Map(method, means, [number(x) for x in xs]))
        for y, x in ((y, x) for y in ys for x in xs):
            found = summary(cells.get((y, x), own[:0]), figure.value)
            rows.append({"method": method, title(figure.y): y, title(figure.x): x, **numbers(found)})
    labels, label = [number(y) for y in ys], f"mean {title(figure.value)}"
    return Rendering(lambda theme: maps(panels, labels, title(figure.x), label, theme), rows, caption)


def _pictures(figure: FigureSpec, frame: pd.DataFrame, folder: Path) -> RenderedFigure:
    """The reference and what each method made of it, prompt by prompt."""
    groups, rows, labels = series(frame), [], []
    tiles: list[NDArray[np.uint8] | None] = []
    seed = int(frame["seed"].min()) if len(frame) else 0
    columns = [(name, prompt) for name in groups for prompt in by(frame, "prompt")]
    alone = frame["method"].nunique() == 1  # then only its settings are told
    short = {name: name.partition(", ")[2] or name if alone else name for name in groups}
    at = {name: own.set_index(["person", "prompt", "seed"])[["job", "similarity"]] for name, own in groups.items()}
    for person in by(frame, "person"):
        tiles.append(_opened(folder / "people" / f"{person}.png"))
        labels.append(f"{person}\nreference")
        for name, prompt in columns:
            key = (person, prompt, seed)
            job, value = at[name].loc[[key]].iloc[0] if key in at[name].index else (None, float("nan"))
            value = None if value != value else float(value)
            tiles.append(_opened(folder / "pictures" / f"{job}.png") if job else None)
            labels.append(f"{short[name]}: {'–' if value is None else f'{value:.2f}'}\n{prompt}")
            row = {"person": person, "method": name, "prompt": prompt, "seed": seed, "similarity": value}
            rows.append({**row, "job": job})
    wide = min(180, 900 // (len(columns) + 1))  # so that a row fits the page
    known = [tile for place, tile in enumerate(tiles) if tile is not None and place % (len(columns) + 1)]
    tall = max([wide, *(wide * tile.shape[0] // tile.shape[1] for tile in known)])
    faces = [None if tile is None else fitted(tile, (wide, tall)) for tile in tiles]
    sheet = partial(face_grid, faces, labels, columns=len(columns) + 1, tile=(wide, tall))
    light, dark = (encoded(sheet(theme=theme)) if rows else png(draw.unmeasured(theme)) for theme in ("light", "dark"))
    caption = "The reference is on the left. The number is the similarity to it. Each row uses one noise."
    return RenderedFigure(light, dark, rows, caption, [])


def _opened(path: Path) -> NDArray[np.uint8] | None:
    """A picture; None where it is missing or damaged."""
    with suppress(PictureError):
        return open_picture(path)
    return None


_KINDS: dict[str, Callable[[FigureSpec, pd.DataFrame, Levels], Rendering]] = {
    "table": _table,
    "pairs": _pairs,
    "people": _people,
    "curve": curve,
    "plane": _plane,
    "drift": drift_bars,
    "spread": spread,
    "map": _table_map,
    "trajectory": trajectory,
    "blocks": _block_map,
}
