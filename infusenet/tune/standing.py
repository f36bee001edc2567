"""What is wanted of a way, and how it stands to that so far, in shares of a reference way's quality."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist

from ..errors import SettingsError
from ..sweep.report.stats import interval

Key = tuple[Hashable, ...]
"""Who and what a picture shows; its first part is the person."""
Values = Mapping[Key, float | None]

ALLOWED_LOST = 0.02
"""Share of pictures that may lack a face where the reference way's shows one."""


@dataclass(frozen=True)
class Target:
    """The least that is wanted of each criterion, as a share of the reference way's mean; 1 is as much.

    Attributes:
        identity: likeness to the person.
        prompt: how well the picture obeys its prompt.
        sharpness: variance of the Laplacian.
    """

    identity: float = 0.98
    prompt: float = 0.95
    sharpness: float = 0.85

    def __post_init__(self) -> None:
        """Raise SettingsError where a share cannot be meant."""
        for name, share in self.each.items():
            if not 0 <= share <= 2:  # NaN fails too
                raise SettingsError(f"Expected {name} from 0 to 200 % of the reference's, got {100 * share:g} %.")

    @property
    def each(self) -> dict[str, float]:
        """By criterion."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


MEASURED_BY = {"identity": "similarity", "prompt": "prompt_fit", "sharpness": "sharpness"}
"""The column of a sweep's table behind each criterion."""


@dataclass(frozen=True)
class Share:
    """A way's mean over the reference's, on the pictures that both have.

    Attributes:
        mean: the ratio.
        low, high: its 95 % interval over people; None of fewer than six.
        people, pictures: behind it.
    """

    mean: float
    low: float | None
    high: float | None
    people: int
    pictures: int

    def chance(self, least: float) -> float:
        """How likely the share that more pictures would show is `least` or more; no more than a guess of few people.

        Half a picture is the least doubt: that the first ten all obey their prompt does not mean that all do.
        """
        if self.high is None:
            return 0.75 if self.mean >= least else 0.25
        error = max((self.high - self.mean) / 2, 0.5 / self.pictures)
        return NormalDist(self.mean, error).cdf(2 * self.mean - least)

    def towards(self, share: float) -> float:
        """The mean, moved by a share of the way to its interval's upper end, or (below 0) to the lower one."""
        return self.mean if self.high is None else self.mean + share * (self.high - self.mean)


def share_of(ours: Values, theirs: Values) -> Share | None:
    """Mean of `ours` over mean of `theirs`, paired; None where no pair is defined or theirs is not above 0.

    The interval is Student's t over people, of a ratio of two sums, linearised.
    """
    pairs = {
        key: (mine, other) for key, other in theirs.items() if other is not None and (mine := ours.get(key)) is not None
    }
    total = math.fsum(other for _, other in pairs.values())
    if not pairs or total <= 0:
        return None
    ratio = math.fsum(mine for mine, _ in pairs.values()) / total
    apart: defaultdict[Hashable, float] = defaultdict(float)
    for key, (mine, other) in pairs.items():
        apart[key[0]] += mine - ratio * other
    low, high = interval(ratio, [*apart.values()], total)
    return Share(ratio, low, high, len(apart), len(pairs))


@dataclass(frozen=True)
class Standing:
    """How a way stands.

    Attributes:
        shares: by criterion; a criterion that nothing measured is not there.
        cost: how long a picture takes, in seconds.
        lost: pictures without a face where the reference way's has one.
        pairs: pictures that were compared.
    """

    shares: Mapping[str, Share]
    cost: float
    lost: int = 0
    pairs: int = 0

    @property
    def loses_faces(self) -> bool:
        """Whether too many pictures show no face."""
        return self.lost > ALLOWED_LOST * self.pairs

    def misses(self, target: Target, caution: float = 0.0) -> list[str]:
        """The criteria whose mean, less `caution` of the way to its interval's lower end, lies below the target."""
        moved = {name: share.towards(-caution) for name, share in self.shares.items()}
        missed = [name for name, least in target.each.items() if moved.get(name, least) < least]
        return [*missed, *(["faces"] if self.loses_faces else [])]

    def surely_misses(self, target: Target) -> bool:
        """Whether some criterion's whole interval lies below the target."""
        highs = {name: share.high for name, share in self.shares.items()}
        return any((high := highs.get(name)) is not None and high < least for name, least in target.each.items())

    def shortfall(self, target: Target, caution: float = 0.0) -> float:
        """How far the worst criterion lies below the target, as a share of it; 0 where none does. As `misses`."""
        least = {name: share for name, share in target.each.items() if share > 0 and name in self.shares}
        lacks = [1 - self.shares[name].towards(-caution) / share for name, share in least.items()]
        return max([0.0, float(self.loses_faces), *lacks])

    def chance(self, target: Target) -> float:
        """How likely it meets the target: by a normal distribution about each mean, criteria apart."""
        chances = [share.chance(target.each[name]) for name, share in self.shares.items()]
        return 0.0 if self.loses_faces else math.prod(chances)

    @property
    def identity(self) -> float:
        """The share of likeness; 0 where nothing was measured."""
        return self.shares["identity"].mean if "identity" in self.shares else 0.0
