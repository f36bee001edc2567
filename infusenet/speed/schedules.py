"""At which noise levels a run looks: FLUX's own, its beginning and then large steps, given ones, or by what it sees.

A schedule is a pure function of the backbone's exact noise levels. An adaptive one besides decides, after each
prediction, how far the next step goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from ..errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

ERROR = 0.02
"""How far a step of "adaptive" may miss, as a share of the velocity."""
GROWTH = 2
"""A step of "adaptive" is at most so many times the step before it."""
MOST_STEPS = 10_000


class Schedule(Protocol):
    """Turns the exact noise levels into a run's. `str()` of one is what `parse_schedule` reads."""

    def evaluations(self, steps: int) -> int:
        """How many predictions a run takes, at most, of a schedule of so many steps."""

    def levels(self, sigmas: Tensor) -> Tensor:
        """The run's noise levels [M+1], from the exact ones [N+1]; both fall to 0."""


@dataclass(frozen=True)
class Exact:
    """The backbone's own levels."""

    def evaluations(self, steps: int) -> int:
        """All of them."""
        return steps

    def levels(self, sigmas: Tensor) -> Tensor:
        """The same."""
        return sigmas

    def __str__(self) -> str:
        return "exact"


@dataclass(frozen=True)
class TwoRate:
    """The first steps of the exact schedule, then its rest in a few larger ones.

    Attributes:
        keep: steps of the schedule that are taken as they are, 0 or more.
        last: steps for the rest, 1 or more.

    Raises:
        SettingsError: a number is out of range.
    """

    keep: int
    last: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (0 <= self.keep <= MOST_STEPS and 1 <= self.last <= MOST_STEPS):
            raise _refused(str(self))

    def evaluations(self, steps: int) -> int:
        """Both parts; no more than the schedule has."""
        return min(self.keep + self.last, steps)

    def levels(self, sigmas: Tensor) -> Tensor:
        """The first levels, and `sampling.tail` of the rest."""
        import torch

        from ..sampling import tail

        keep = min(self.keep, len(sigmas) - 1)
        return torch.cat([sigmas[:keep], tail(sigmas, keep, self.last)])

    def __str__(self) -> str:
        return f"{self.keep}+{self.last}"


@dataclass(frozen=True)
class Given:
    """Noise levels as they are given.

    Attributes:
        sigmas: falling, above 0 and up to 1; the 0 at the end is added.

    Raises:
        SettingsError: there are none, or they do not fall.
    """

    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the levels."""
        levels = (*self.sigmas, 0.0)
        if not self.sigmas or not self.sigmas[0] <= 1 or not all(high > low for high, low in pairwise(levels)):
            raise _refused(str(self))

    def evaluations(self, steps: int) -> int:
        """One for each level."""
        return len(self.sigmas)

    def levels(self, sigmas: Tensor) -> Tensor:
        """They, in the dtype of the exact ones."""
        return sigmas.new_tensor([*self.sigmas, 0.0])

    def __str__(self) -> str:
        return ", ".join(f"{sigma:.10g}" for sigma in self.sigmas)


@dataclass(frozen=True)
class Adaptive:
    """The exact schedule, of which levels are left out while the prediction hardly changes.

    An Euler step keeps the velocity while it changes: over m steps of the schedule it misses by about half the change
    times the distance. The step is the largest that stays within `error`. Of a batch the picture that changes most
    decides for all.

    It is no default: on the miniature (mini-dev, 12 people, 3 prompts, paired) it took 9.0 of 28 evaluations a picture,
    and was below 9 fixed ones by .005 of likeness [0, .011] and 1.9 % of sharpness; with 6.7 below 7 fixed ones by .006
    and 6 %, with 12.8 below 12 by .004 and 0.7 %.

    Attributes:
        error: how far a step may miss, as a share of the velocity's length; above 0.

    Raises:
        SettingsError: the error is out of range.
    """

    error: float = ERROR

    def __post_init__(self) -> None:
        """Check the error."""
        if not 0 < self.error <= 1:  # NaN fails too
            raise _refused(str(self))

    def evaluations(self, steps: int) -> int:
        """All of them, at most."""
        return steps

    def levels(self, sigmas: Tensor) -> Tensor:
        """The exact ones, to begin with."""
        return sigmas

    def stride(self, ahead: Sequence[float], change: float, before: int) -> int:
        """How many of the schedule's steps the next step takes at once.

        Args:
            ahead: the noise levels from the present one down to 0.
            change: of the velocity over one step of the schedule, as a share of its length.
            before: the last stride.

        Returns:
            From 1 to the number of steps left.
        """
        most = min(GROWTH * before, len(ahead) - 1)
        fitting = [m for m in range(2, most + 1) if (ahead[0] - ahead[m]) * change * m / 2 <= self.error]
        return max(fitting, default=1)

    def __str__(self) -> str:
        return "adaptive" if self.error == ERROR else f"adaptive {self.error:g}"


EXACT = Exact()
"""The default."""


def relative_change(now: Tensor, before: Tensor) -> float:
    """How far predictions differ, as a share of their length: the largest of a batch [B, ...]. Waits for the device."""
    difference, length = ((x.flatten(1).float()).norm(dim=1) for x in (now - before, now))
    return float((difference / length).max())


def parse_schedule(text: str | Schedule) -> Schedule:
    """The schedule that a user has written.

    Args:
        text: "exact"; "2+4", the first 2 steps of the exact schedule and its rest in 4; noise levels such as
            "1, 0.75, 0.5, 0.25"; "adaptive", or "adaptive 0.05" with the error allowed. A schedule stays as it is.

    Returns:
        The schedule.

    Raises:
        SettingsError: it says none of these.
    """
    if not isinstance(text, str):
        return text
    words = text.strip().lower()
    if words == "exact":
        return EXACT
    if found := re.fullmatch(r"([0-9]{1,9})\s*\+\s*([0-9]{1,9})", words):
        return TwoRate(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"adaptive(?: ([0-9]*\.?[0-9]+))?", words):
        return Adaptive(float(found[1]) if found[1] else ERROR)
    number = r"[0-9]*\.?[0-9]+"
    if re.fullmatch(rf"{number}(\s*,\s*{number})*", words):
        levels = [float(part) for part in words.split(",")]
        return Given(tuple(levels[:-1] if levels[-1] == 0 else levels))
    raise _refused(text)


def _refused(text: str) -> SettingsError:
    return SettingsError(
        'Expected a schedule as "exact", "2+4" (its first 2 steps, then 4 larger ones), falling noise levels such as '
        f'"1, 0.75, 0.5", or "adaptive", got {text!r:.80}.'
    )
