"""A figure ready for the page, and what all figures say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..charts import statistics as draw
from ..charts.statistics import Point
from .rows import Record, summary
from .stats import Summary

INTERVAL = "Intervals: bootstrap 95 % of the mean, whole people resampled."


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


def both(make: Callable[[str], Any], rows: list[dict[str, Any]], caption: str) -> Drawn:
    """Light and dark, by a function from a theme's name to a figure of matplotlib."""
    return Drawn(draw.png(make("light")), draw.png(make("dark")), rows, caption)


def counted(rows: Sequence[Record], value: str) -> str:
    """What a figure rests on, in words."""
    found = summary(rows, value)
    people, prompts = len({row["person"] for row in rows}), len({row["prompt"] for row in rows})
    text = f"{found.n} pictures of {people} {many(people, 'person', 'people')}, {prompts} {many(prompts, 'prompt')}"
    failed = sum(row["status"] == "failed" for row in rows)
    missing = sum(row["status"] == "missing" for row in rows)
    faceless = found.missing - failed - missing if value == "similarity" else 0
    left = [(failed, "failed"), (missing, "not made yet"), (faceless, "without a face")]
    return text + "".join(f", {count} {what}" for count, what in left if count) + "."


def many(count: int, one: str, more: str = "") -> str:
    """A word for one thing or for several."""
    return one if count == 1 else more or f"{one}s"


def point(x: float, found: Summary) -> Point:
    """A mean with its interval at a place."""
    return Point(x, found.mean, found.low, found.high)


def numbers(found: Summary) -> dict[str, Any]:
    """Statistics as columns."""
    names = ("n", "missing", "people", "mean", "std", "low", "high")
    return {name: getattr(found, name) for name in names}
