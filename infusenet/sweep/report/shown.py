"""What every figure of a sweep says and shows alike: what it rests on, its numbers, its colours, the levels beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...charts.statistics import Point, Tone, tones
from ...measures.baselines import Baseline
from ...measures.lines import KINDS, Line, known_lines
from .stats import LEAST_PEOPLE, Summary
from .table import summary

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
PAPER = " Hollow diamonds: the paper (FLUX, photos)."
NOT_COMPARABLE = " Seconds are not comparable where another process ran at the same time: {} of {}."


@dataclass(frozen=True)
class Rendering:
    """A figure before it is drawn."""

    draw: Callable[[str], Any]  # from a theme's name to a chart
    rows: list[Row]
    caption: str


def counted(frame: pd.DataFrame, value: str) -> str:
    """What a figure rests on, in words."""
    if value not in frame:
        return "Not measured in this sweep."
    missing = summary(frame, value).missing
    people, prompts = frame["person"].nunique(), frame["prompt"].nunique()
    text = f"{len(frame) - missing} pictures of {many(people, 'person', 'people')}, {many(prompts, 'prompt')}"
    text += f", {many(frame['seed'].nunique(), 'noise')}"
    failed, unmade = (int((frame["status"] == status).sum()) for status in ("failed", "missing"))
    unseen = missing - failed - unmade if value == "similarity" else 0
    left = [(failed, "failed"), (unmade, "not made yet"), (unseen, unseen_in_words(frame))]
    text += "".join(f", {count} {what}" for count, what in left if count) + "."
    if value != "seconds":
        return text
    disturbed = int((frame["seconds"].notna() & ~frame["alone"].fillna(False).astype(bool)).sum())
    return text + NOT_COMPARABLE.format(disturbed, len(frame)) * bool(disturbed)


def intervals(frame: pd.DataFrame) -> str:
    """How intervals are made, or why there are none."""
    people = frame["person"].nunique()
    if people < LEAST_PEOPLE:
        return f" {many(people, 'person', 'people')}: too few for an interval, so no difference here is a finding."
    return " Intervals: 95 % of the mean over people (t)."


def unseen_in_words(frame: pd.DataFrame) -> str:
    """What pictures without a similarity lack."""
    of_faces = frame["rule"].dropna().str.startswith("face").all()
    return "without a face" if of_faces else "without a likeness"


def many(count: int, one: str, more: str = "") -> str:
    """A count with its noun."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def numbers(found: Summary) -> Row:
    """Statistics as columns."""
    return {name: getattr(found, name) for name in ("n", "missing", "people", "mean", "std", "low", "high")}


def difference(found: Summary | None) -> Row:
    """A paired difference as columns."""
    values = (None, None, None) if found is None else (found.mean, found.low, found.high)
    return dict(zip(("difference", "difference low", "difference high"), values, strict=True))


def point(x: float, found: Summary | None) -> Point:
    """A mean at a place."""
    return Point(x, None, None, None) if found is None else Point(x, found.mean, found.low, found.high)


def levels_of(levels: Mapping[str, Baseline | None], value: str) -> list[Line]:
    """What the same and other people and nothing score, beside a similarity; none beside other values."""
    first = {"similarity": "", "second_similarity": "second_"}.get(value)
    return [] if first is None else known_lines({kind: levels.get(f"{first}{kind}") for kind in KINDS})


def tones_of(lines: Mapping[str, pd.DataFrame], *, rising: bool = False) -> dict[str, Tone]:
    """How lines look, from rows by a line's name; see `charts.statistics.tones`."""
    roles = {name: str(own["role"].iloc[0]) if len(own) and "role" in own else name for name, own in lines.items()}
    return tones(roles, rising=rising)
