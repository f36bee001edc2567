"""Means with their uncertainty over people, paired differences, drift and what noise alone would show of it.

Undefined values are counted, and are never 0. Intervals are Student's t over people: over few people it covers what it
says, where a percentile bootstrap covers .75 (3 people) to .91 (10) instead of .95.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
LEAST_PEOPLE = 6  # over fewer, an interval says nothing worth a decision
RESAMPLES = 4000
Floats = NDArray[np.float64]
Key = tuple[Hashable, ...]
Curves = Mapping[Any, Mapping[Any, Sequence[float | None]]]
"""By person and noise, a value at each place."""


@dataclass(frozen=True)
class Summary:
    """What some values say; None of nothing."""

    n: int  # defined values
    missing: int  # undefined ones: failed, or without a face
    people: int  # behind the defined ones
    mean: float | None
    std: float | None  # deviation (n - 1); None of fewer than two
    low: float | None  # 95 % interval of the mean over people; None of fewer than LEAST_PEOPLE
    high: float | None

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


NOTHING = Summary(0, 0, 0, None, None, None, None)


def summarise(values: Sequence[float | None], people: Sequence[Hashable]) -> Summary:
    """Mean, deviation and interval.

    Pictures of one person are no independent samples: what varies is the person. The mean over all pictures is a ratio
    of two sums over people; its error is that of the ratio, linearised. Values are one a picture, None where undefined.
    """
    pairs = [(value, who) for value, who in zip(values, people, strict=True) if value is not None]
    defined = [value for value, _ in pairs]
    if not defined:
        return Summary(0, len(values), 0, None, None, None, None)
    n, mean = len(defined), math.fsum(defined) / len(defined)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in defined) / (n - 1)) if n > 1 else None
    apart: dict[Hashable, float] = {}
    for value, who in pairs:
        apart[who] = apart.get(who, 0.0) + value - mean
    low, high = interval(mean, [*apart.values()], n)
    return Summary(n, len(values) - n, len(apart), mean, std, low, high)


def interval(mean: float, apart: Sequence[float], n: float) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean of n values, from what each person's sum lies apart from it; None of few people."""
    if (people := len(apart)) < LEAST_PEOPLE:
        return None, None
    from scipy.special import stdtrit

    error = math.sqrt(people / (people - 1) * math.fsum(each * each for each in apart)) / n
    half = float(stdtrit(people - 1, (1 + LEVEL) / 2)) * error
    return mean - half, mean + half


def paired(ours: Mapping[Key, float | None], theirs: Mapping[Key, float | None]) -> Summary:
    """ours - theirs, of values by a key whose first part is the person; pairs without a side are missing."""
    apart = differences(ours, theirs)
    return summarise([*apart.values()], [key[0] for key in apart])


