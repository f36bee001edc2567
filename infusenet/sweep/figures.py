"""From a sweep's table to its figures: what is shown of which rows, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import draw
from .draw import Point
from .rows import NAMES, Record, by, lifted, mean_of, number, paired_values, series, shown, summary
from .spec import FigureSpec
from .stats import Summary, drift_over, paired


@dataclass(frozen=True)
class Drawn:
    """A figure ready for the page.

    Attributes:
        light, dark: PNGs.
        rows: its numbers, for the CSV beside it and the table below it; undefined ones are None.
        caption: how to read it, and what it rests on.
    """

    light: bytes
    dark: bytes
    rows: list[dict[str, Any]]
    caption: str


def draw_figure(
    figure: FigureSpec, records: Sequence[Record], steps: Sequence[Record], out: Path, blocks: Sequence[Record] = ()
) -> Drawn:
    """One figure.

    Args:
        figure: what to show.
        records: the sweep's table.
        steps: the steps of its trajectories.
        out: the sweep's folder, where its pictures are.
        blocks: what each block did in each step.

    Returns:
        The figure; empty where nothing has been made yet.
    """
    rows = shown(records, figure)
    if figure.kind == "trajectory":
        return _trajectory(figure, shown(steps, figure))
    if figure.kind == "blocks":
        return _blocks(figure, shown(blocks, figure))
    if figure.kind == "pictures":
        return _pictures(figure, rows, out)
    kinds = {"table": _table, "pairs": _pairs, "people": _people, "curve": _curve, "drift": _drift, "map": _map}
    return kinds[figure.kind](figure, rows)


def _both(make: Callable[[str], Any], rows: list[dict[str, Any]], caption: str) -> Drawn:
    return Drawn(draw.png(make("light")), draw.png(make("dark")), rows, caption)


def _counted(rows: Sequence[Record], value: str) -> str:
    """What a figure rests on."""
    found = summary(rows, value)
    people, prompts = len({row["person"] for row in rows}), len({row["prompt"] for row in rows})
    text = f"{found.n} pictures of {people} {_many(people, 'person', 'people')}, {prompts} {_many(prompts, 'prompt')}"
    failed = sum(row["status"] == "failed" for row in rows)
    missing = sum(row["status"] == "missing" for row in rows)
    faceless = found.missing - failed - missing if value == "similarity" else 0
    left = [(failed, "failed"), (missing, "not made yet"), (faceless, "without a face")]
    return text + "".join(f", {count} {what}" for count, what in left if count) + "."


def _many(count: int, one: str, more: str = "") -> str:
    return one if count == 1 else more or f"{one}s"


_INTERVAL = "Intervals: bootstrap 95 % of the mean, whole people resampled."


def _point(x: float, found: Summary) -> Point:
    return Point(x, found.mean, found.low, found.high)


def _numbers(found: Summary) -> dict[str, Any]:
    names = ("n", "missing", "people", "mean", "std", "low", "high")
    return {name: getattr(found, name) for name in names}


def _table(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """A line for each way of making pictures, with its difference to the first."""
    groups, paper = series(rows), dict(figure.paper)
    first = next(iter(groups), None)
    base = summary(groups[first], "seconds").mean if first else None
    told = []
    for name, own in groups.items():
        found, seconds = summary(own, figure.value), summary(own, "seconds").mean
        line: dict[str, Any] = {"method": name, **_numbers(found), "paper": paper.get(name)}
        apart = paired(paired_values(own, figure.value), paired_values(groups[first], figure.value)) if first else None
        if apart and name != first:
            line |= {"difference": apart.mean, "difference low": apart.low, "difference high": apart.high}
            line |= {"pairs": apart.n}
        else:
            line |= dict.fromkeys(("difference", "difference low", "difference high", "pairs"))
        if any(row["latent_distance"] is not None for row in rows):
            line["latent distance"] = mean_of(own, "latent_distance")
        line |= {"seconds": seconds, "speed-up": base / seconds if base and seconds else None}
        told.append(line)
    points = [Point(0, line["mean"], line["low"], line["high"]) for line in told]
    theirs = [line["paper"] for line in told]
    caption = (
        f"{_counted(rows, figure.value)} {_INTERVAL} Differences are to {first}, on the same person, prompt, noise."
    )
    return _both(lambda theme: draw.forest([*groups], points, theirs, NAMES[figure.value], theme), told, caption)


def _pairs(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Every picture as a dot, methods side by side in each group."""
    groups, methods, paper = by(rows, figure.x), [*by(rows, "method")], dict(figure.paper)
    told, dots = [], {}
    for group, inside in groups.items():
        own = {method: [row for row in inside if row["method"] == method] for method in methods}
        for method in methods:
            values = paired_values(own[method], figure.value)
            dots[str(group), method] = {key: value for key, value in values.items() if value is not None}
            apart = paired(values, paired_values(own[methods[0]], figure.value))
            line = {NAMES[figure.x]: group, "method": method, **_numbers(summary(own[method], figure.value))}
            line["paper"] = paper.get(f"{method} / {group}")
            names = ("difference", "difference low", "difference high")
            against = method != methods[0]
            line |= dict(zip(names, (apart.mean, apart.low, apart.high) if against else (None,) * 3, strict=True))
            told.append(line)
    caption = (
        f"{_counted(rows, figure.value)} A dot is a picture, a bar the mean; lines join the same person and noise."
    )
    return _both(
        lambda theme: draw.paired_dots([*map(str, groups)], methods, dots, NAMES[figure.value], theme), told, caption
    )


