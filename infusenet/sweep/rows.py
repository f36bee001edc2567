"""Which rows of a sweep's table a figure shows, and how they fall into series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from .figure_spec import FigureSpec
from .stats import Summary, summarise

Record = Mapping[str, Any]
VARIED = ("steps", "strength", "guidance", "true_cfg", "first_steps")
NAMES = {"steps": "steps", "strength": "strength", "guidance": "guidance", "true_cfg": "true CFG"}
NAMES |= {"first_steps": "active steps", "prompt": "prompt", "method": "method", "similarity": "similarity"}
NAMES |= {"latent_distance": "latent distance", "lpips": "LPIPS (VGG)"}
NAMES |= {"seconds": "seconds a picture", "step": "step of the run"}
NAMES |= {"stream_ratio": "text over image stream norm", "residual_ratio": "residual over hidden state"}
NAMES |= {"block": "block", "sharpness": "sharpness", "contrast": "contrast"}


def shown(records: Sequence[Record], figure: FigureSpec) -> list[Record]:
    """The rows of a figure: its methods, prompts and people."""
    rows = [row for row in records if row["method"] in figure.methods and row["prompt"] in figure.prompts]
    rows.sort(key=lambda row: figure.methods.index(row["method"]))
    kind, _, count = figure.people.partition(" ")
    if kind == "all":
        return rows
    people = list(dict.fromkeys(row["person"] for row in rows))
    if kind == "top":
        level = {who: mean_of([row for row in rows if row["person"] == who], "similarity") for who in people}
        known = {who: value for who, value in level.items() if value is not None}
        people = sorted(known, key=lambda who: -known[who])
    kept = set(people[: int(count)])
    return [row for row in rows if row["person"] in kept]


def series(rows: Sequence[Record], *, but: Sequence[str] = ()) -> dict[str, list[Record]]:
    """Rows by method and by each setting that varies within it, in the table's order.

    Args:
        rows: to be split.
        but: settings that do not make a series of their own, such as the one along the x axis.
    """
    found: dict[str, list[Record]] = {}
    varied = {
        method: [
            name
            for name in VARIED
            if name not in but and len({row[name] for row in rows if row["method"] == method}) > 1
        ]
        for method in dict.fromkeys(row["method"] for row in rows)
    }
    for row in rows:
        told = "".join(f", {NAMES[name]} {number(row[name])}" for name in varied[row["method"]])
        found.setdefault(row["method"] + told, []).append(row)
    return found


def by(rows: Sequence[Record], name: str) -> dict[Any, list[Record]]:
    """Rows by one column; numbers rising, texts in the table's order."""
    values = list(dict.fromkeys(row[name] for row in rows if row[name] is not None))
    if values and not isinstance(values[0], str):
        values.sort()
    return {value: [row for row in rows if row[name] == value] for value in values}


def summary(rows: Sequence[Record], value: str) -> Summary:
    """Statistics of a column; seconds count only where the job ran alone on its device."""
    values = [row[value] if value != "seconds" or row["alone"] else None for row in rows]
    return summarise(values, [row["person"] for row in rows])


def mean_of(rows: Sequence[Record], value: str) -> float | None:
    """Mean of a column where it is defined; None where nowhere."""
    defined = [row[value] for row in rows if row[value] is not None]
    return sum(defined) / len(defined) if defined else None


def paired_values(rows: Sequence[Record], value: str) -> dict[tuple[Hashable, ...], float | None]:
    """A column by person, prompt and seed."""
    return {(row["person"], row["prompt"], row["seed"]): row[value] for row in rows}


def number(value: Any) -> str:
    """A setting as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def lifted(rows: Sequence[Record], figure: FigureSpec) -> list[Record]:
    """Rows whose value is what they have more than the row that differs in `split` alone and has the value `less`.

    Where one of the two is undefined, so is the difference.
    """
    same = [name for name in ("method", "person", "prompt", "seed", *VARIED) if name != figure.split]
    base = {tuple(row[name] for name in same): row[figure.value] for row in rows if row[figure.split] == figure.less}
    found: list[Record] = []
    for row in rows:
        value, floor = row[figure.value], base.get(tuple(row[name] for name in same))
        if row[figure.split] != figure.less:
            found.append({**row, figure.value: None if value is None or floor is None else value - floor})
    return found
