"""What a figure's numbers say of a claim, such as the paper's: one line, computed, contradictions first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import pandas as pd

from ...charts.labels import number
from ...pages import with_sign
from ..figure_spec import Claim, FigureSpec
from .stats import LEAST_PEOPLE, NOTHING, Key, Summary, differences, summarise
from .table import Tables

Status = Literal["contradicts", "opposite", "undecided", "same", "size", "agrees", "few", "unmeasured"]
ORDER: tuple[Status, ...] = get_args(Status)
"""Of a list of verdicts: what contradicts first."""
WORDS: dict[Status, str] = {
    "contradicts": "contradicts",
    "opposite": "opposite sign, not significant",
    "undecided": "undecided",
    "same": "same sign, not significant",
    "size": "same sign, other size",
    "agrees": "agrees",
    "few": f"fewer than {LEAST_PEOPLE} people: no verdict",
    "unmeasured": "not measured",
}
COLOURS: dict[Status, int] = {"contradicts": 1, "opposite": 1, "size": 2, "agrees": 2}
"""Numbers of the palette's curves; the others are quiet."""


@dataclass(frozen=True)
class Verdict:
    """A claim beside what was found."""

    says: str
    source: str  # where it is said
    status: Status
    found: str  # the paper's figure, and the one found with its interval, over how many people
    paper: float | None  # None where it gives a sign alone
    mean: float | None  # what was found; a ratio where the claim is of one
    low: float | None
    high: float | None
    people: int
    ratio: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Verdict:
        """From a file."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    @property
    def line(self) -> str:
        """What was found, and the verdict."""
        return f"{self.found}: {WORDS[self.status]}"


def verdicts(figure: FigureSpec, tables: Tables) -> list[Verdict]:
    """A verdict for each claim of a figure, in the specification's order."""
    return [_verdict(claim, figure, tables) for claim in figure.claims]


def in_order(found: Sequence[Verdict]) -> list[Verdict]:
    """What contradicts first."""
    return sorted(found, key=lambda verdict: ORDER.index(verdict.status))


def _verdict(claim: Claim, figure: FigureSpec, tables: Tables) -> Verdict:
    of_steps = figure.kind == "trajectory"
    frame = tables.steps if of_steps else tables.points
    frame = frame[frame["prompt"].isin(figure.prompts)] if figure.prompts else frame
    found = contrast(frame[frame["person"].notna()] if len(frame) else frame, claim, claim.value or figure.value)
    status = _status(found, claim)
    shown = found if not claim.ratio else _as_ratio(found)
    line = f"{_paper(claim)}; {_here(shown, claim.ratio)}"
    ends = (shown.mean, shown.low, shown.high)
    return Verdict(claim.says, claim.source, status, line, claim.paper, *ends, found.people, claim.ratio)


def contrast(frame: pd.DataFrame, claim: Claim, value: str) -> Summary:
    """The mean difference of a column that a claim is about, paired; in logarithms where it is of a ratio."""
    if value not in frame:
        return NOTHING
    found = _difference(frame, claim.of, claim.than, value, claim.ratio)
    if claim.against:
        base = _difference(frame, {**claim.of, **claim.against}, {**claim.than, **claim.against}, value, claim.ratio)
        found = differences(_without_prompt(found), _without_prompt(base))
    return summarise([*found.values()], [key[0] for key in found]) if found else NOTHING


def _difference(
    frame: pd.DataFrame, of: Mapping[str, Any], than: Mapping[str, Any], value: str, ratio: bool
) -> dict[Key, float | None]:
    by = ["person", "seed"] if "prompt" in of and "prompt" in than else ["person", "prompt", "seed"]
    return differences(_selected(frame, of, value, by, ratio), _selected(frame, than, value, by, ratio))


def _without_prompt(found: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """By person and seed: means over prompts, where there are any."""
    groups: dict[Key, list[float]] = {}
    for key, value in found.items():
        groups.setdefault((key[0], key[-1]), []).extend([] if value is None else [value])
    return {key: math.fsum(values) / len(values) if values else None for key, values in groups.items()}


def _selected(
    frame: pd.DataFrame, settings: Mapping[str, Any], value: str, by: list[str], ratio: bool
) -> dict[Key, float | None]:
    """A column's values by person, prompt and seed, or means of them, in the rows with these settings."""
    for name, wanted in settings.items():
        if name not in frame:
            return {}
        last = name == "step" and wanted == -1
        frame = frame[(frame["step"] == frame["steps"]) if last else (frame[name] == wanted).fillna(False)]
    column = frame[value].astype("float64")
    if value == "seconds":  # of jobs that were disturbed nothing can be said
        column = column.where(frame["alone"].fillna(False).astype(bool))
    if ratio:
        column = column.where(column > 0).map(math.log, na_action="ignore")
    means = column.groupby([frame[name] for name in by], sort=False).mean()
    return {tuple(key): None if mean != mean else float(mean) for key, mean in means.items()}


def _status(found: Summary, claim: Claim) -> Status:
    if found.mean is None:
        return "unmeasured"
    if found.low is None or found.high is None:
        return "few"
    top = claim.margin if claim.most is None else claim.most
    if top is not None:
        bottom = -top if claim.most is None else -math.inf
        if bottom <= found.low and found.high <= top:
            return "agrees"
        return "contradicts" if found.low > top or found.high < bottom else "undecided"
    if found.mean == 0:
        return "undecided"
    same = found.mean * _sign(claim) > 0
    if not found.is_sure:
        return "same" if same else "opposite"
    theirs = math.log(claim.paper) if claim.paper and claim.ratio else claim.paper
    as_large = theirs is None or found.low <= theirs <= found.high
    return ("agrees" if as_large else "size") if same else "contradicts"


def _sign(claim: Claim) -> int:
    """Which way the paper's difference goes."""
    if claim.sign:
        return claim.sign
    return 1 if (claim.paper or 0) > (1 if claim.ratio else 0) else -1


def _as_ratio(found: Summary) -> Summary:
    ends = {name: None if (log := getattr(found, name)) is None else math.exp(log) for name in ("mean", "low", "high")}
    return Summary(found.n, found.missing, found.people, ends["mean"], None, ends["low"], ends["high"])


def _paper(claim: Claim) -> str:
    if claim.paper is not None:
        return f"Paper {_told(claim.paper, claim.ratio)}"
    if claim.most is not None:
        return f"Claim: at most {claim.most:g}"
    if claim.margin is not None:
        return f"Claim: equal within {claim.margin:g}"
    return f"Claim: {'above' if claim.sign > 0 else 'below'} {'1' if claim.ratio else '0'}"


def _here(found: Summary, ratio: bool) -> str:
    if found.mean is None:
        return "here no value"
    ends = "" if found.low is None else f" [{_told(found.low, ratio)}, {_told(found.high, ratio)}]"
    return f"here {_told(found.mean, ratio)}{ends} ({found.people} people)"


def _told(value: float | None, ratio: bool) -> str:
    return f"×{number(value, 2)}" if ratio else with_sign(value, 3)
