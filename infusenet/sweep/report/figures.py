"""The figures of a sweep's page: what is shown of which rows, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...charts import statistics as draw
from ...charts.maps import Map, maps
from ...charts.palette import png
from ...charts.sheet import face_grid
from ...charts.statistics import Point
from ...errors import PictureError
from ...files import open_picture
from ...files import png as encoded
from ...metrics import METRICS
from ..spec import FigureSpec
from .curves import INTERVAL, PAPER, Rendering, Row, counted, curve, drift_bars, numbers, trajectory
from .stats import Summary, paired
from .table import Tables, by, mean_of, number, paired_values, series, shown, summary, title

if TYPE_CHECKING:
    import pandas as pd

_BLOCKS = {
    "stream_ratio": "text-stream over image-stream norm (RMS over tokens) of the attention output before its "
    "projection: a norm, no attention probability",
    "residual_ratio": "norm of InfuseNet's residual as applied over the hidden state it is added to",
}


@dataclass(frozen=True)
class RenderedFigure:
    """A figure ready for the page.

    Attributes:
        light, dark: PNGs.
        rows: its numbers, for the CSV beside it and the table below it; undefined ones are None.
        caption: how to read it, and what it rests on.
    """

    light: bytes
    dark: bytes
    rows: list[Row]
    caption: str


def render_figure(figure: FigureSpec, tables: Tables, folder: Path) -> RenderedFigure:
    """One figure.

    Args:
        figure: what to show.
        tables: the sweep's.
        folder: the sweep's, where its pictures are.

    Returns:
        The figure; empty where nothing has been made yet.
    """
    if figure.kind == "pictures":
        return _pictures(figure, shown(tables.points, figure), folder)
    frame = {"trajectory": tables.steps, "blocks": tables.blocks}.get(figure.kind, tables.points)
    make, rows, caption = _KINDS[figure.kind](figure, shown(frame, figure))
    return RenderedFigure(png(make("light")), png(make("dark")), rows, caption)


def _difference(found: Summary | None) -> Row:
    values = (None, None, None) if found is None else (found.mean, found.low, found.high)
    return dict(zip(("difference", "difference low", "difference high"), values, strict=True))


# -- means ---------------------------------------------------------------------------------------------------------


def _table(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """A line for each way of making pictures, with its difference to the first."""
    groups, rows = series(frame), []
    first = next(iter(groups), "")
    base = summary(groups[first], "seconds").mean if groups else None
    beside = [name for name, metric in METRICS.items() if not metric.always and name != figure.value]
    beside = [name for name in beside if mean_of(frame, name) is not None]
    for name, own in groups.items():
        seconds, paper = summary(own, "seconds").mean, figure.paper.get(name)
        apart = paired(paired_values(own, figure.value), paired_values(groups[first], figure.value))
        row = {"method": name, **numbers(summary(own, figure.value)), "paper": paper}
        row |= {**_difference(apart if name != first else None), "pairs": apart.n if name != first else None}
        if figure.value != "seconds":
            row |= {title(other): mean_of(own, other) for other in beside} | {"seconds": seconds}
        row |= {"speed-up": base / seconds if base and seconds else None}
        if figure.value == "seconds":
            slowest = figure.paper.get(first)
            row |= {"paper's speed-up": slowest / paper if paper and slowest else None}
        rows.append(row)
    points = [Point(0, row["mean"], row["low"], row["high"]) for row in rows]
    caption = f"{counted(frame, figure.value)} {INTERVAL} Differences are to {first or None}, on the same person, "
    caption += "prompt and noise."
    if len(frame) and frame[figure.value].isna().all():
        caption = f"Not measured here: see below what this page rests on. {caption}"
    papers = [row["paper"] for row in rows]
    return lambda theme: draw.forest([*groups], points, papers, title(figure.value), theme), rows, caption


def _pairs(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
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
            row |= _difference(paired(values[method], values[methods[0]]) if against else None)
            if paper:
                base = paper.get(f"{methods[0]} / {group}")
                row["paper's difference"] = mark - base if against and mark and base else None
            rows.append(row)
    caption = (
        f"{counted(frame, figure.value)} A dot is a picture, a bar the mean; lines join the same person and noise."
    )
    names, label = [*map(str, groups)], title(figure.value)
    return (
        lambda theme: draw.paired_dots(names, methods, dots, papers, label, theme),
        rows,
        caption + PAPER * bool(paper),
    )


def _people(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
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
        f"{counted(frame, figure.value)} Each dot is a person's mean{' in one prompt' * bool(figure.panels)}; people "
        f"are sorted by their mean with {next(iter(methods), 'nothing')}; dashed lines are means over people."
    )
    if len(methods) > 1:
        one, *_, last = methods
        known = [row for row in rows if None not in [row.get(method) for method in methods]]
        won = sum(row[last] >= row[one] for row in known)
        caption += f" {last} is at least as high as {one} in {won} of {len(known)}."
    return lambda theme: draw.people_lines(order, panels, title(figure.value), theme), rows, caption


# -- maps and pictures ---------------------------------------------------------------------------------------------


def _table_map(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """Means over two axes, each cell of separate runs."""
    return _map(figure, frame, f"{counted(frame, figure.value)} Every cell is the mean of separate runs.")


def _block_map(figure: FigureSpec, frame: pd.DataFrame) -> Rendering:
    """Means over blocks and steps of single runs."""
    runs = len(frame[["method", "person", "prompt", "seed"]].drop_duplicates())
    caption = f"{runs} runs; each cell is a mean over them of the {_BLOCKS[figure.value]}."
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
    return lambda theme: maps(panels, labels, title(figure.x), label, theme), rows, caption


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
    faces = [None if tile is None else _fitted(tile, (wide, tall)) for tile in tiles]
    light, dark = (
        encoded(face_grid(faces, labels, columns=len(columns) + 1, theme=theme, tile=(wide, tall)))
        for theme in ("light", "dark")
    )
    caption = "The reference at the left; the number is the similarity to it; one noise in each row."
    return RenderedFigure(light, dark, rows, caption)


def _opened(path: Path) -> NDArray[np.uint8] | None:
    """A picture; None where it is missing or damaged."""
    try:
        return open_picture(path)
    except PictureError:
        return None


def _fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture cut around its middle to a tile's proportions."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS))


_KINDS: dict[str, Callable[[FigureSpec, pd.DataFrame], Rendering]] = {
    "table": _table,
    "pairs": _pairs,
    "people": _people,
    "curve": curve,
    "drift": drift_bars,
    "map": _table_map,
    "trajectory": trajectory,
    "blocks": _block_map,
}
