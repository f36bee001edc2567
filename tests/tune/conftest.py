"""Ways whose quality and cost are known, and pictures of them that differ by person, prompt and chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from infusenet.backbones import BACKBONES
from infusenet.tune.standing import Standing, share_of
from infusenet.tune.ways import REFRESHES, STRENGTHS, Way, reference_way, usual_ways

DEV, SCHNELL = BACKBONES["mini-dev"], BACKBONES["mini-schnell"]
REFERENCE = reference_way("dev", DEV)


def every_way() -> list[Way]:
    """As many as a search has by default."""
    both = (("dev", DEV), ("schnell", SCHNELL))
    return [way for role, spec in both for way in usual_ways(role, spec, REFRESHES, STRENGTHS)]


def true_quality(way: Way) -> dict[str, float]:
    """Likeness rises with strength and fewer steps, prompt and sharpness fall; as was measured on the miniature."""
    steps, infusenet = way.calls
    few = math.log2(28 / steps) * (0.8 if way.schedule != "exact" else 1.0)
    kept = (1 - infusenet / steps) * (0.02 if way.backbone == "dev" else -0.06)
    strong = way.strength - 1
    base = 0.60 if way.backbone == "dev" else 0.58
    return {
        "identity": base + 0.015 * few + kept + 0.12 * strong,
        "prompt": 0.98 - 0.05 * strong - (0.02 if way.backbone == "schnell" else 0.0),
        "sharpness": 0.020 * (1 - 0.04 * few - 0.12 * strong * (way.backbone == "schnell")),
    }


def true_cost(way: Way) -> float:
    """Seconds."""
    steps, infusenet = way.calls
    return 0.08 + 0.022 * steps + 0.008 * infusenet


@dataclass
class Oracle:
    """Measures ways on people without a model: people differ, and each picture by chance of its own.

    Attributes:
        noise: deviation of one picture's likeness.
        seen: pictures of each way that were asked for.
    """

    seed: int = 0
    people: int = 12
    noise: float = 0.06
    seen: dict[Way, int] = field(default_factory=dict)

    def values(self, way: Way, criterion: str, count: int) -> dict[tuple[int, int], float]:
        """By person and picture: the first so many of what are always the same."""
        scale = {"identity": self.noise, "prompt": 0.03, "sharpness": 0.004}[criterion]
        people = np.random.default_rng([self.seed, 1]).normal(size=self.people)
        own = np.random.default_rng([self.seed, 2, *f"{way.name} {criterion}".encode()]).normal(size=count)
        found = true_quality(way)[criterion] + scale * (np.resize(people, count) + 0.7 * own)
        return {(number % self.people, number): float(value) for number, value in enumerate(found)}

    def look(self, ways: Sequence[Way], count: int) -> Mapping[Way, Standing]:
        """How ways stand after so many pictures."""
        self.seen |= dict.fromkeys(ways, count)
        return {way: self.standing(way, count) for way in ways}

    def standing(self, way: Way, count: int) -> Standing:
        """How one stands."""
        shares = {}
        for criterion in ("identity", "prompt", "sharpness"):
            share = share_of(*(self.values(one, criterion, count) for one in (way, REFERENCE)))
            assert share is not None
            shares[criterion] = share
        return Standing(shares, true_cost(way), 0, count)


@pytest.fixture
def oracle() -> type[Oracle]:
    """`oracle(seed)`."""
    return Oracle


@pytest.fixture
def ways() -> list[Way]:
    """As many as a search has by default."""
    return every_way()


@pytest.fixture
def reference() -> Way:
    """dev in 28 steps."""
    return REFERENCE
