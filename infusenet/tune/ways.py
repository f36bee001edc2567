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
from ..speed import EVERY_STEP, RefreshAt, RefreshEvery, parse_refresh

REFRESHES = ("every step", "every 2", "every 4")
"""Worth a try. Computed once loses a fifth of the likeness or more, at any number of steps."""
STRENGTHS = (1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Way:
    """One way to make a picture.

    Attributes:
        backbone: what it samples with: a role that the user maps to weights, such as "dev", or a name of BACKBONES.
        steps: evaluations of the backbone.
        strength: of the adapter; 1 is what InfuseNet was trained at.
        refresh: when InfuseNet is computed anew, see `speed.parse_refresh`.
    """

    backbone: str
    steps: int
    strength: float = 1.0
    refresh: str = str(EVERY_STEP)

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        check_steps(self.steps)
        parse_refresh(self.refresh)
        if not AXES["strength"].low <= self.strength <= AXES["strength"].high:  # NaN fails too
            raise SettingsError(f"Expected strengths of {AXES['strength'].range}, got {self.strength:g}.")

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        parts = [f"{self.backbone}, {self.steps} step{'s' * (self.steps != 1)}"]
        parts += [f"InfuseNet {self.refresh}"] if self.refresh != str(EVERY_STEP) else []
        parts += [f"strength {self.strength:g}"] if self.strength != 1 else []
        return ", ".join(parts)

    @property
    def calls(self) -> tuple[int, int]:
        """Evaluations of the backbone, and of InfuseNet: at most, where its refresh depends on the picture."""
        policy = parse_refresh(self.refresh)
        if isinstance(policy, RefreshEvery):
            return self.steps, math.ceil(self.steps / policy.steps)
        if isinstance(policy, RefreshAt):
            return self.steps, len({1, *(step for step in policy.steps if step <= self.steps)})
        return self.steps, self.steps

    def method(self) -> dict[str, Any]:
        """The same as a method of a sweep's specification."""
        same = {name: getattr(self, name) for name in ("backbone", "steps", "strength", "refresh")}
        return {"label": self.name, **same}


def reference_way(role: str, spec: BackboneSpec) -> Way:
    """What the others are held against: a backbone's own number of steps, InfuseNet in each at strength 1."""
    return Way(role, spec.num_inference_steps)


def usual_steps(spec: BackboneSpec) -> tuple[int, ...]:
    """Numbers of steps worth a try: from a seventh of the backbone's own up to it, or from half where that is small."""
    own = spec.num_inference_steps
    shares = (1 / 7, 2 / 7, 3 / 7, 1) if own > 8 else (1 / 2, 1)
    return tuple(sorted({max(1, round(own * share)) for share in shares}))


def grid(role: str, steps: Sequence[int], refreshes: Sequence[str], strengths: Sequence[float]) -> list[Way]:
    """Every combination for a backbone, each once, without those whose "every n" means once in the whole run."""
    policies = [parse_refresh(text) for text in refreshes]
    return list(
        dict.fromkeys(
            Way(role, count, strength, str(policy))
            for count, policy, strength in product(steps, policies, strengths)
            if not (isinstance(policy, RefreshEvery) and policy.steps >= count > 1)
        )
    )