def differences(ours: Mapping[Key, float | None], theirs: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """ours - theirs by key; None where one side is undefined or absent."""
    sides = {key: (ours.get(key), theirs.get(key)) for key in [*ours, *theirs]}
    return {key: None if a is None or b is None else a - b for key, (a, b) in sides.items()}


# -- drift ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drift:
    """How far a curve lies lower at its end than before."""

    early_at: float | None  # the place of the fixed contrast, named before any value was seen
    final_at: float
    fixed: Summary  # value there less value at the end, paired by person: this one decides
    peak_at: float  # where the mean curve is highest
    peak: float
    final: float
    found: float  # peak - final: never negative, and above 0 by noise alone
    by_noise: float | None  # its mean where the truth is flat and the noise as measured; None of one person
    by_noise_high: float | None  # its 95th percentile there
    crossed: Summary  # the same at a peak that others chose; see `cross_fitted`
    halves: int  # of the noises: 2, or 1 where there is one noise
    people: int  # with a value at every place


def drift_of(curves: Curves, at: Sequence[float], early: float) -> Drift | None:
    """Drift of several persons' curves over places `at`, rising; None without any whole curve.

    The fixed contrast is from the first place at or after `early`; there is none where that is the end.
    """
    halves, names = in_halves(curves)
    if halves.size == 0:
        return None
    own, people = halves.mean(1), range(len(names))
    mean = own.mean(0)
    peak, place = int(mean.argmax()), next((i for i, x in enumerate(at[:-1]) if x >= early), None)
    by_noise = under_flat_truth(own)
    return Drift(
        early_at=None if place is None else at[place],
        final_at=at[-1],
        fixed=NOTHING if place is None else summarise((own[:, place] - own[:, -1]).tolist(), people),
        peak_at=at[peak],
        peak=float(mean[peak]),
        final=float(mean[-1]),
        found=float(mean[peak] - mean[-1]),
        by_noise=None if by_noise is None else float(by_noise.mean()),
        by_noise_high=None if by_noise is None else float(np.quantile(by_noise, LEVEL)),
        crossed=cross_fitted(halves),
        halves=halves.shape[1],
        people=len(names),
    )


def in_halves(curves: Curves) -> tuple[Floats, list[Any]]:
    """Each person's mean curve over either half of the noises, [people, halves, places], and who they are.

    The noises in turn belong to the first and the second half. One half where there is one noise. A person without a
    whole curve in each half is left out.
    """
    noises = list(dict.fromkeys(noise for own in curves.values() for noise in own))
    halves = [noises[::2], noises[1::2]] if len(noises) > 1 else [noises]
    kept: list[list[Floats]] = []
    names = []
    for who, own in curves.items():
        whole = {noise: curve for noise, curve in own.items() if all(value is not None for value in curve)}
        parts = [[whole[noise] for noise in half if noise in whole] for half in halves]
        if all(parts):
            kept.append([np.array(part, np.float64).mean(0) for part in parts])
            names.append(who)
    return np.array(kept, np.float64), names


def cross_fitted(halves: Floats) -> Summary:
    """Value at the peak less value at the end, where others chose the peak: a flat truth gives 0.

    Every second person is of the other half of people. For a half of people and a half of noises, the mean curve of
    the other people in the other noises (the same where there is one half) says where the peak is. Other noises of the
    same people would not do: what is peculiar to a person at some place is so in all noises, and is chosen.
    Takes [people, halves, places], the last place the end.
    """
    people, count, _ = halves.shape
    if people < 2:
        return Summary(0, people, 0, None, None, None, None)
    found = np.zeros((people, count))
    for first in (0, 1):
        peaks = halves[1 - first :: 2].mean(0)[::-1].argmax(-1)  # [halves]
        own = halves[first::2]
        found[first::2] = own[:, range(count), peaks] - own[..., -1]
    return summarise(found.mean(1).tolist(), range(people))


def under_flat_truth(curves: Floats) -> Floats | None:
    """Peak less end, [RESAMPLES], were the truth flat and the noise that of curves [people, places]; None of one."""
    people = len(curves)
    if people < 2:
        return None
    noise = (curves - curves.mean(0)) * math.sqrt(people / (people - 1))
    drawn = np.random.default_rng(0).integers(0, people, (RESAMPLES, people))
    means = noise[drawn].mean(1)
    found: Floats = means.max(1) - means[:, -1]
    return found


# -- spread and direction ------------------------------------------------------------------------------------------


def direction_of(similarity: float | None, agreement: float | None) -> float | None:
    """Cosine between reference and mean direction of ever more noises: s / sqrt(c); None where c is not above 0.

    Of mean cosines: s of one person's pictures to the reference, c between pictures of different noises. By noise it
    may exceed 1.
    """
    if similarity is None or agreement is None or agreement <= 0:
        return None
    return similarity / math.sqrt(agreement)


def parted(now: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    """What changes of direction d and agreement c give of a change of similarity d * sqrt(c); they add up exactly."""
    (d1, c1), (d0, c0) = now, then
    root1, root0 = math.sqrt(c1), math.sqrt(c0)
    return (d1 - d0) * (root1 + root0) / 2, (root1 - root0) * (d1 + d0) / 2


# -- time ----------------------------------------------------------------------------------------------------------


def fitted_time(steps: Sequence[float], seconds: Sequence[float]) -> tuple[float, float] | None:
    """Seconds as fixed + steps * each, by least squares; None with fewer than two numbers of steps."""
    if len(set(steps)) < 2:
        return None
    each, fixed = np.polyfit(steps, seconds, 1)
    return float(fixed), float(each)
