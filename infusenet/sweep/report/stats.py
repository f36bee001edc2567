"""Means with their uncertainty, and differences between methods on the same pictures. Undefined values are counted."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...probe.drift import Peak, window_of

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """What some values say.

    Attributes:
        n: defined values.
        missing: undefined ones: failed, or without a face.
        people: persons behind the defined ones.
        mean: None of nothing.
        std: standard deviation (n - 1), None of fewer than two.
        low, high: bootstrap 95 % interval of the mean over persons; None of fewer than two persons.
    """

    n: int
    missing: int
    people: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


def summarise(values: Sequence[float | None], people: Sequence[Hashable]) -> Summary:
    """Mean, deviation and interval.

    Pictures of one person are no independent samples, so whole persons are resampled (cluster bootstrap, 4000 times,
    always with the same random numbers).

    Args:
        values: one a picture, None where undefined.
        people: whose picture each is.

    Returns:
        The summary.
    """
    pairs = [(value, who) for value, who in zip(values, people, strict=True) if value is not None]
    defined = [value for value, _ in pairs]
    if not defined:
        return Summary(0, len(values), 0, None, None, None, None)
    n, mean = len(defined), math.fsum(defined) / len(defined)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in defined) / (n - 1)) if n > 1 else None
    groups: dict[Hashable, list[float]] = {}
    for value, who in pairs:
        groups.setdefault(who, []).append(value)
    sums, counts = (np.array([f(group) for group in groups.values()], np.float64) for f in (math.fsum, len))
    low = high = None
    if len(groups) > 1:
        drawn = resamples(len(groups))
        low, high = interval(sums[drawn].sum(1) / counts[drawn].sum(1))
    return Summary(n, len(values) - n, len(groups), mean, std, low, high)


def resamples(people: int) -> NDArray[np.int64]:
    """Persons drawn with replacement, [RESAMPLES, people]; the same every time."""
    return np.random.default_rng(0).integers(0, people, (RESAMPLES, people))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired(
    ours: Mapping[tuple[Hashable, ...], float | None], theirs: Mapping[tuple[Hashable, ...], float | None]
) -> Summary:
    """The difference ours - theirs on the same person, prompt and seed.

    Args:
        ours: values by a key whose first part is the person.
        theirs: likewise.

    Returns:
        Summary of the differences; a pair with an undefined or absent side counts as missing.
    """
    sides = {key: (ours.get(key), theirs.get(key)) for key in [*ours, *theirs]}
    apart = [None if a is None or b is None else a - b for a, b in sides.values()]
    return summarise(apart, [key[0] for key in sides])


@dataclass(frozen=True)
class MeanDrift:
    """How far a mean curve falls from its peak to its end.

    Attributes:
        early: first and last place around the peak whose mean is within 5 % of it; None of a peak not above 0.
        peak_at, final_at: where the peak and the end are.
        peak, final: mean values there.
        drift: peak - final, never negative.
        low, high: bootstrap 95 % interval over persons, each resample with a peak of its own; None of one person.
        people: persons with a value at every place.
    """

    early: tuple[float, float] | None
    peak_at: float
    peak: float
    final_at: float
    final: float
    drift: float
    low: float | None
    high: float | None
    people: int


def drift_over(curves: Mapping[Hashable, Sequence[float | None]], at: Sequence[float]) -> MeanDrift | None:
    """Drift of the mean of several persons' curves.

    Args:
        curves: a person's values at each place; persons with an undefined value are left out.
        at: the places, rising.

    Returns:
        The drift, None without any whole curve.
    """
    whole = np.array([curve for curve in curves.values() if all(value is not None for value in curve)], np.float64)
    if whole.size == 0:
        return None
    mean = whole.mean(0)
    peak = int(mean.argmax())
    low = high = None
    if len(whole) > 1:
        means = whole[resamples(len(whole))].mean(1)
        low, high = interval(means.max(1) - means[:, -1])
    top, end = float(mean[peak]), float(mean[-1])
    early = window_of(range(len(at)), mean.tolist(), Peak(peak, top))
    window = None if early is None else (at[early[0]], at[early[1]])
    return MeanDrift(window, at[peak], top, at[-1], end, top - end, low, high, len(whole))