def _people(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Every person's mean over prompts and seeds, method by method."""
    methods = by(rows, "method")
    level = {who: mean_of(own, figure.value) for who, own in by(next(iter(methods.values()), []), "person").items()}
    people = sorted(level, key=lambda who: -9.0 if level[who] is None else float(level[who] or 0.0))
    columns: dict[str, list[float | None]] = {}
    for method, own in methods.items():
        each = by(own, "person")
        columns[method] = [mean_of(each.get(who, []), figure.value) for who in people]
    told = [{"person": who, **{method: columns[method][i] for method in columns}} for i, who in enumerate(people)]
    caption = (
        f"{_counted(rows, figure.value)} Each dot is a person's mean; people are sorted by {next(iter(methods), '')}."
    )
    return _both(lambda theme: draw.people_lines(people, columns, NAMES[figure.value], theme), told, caption)


def _panels(figure: FigureSpec, rows: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Panels of lines: a line for each method, or a panel for each method and a line for each value of `split`."""
    if figure.split == "method":
        return {"": series(rows, but=(figure.x,))}
    return {
        method: {f"{_short(figure.split)}{number(value)}": inside for value, inside in by(own, figure.split).items()}
        for method, own in by(rows, "method").items()
    }


def _short(name: str) -> str:
    return "" if name in ("prompt", "method") else f"{NAMES[name]} "


def _curve(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means along an axis, each from separate runs."""
    told: list[dict[str, Any]] = []
    panels: dict[str, dict[str, list[Point]]] = {}
    counted = _counted(rows, figure.value)
    lift = figure.less is not None
    for title, lines in _panels(figure, lifted(rows, figure) if lift else rows).items():
        panels[title] = {}
        for name, own in lines.items():
            points = []
            for x, inside in by(own, figure.x).items():
                found = summary(inside, figure.value)
                points.append(_point(x, found))
                told.append({"method": title or name, "line": name, NAMES[figure.x]: x, **_numbers(found)})
            panels[title][name] = points
    ticks = sorted({row[figure.x] for row in rows if row[figure.x] is not None})
    caption = f"{counted} Every point is separate runs from the same noise. {_INTERVAL}"
    value = NAMES[figure.value]
    args = (NAMES[figure.x], f"{value} above {NAMES[figure.split]} {number(figure.less)}" if lift else value)
    return _both(lambda theme: draw.curves(panels, *args, theme, ticks=ticks), told, caption)


def _drift(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """From the peak of the mean curve to its end."""
    told, columns = [], {}
    panels = _panels(figure, rows)
    groups = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for title, lines in panels.items():
        points = []
        for group in groups:
            places = by(lines.get(group, []), figure.x)
            people = dict.fromkeys(row["person"] for row in lines.get(group, []))
            curves = {
                who: [mean_of([r for r in inside if r["person"] == who], figure.value) for inside in places.values()]
                for who in people
            }
            found = drift_over(curves, [*places])
            points.append(Point(0, found.drift, found.low, found.high) if found else Point(0, None, None, None))
            line: dict[str, Any] = {"method": title or group, "group": group}
            names = ("peak_at", "peak", "final", "drift", "low", "high", "people")
            line |= {name.replace("_", " "): getattr(found, name) if found else None for name in names}
            told.append(line)
        columns[title or "drift"] = points
    caption = (
        f"{_counted(rows, figure.value)} Drift is the peak of the mean curve less its end: it is never negative, and "
        "noise alone makes it positive. Intervals: bootstrap 95 % over people with a face at every number of steps."
    )
    label = f"drift of {NAMES[figure.value]}"
    return _both(lambda theme: draw.bars(groups, columns, label, "", theme), told, caption)


def _map(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means over two axes."""
    told, panels, columns = [], {}, {}
    ys = [*by(rows, figure.y)]
    for method, own in by(rows, "method").items():
        xs = [*by(own, figure.x)]
        cells = [[[r for r in own if r[figure.x] == x and r[figure.y] == y] for x in xs] for y in ys]
        panels[method] = [[mean_of(cell, figure.value) for cell in line] for line in cells]
        columns[method] = [number(x) for x in xs]
        for y, line in zip(ys, cells, strict=True):
            told += [
                {"method": method, NAMES[figure.y]: y, NAMES[figure.x]: x, **_numbers(summary(cell, figure.value))}
                for x, cell in zip(xs, line, strict=True)
            ]
    labels, caption = (
        [number(y) for y in ys],
        f"{_counted(rows, figure.value)} Every cell is the mean of separate runs.",
    )
    x, label = NAMES[figure.x], f"mean {NAMES[figure.value]}"
    return _both(lambda theme: draw.maps(panels, columns, labels, x, label, theme), told, caption)


def _trajectory(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """What each step of one run believes the finished picture to be."""
    told, lines = [], {}
    for name, own in series(rows_with_settings(rows)).items():
        points = []
        for step, inside in by(own, "step").items():
            found = summary(inside, figure.value)
            points.append(_point(step, found))
            told.append({"method": name, "step": step, **_numbers(found)})
        lines[name] = points
    people = len({row["person"] for row in rows})
    runs = len({(row["method"], row["person"], row["prompt"], row["seed"], row["steps"]) for row in rows})
    caption = (
        f"{runs} runs of {people} {_many(people, 'person', 'people')}. These are the steps within single runs, not "
        f"runs of so many steps: each point is the run's prediction of its finished picture at that step. {_INTERVAL}"
    )
    return _both(lambda theme: draw.curves({"": lines}, NAMES["step"], NAMES[figure.value], theme), told, caption)


def _blocks(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means over blocks and steps of single runs."""
    drawn = _map(replace(figure, x="step", y="block"), rows)
    runs = len({(row["method"], row["person"], row["prompt"], row["seed"]) for row in rows})
    what = {
        "stream_ratio": "text-stream over image-stream norm (RMS over tokens) of the attention output before its "
        "projection: a norm, no attention probability",
        "residual_ratio": "norm of InfuseNet's residual as applied over the hidden state it is added to",
    }[figure.value]
    return replace(drawn, caption=f"{runs} runs; each cell is a mean over them of the {what}.")


def rows_with_settings(rows: Sequence[Record]) -> list[Record]:
    """Step records with the settings that tables have."""
    return [{"strength": None, "guidance": None, "true_cfg": None, "first_steps": None, **row} for row in rows]


def _pictures(figure: FigureSpec, rows: Sequence[Record], out: Path) -> Drawn:
    """The reference and what each method made of it, prompt by prompt."""
    import numpy as np
    from PIL import Image

    from ..demo import png
    from ..plots.sheet import face_grid

    groups, told, tiles, labels = series(rows), [], [], []
    seed = min((row["seed"] for row in rows), default=0)
    columns = [(name, prompt) for name in groups for prompt in by(rows, "prompt")]
    for person in by(rows, "person"):
        reference = out / "people" / f"{person}.png"
        tiles.append(np.array(Image.open(reference).convert("RGB")) if reference.is_file() else None)
        labels.append(person)
        for name, prompt in columns:
            fitting = [r for r in groups[name] if (r["person"], r["prompt"], r["seed"]) == (person, prompt, seed)]
            row = fitting[0] if fitting else None
            path = out / "pictures" / f"{row['job']}.png" if row else None
            tiles.append(np.array(Image.open(path).convert("RGB")) if path and path.is_file() else None)
            value = row["similarity"] if row else None
            labels.append(f"{name}: {'–' if value is None else f'{value:.2f}'}\n{prompt}")
            told.append({"person": person, "method": name, "prompt": prompt, "seed": seed, "similarity": value})
            told[-1]["job"] = row["job"] if row else None
    sheets = [face_grid(tiles, labels, columns=len(columns) + 1, theme=theme) for theme in ("light", "dark")]
    return Drawn(png(sheets[0]), png(sheets[1]), told, "The reference at the left; the number is the similarity to it.")
