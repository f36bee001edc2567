"""Paired comparison: the same people, prompts and noises, made in two ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .runs import Floats, Readings

LOSS = 0.03  # cosine from which on a run counts as made worse
OFTEN = 0.1  # share of runs that advice may make worse


@dataclass(frozen=True)
class Row:
    """One way against another, by the judge. Undefined is None.

    Attributes:
        name: of the way.
        runs: how many pairs.
        faceless: pairs of which one picture shows no face; they are in no mean.
        gain: mean difference of likeness, cosine.
        low, high: its 95 % interval (t, runs are independent).
        worse: share of all runs below by more than .03, or that lost the face.
        evaluations: mean evaluations of the network of a picture.
        looks: mean predictions that the probe must look at before it decides.
        sharpness: mean sharpness, as a share of the other way's.
    """

    name: str
    runs: int
    gain: float | None
    low: float | None
    high: float | None
    worse: float | None
    evaluations: float
    looks: float
    sharpness: float | None
    faceless: int = 0

    @property
    def helps(self) -> bool:
        """What may be advised: it gains on average, and makes at most one run in ten worse."""
        return self.low is not None and self.low > 0 and self.worse is not None and self.worse <= OFTEN


def pair(name: str, new: Readings, old: Readings, evaluations: Any, looks: Any = 0.0) -> Row:
    """Compare finished pictures [n] with others of the same subjects."""
    difference = new.likeness - old.likeness
    runs = len(difference)
    cost, looked = float(np.mean(evaluations)), float(np.mean(looks))
    if not runs:
        return Row(name, 0, None, None, None, None, 0.0, 0.0, None)
    known = np.isfinite(difference)
    lost = new.seen < old.seen
    if not known.any():
        return Row(name, runs, None, None, None, float(lost.mean()), cost, looked, None, runs)
    gain = float(difference[known].mean())
    half = half_width(difference[known])
    sharpness = float(new.sharpness.mean() / old.sharpness.mean())
    worse = float(((difference < -LOSS) | lost).mean())
    low, high = (None, None) if half is None else (gain - half, gain + half)
    return Row(name, runs, gain, low, high, worse, cost, looked, sharpness, int((~known).sum()))


def half_width(values: Floats) -> float | None:
    """Half of the 95 % interval of a mean; None for fewer than three values."""
    free = len(values) - 1
    if free < 2:
        return None
    z = 1.959964
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    t = math.fsum(term / free**power for power, term in enumerate(terms))  # Student's quantile, expanded
    return t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
