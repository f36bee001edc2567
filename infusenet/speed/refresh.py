"""When InfuseNet is computed anew: its residuals change little between neighbouring steps and can be kept.

A policy is a pure function of the step, its noise level and the latents, now and when the residuals were last computed.
It is asked only where InfuseNet acts; the first evaluation of a run always computes.

Kept residuals cost memory: one tensor [B, L, width] for each of InfuseNet's blocks, and that for each conditioning that
carries it. The published InfuseNet has 14 blocks of width 3072: 334 MB a picture of 864x1152 in 16 bits (L = 3888).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

CHANGE = 0.05
"""How far the latents turn (1 - cosine) before "adaptive" computes InfuseNet anew."""
MOST_STEPS = 10_000


@dataclass(frozen=True)
class Evaluation:
    """One moment of a run at which the backbone is asked for a prediction.

    Attributes:
        step: the sampler's step, from 0.
        sigma: the noise level, 0..1; a tensor of one where to ask for a number would wait for the device.
        latents: [B, ...], what goes into the backbone.
    """

    step: int
    sigma: float | Tensor
    latents: Tensor


class RefreshPolicy(Protocol):
    """Decides when InfuseNet is computed anew. `str()` of one is what `parse_refresh` reads."""

    def due(self, now: Evaluation, last: Evaluation) -> bool:
        """Whether to compute now what was last computed at `last`, an earlier step of the same run."""


@dataclass(frozen=True)
class RefreshEvery:
    """Compute at every k-th step, counted from the first at which InfuseNet acts.

    Attributes:
        steps: k, 1 or more; with 1 nothing is kept.

    Raises:
        SettingsError: k is below 1.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        """Check the number."""
        if not 1 <= self.steps <= MOST_STEPS:
            raise _refused(f"every {self.steps}")

    def due(self, now: Evaluation, last: Evaluation) -> bool:
        """Whether k steps lie between."""
        return now.step - last.step >= self.steps

    def __str__(self) -> str:
        return "every step" if self.steps == 1 else f"every {self.steps}"


@dataclass(frozen=True)
class RefreshAt:
    """Compute at certain steps of the run.

    Attributes:
        steps: counted from 1, in rising order. The first at which InfuseNet acts is always computed.

    Raises:
        SettingsError: there are none, one is below 1, or they do not rise.
    """

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the steps."""
        if not self.steps or self.steps[0] < 1 or self.steps[-1] > MOST_STEPS or _falls(self.steps):
            raise _refused(str(self))

    def due(self, now: Evaluation, last: Evaluation) -> bool:
        """Whether the step is one of them, or one of them was passed over since."""
        return any(last.step < step - 1 <= now.step for step in self.steps)

    def __str__(self) -> str:
        return ",".join(map(str, self.steps))


@dataclass(frozen=True)
class RefreshWhen:
    """Compute when the latents have turned far enough since the last time. It waits for the device at every step.

    On the miniature (mini-dev, 28 steps, 12 people, 3 prompts, paired) the usual change was below `every 4` by .03 of
    likeness [0, .06] and 6 % of sharpness.

    Attributes:
        change: 1 - cosine between the latents then and now, above 0 and up to 2. The picture of a batch that has
            changed most decides for all.

    Raises:
        SettingsError: the change is out of range.
    """

    change: float = CHANGE

    def __post_init__(self) -> None:
        """Check the change."""
        if not 0 < self.change <= 2:  # NaN fails too
            raise _refused(str(self))

    def due(self, now: Evaluation, last: Evaluation) -> bool:
        """Whether they have turned."""
        from torch.nn.functional import cosine_similarity

        then, latents = (at.latents.detach().flatten(1).float() for at in (last, now))
        return bool((1 - cosine_similarity(then, latents)).max() >= self.change)

    def __str__(self) -> str:
        return "adaptive" if self.change == CHANGE else f"adaptive {self.change:g}"


EVERY_STEP = RefreshEvery(1)
"""The default: nothing is kept."""


def parse_refresh(text: str | RefreshPolicy) -> RefreshPolicy:
    """The policy that a user has written.

    Args:
        text: "every step"; "every 4"; steps of the run counted from 1, as in "1,3"; "adaptive", or "adaptive 0.1" with
            the change (1 - cosine of the latents) at which InfuseNet is computed anew. A policy stays as it is.

    Returns:
        The policy.

    Raises:
        SettingsError: it says none of these.
    """
    if not isinstance(text, str):
        return text
    words = text.strip().lower()
    if words == "every step":
        return EVERY_STEP
    if found := re.fullmatch(r"every ([0-9]{1,9})(?: steps?)?", words):
        return RefreshEvery(int(found[1]))
    if re.fullmatch(r"[0-9]{1,9}(\s*,\s*[0-9]{1,9})*", words):
        return RefreshAt(tuple(map(int, words.split(","))))
    if found := re.fullmatch(r"adaptive(?: ([0-9]*\.?[0-9]+))?", words):
        return RefreshWhen(float(found[1]) if found[1] else CHANGE)
    raise _refused(text)


def _falls(steps: tuple[int, ...]) -> bool:
    return any(later <= earlier for earlier, later in pairwise(steps))


def _refused(text: str) -> SettingsError:
    return SettingsError(
        f'Expected refresh as "every step", "every 4", steps of the run in rising order such as "1,3", or "adaptive", '
        f"got {text!r:.80}."
    )


Given = TypeVar("Given")


class Reuse:
    """What a network gave in one run, kept until its policy wants it anew; as a context, freed at its end.

    Args:
        policy: when to compute.
    """

    def __init__(self, policy: RefreshPolicy) -> None:
        self.policy = policy
        self._kept: dict[Hashable, tuple[Evaluation, Any]] = {}

    def __enter__(self) -> Reuse:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def of(self, key: Hashable, now: Evaluation, compute: Callable[[], Given]) -> Given:
        """The values for an evaluation: those kept, else computed and kept.

        A step that computes does so at each of its evaluations: samplers of two evaluations a step look at two noise
        levels.

        Args:
            key: what the values depend on besides the step; under another key nothing is kept yet.
            now: the evaluation.
            compute: gives the values.
        """
        if self.policy == EVERY_STEP:
            return compute()
        kept = self._kept.pop(key, None)  # first freed, then computed: never two sets at once
        if kept is not None and now.step != kept[0].step and not self.policy.due(now, kept[0]):
            values: Given = kept[1]
            self._kept[key] = kept
            return values
        del kept
        values = compute()
        self._kept[key] = replace(now, latents=now.latents.detach().clone()), values  # samplers write into theirs
        return values

    def clear(self) -> None:
        """Free what is kept: the run is over."""
        self._kept.clear()
