"""The lines that a likeness is held against: how many pictures make one, and what it takes to be above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_IMPOSTORS = 5
"""Faces of other people, or other pictures, below which an impostor baseline is unknown: so few say nothing."""


DEVIATIONS = 2
"""How many deviations a likeness must lie above a line."""


def upper_edge(level: float, std: float | None) -> float | None:
    """What a likeness must exceed to be above a line with this mean; None without a deviation."""
    return None if std is None else level + DEVIATIONS * std


@dataclass(frozen=True)
class Baseline:
    """Cosine between a reference and what it does not show: mean, deviation (None for one), and how many."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline | None:
        """Mean and deviation (n - 1) of these cosines; None without any."""
        if not values:
            return None
        known = np.asarray(values, np.float64)
        return cls(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None, len(known))

    @classmethod
    def of_impostors(cls, values: Sequence[float]) -> Baseline | None:
        """As `of`, for faces of other people or other pictures; None, which is unknown, of fewer than five."""
        return cls.of(values) if len(values) >= LEAST_IMPOSTORS else None

    @property
    def upper(self) -> float | None:
        """What a likeness must exceed to be above this line: mean + 2 deviations; None without a deviation."""
        return upper_edge(self.mean, self.std)

    @classmethod
    def pooled(cls, baselines: Sequence[Baseline | None]) -> Baseline | None:
        """One line for several references: the mean of theirs with the widest deviation; None where one is unknown."""
        known = [baseline for baseline in baselines if baseline is not None]
        if not known or len(known) < len(baselines):
            return None
        spread = [line.std for line in known if line.std is not None]
        mean = math.fsum(line.mean for line in known) / len(known)
        return cls(mean, max(spread, default=None), sum(line.count for line in known))


def impostors(measure: Any, references: Sequence[Any], pictures: Sequence[Any]) -> tuple[Baseline | None, int]:
    """What other people, or other pictures, score against all of several references.

    Args:
        measure: a `Measure`. One that has a method `against(pictures, references)` looks at each picture once.
        references: one `ReferenceData` or more.
        pictures: RGB uint8 [H, W, 3] of something else; those in which nothing is seen are left out.

    Returns:
        The line (None with fewer than five: unknown), and how many pictures had a value.
    """
    if measure.rule.subject == "prompt":  # its reference is no picture that another could be taken for
        return None, 0
    against = getattr(measure, "against", None)
    groups = against(pictures, references) if against else [measure.read(pictures, one) for one in references]
    scores = [[one.similarity for one in group if one.similarity is not None] for group in groups]
    count = min(map(len, scores))
    return (None if count < LEAST_IMPOSTORS else Baseline.pooled([Baseline.of(group) for group in scores])), count
