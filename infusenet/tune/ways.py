"""Ways to make a picture, and how often each calls a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..axes import AXES
from ..backbones import BackboneSpec
from ..errors import SettingsError
from ..sampling import check_steps
from ..speed import EVERY_STEP, EXACT, RefreshAt, RefreshEvery, TwoRate, parse_refresh, parse_schedule

REFRESHES = ("every step", "every 2", "every 4")
"""Worth a try. Computed once loses a fifth of the likeness or more, at any number of steps."""
STRENGTHS = (1.0, 1.5)
TWO_RATES = ("2+4", "8+4")
"""Schedules worth a try of a backbone of many steps: its first ones, then large ones."""
MANY = 8  # steps from which on a backbone has something to spare


@dataclass(frozen=True)
class Way:
    """One way to make a picture.

    Attributes:
        backbone: what it samples with: a role that the user maps to weights, such as "dev", or a name of BACKBONES.
        steps: of the backbone's exact schedule; evaluations, where `schedule` leaves none out.
        strength: of the adapter; 1 is what InfuseNet was trained at.
        refresh: when InfuseNet is computed anew, see `speed.parse_refresh`.
        schedule: what becomes of the steps' noise levels, see `speed.parse_schedule`.
    """

    backbone: str
    steps: int
    strength: float = 1.0
    refresh: str = str(EVERY_STEP)
    schedule: str = str(EXACT)

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        check_steps(self.steps)
        parse_refresh(self.refresh)
        parse_schedule(self.schedule)
        if not AXES["strength"].low <= self.strength <= AXES["strength"].high:  # NaN fails too
            raise SettingsError(f"Expected strengths of {AXES['strength'].range}, got {self.strength:g}.")

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        parts = [f"{self.backbone}, {self.steps} step{'s' * (self.steps != 1)}"]
        parts += [f"schedule {self.schedule}"] if self.schedule != str(EXACT) else []
        parts += [f"InfuseNet {self.refresh}"] if self.refresh != str(EVERY_STEP) else []
        parts += [f"strength {self.strength:g}"] if self.strength != 1 else []
        return ", ".join(parts)

    @property
    def calls(self) -> tuple[int, int]:
        """Evaluations of the backbone, and of InfuseNet: at most, where they depend on the picture."""
        steps, policy = parse_schedule(self.schedule).evaluations(self.steps), parse_refresh(self.refresh)
        if isinstance(policy, RefreshEvery):
            return steps, math.ceil(steps / policy.steps)
        if isinstance(policy, RefreshAt):
            return steps, len({1, *(step for step in policy.steps if step <= steps)})
        return steps, steps

    def method(self) -> dict[str, Any]:
        """The same as a method of a sweep's specification."""
        same = {name: getattr(self, name) for name in ("backbone", "steps", "strength", "refresh", "schedule")}
        return {"label": self.name, **same}


def reference_way(role: str, spec: BackboneSpec) -> Way:
    """What the others are held against: a backbone's own number of steps, InfuseNet in each at strength 1."""
    return Way(role, spec.num_inference_steps)


def usual_ways(role: str, spec: BackboneSpec, refreshes: Sequence[str], strengths: Sequence[float]) -> list[Way]:
    """Ways worth a try: from a seventh of the backbone's steps up to all, from half where they are few; two rates."""
    own = spec.num_inference_steps
    shares = (1 / 7, 2 / 7, 3 / 7, 1) if own > MANY else (1 / 2, 1)
    steps = sorted({max(1, round(own * share)) for share in shares})
    two_rates = TWO_RATES if own > MANY else ()
    return [*grid(role, steps, refreshes, strengths), *grid(role, [own], refreshes, strengths, two_rates)]


def grid(
    role: str,
    steps: Sequence[int],
    refreshes: Sequence[str],
    strengths: Sequence[float],
    schedules: Sequence[str] = (str(EXACT),),
) -> list[Way]:
    """Every combination for a backbone, each once, without what is the same by another name or computes InfuseNet once.

    The latter by "every n" alone: who writes "1" means it.
    """
    ways = [
        Way(role, count, strength, str(parse_refresh(refresh)), str(parse_schedule(schedule)))
        for schedule, count, refresh, strength in product(schedules, steps, refreshes, strengths)
    ]
    return [way for way in dict.fromkeys(ways) if not _is_another(way) and not _keeps_all(way)]


def _is_another(way: Way) -> bool:
    """Whether its two rates leave no step out, so that it is the exact schedule's way."""
    return isinstance(parse_schedule(way.schedule), TwoRate) and way.calls[0] == way.steps


def _keeps_all(way: Way) -> bool:
    """Whether "every n" means once in a run of several steps."""
    steps, infusenet = way.calls
    return isinstance(parse_refresh(way.refresh), RefreshEvery) and infusenet == 1 < steps
