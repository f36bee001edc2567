"""Which step, and which noise level, a sampler's callback reports: some count their steps for display alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...infusenet.probe import ProbeRecorder
from ...infusenet.probe.drift import NOISE_LEFT, OWN_PACE
from ...infusenet.probe.store import copied

_MOST = 64  # evaluations of one step that are looked at
_NEAR = 5e-3  # share of a noise level within which two are the same


class Levels:
    """Follows one run through its schedule.

    Every sampler of the host asks the model at its step's own level. One that unsamples, or is chained to another, may
    number its callbacks otherwise: then steps are counted, and have no noise level. What the model was asked is copied
    from a GPU, and looked at when the copy is there: nothing waits for it.

    Args:
        sigmas: the schedule's noise levels [N + 1].
        sampler: its name.
    """

    def __init__(self, sigmas: Tensor, sampler: str) -> None:
        levels = sigmas.detach().float().cpu()
        self.sigmas = tuple(levels.tolist())
        self.known = sampler not in OWN_PACE and bool(torch.isfinite(levels).all())
        self.displayed = False  # the sampler's numbers are for display
        self.left_off = False  # the sampler did not go to the end of its schedule, and `sigmas` are those it did
        self.count = 0  # steps so far, as numbered
        self.numbers: dict[int, int] = {}  # of each step, what it is when counted
        self._cut = False
        self._asked: list[Tensor] = []
        self._copied: deque[tuple[tuple[float, ...], Tensor, Any]] = deque()
        self._first: float | None = None
        self._last: float | None = None

    @property
    def steps(self) -> int | None:
        """How many steps there will be; None where that is not known."""
        return len(self.sigmas) - 1 if self.known else None

    @property
    def leaves_noise(self) -> bool:
        """Whether the result is no finished picture."""
        if self.displayed and self._first is not None and self._last is not None and self._last > self._first:
            return True  # noise was added rather than taken away
        return self.sigmas[-1] > NOISE_LEFT

    def ask(self, sigma: Tensor) -> None:
        """The model is asked at a noise level [B]."""
        if len(self._asked) < _MOST:
            self._asked.append(sigma.detach().reshape(-1)[:1])

    def step(self, index: int) -> tuple[int, float | None] | None:
        """What a callback reports: the step, from 1, and its noise level where it has one.

        Args:
            index: as the sampler numbers it, from 0.

        Returns:
            None where a step is reported again, as some samplers do with the last.
        """
        last = len(self.sigmas) - 1
        if self.known and (index + 1 == self.count or (index >= last and self.count == last)):
            return None
        if (self.known and 0 <= index < last and not self._cut) or self.displayed:
            self._compare(self.sigmas[min(self.count, index) : index + 1] if self.known else ())
        if self.known and not self.count <= index < last:
            self._lose()
        self.count = index + 1 if self.known else self.count + 1
        self.numbers[self.count] = len(self.numbers) + 1
        return self.count, self.sigmas[index] if self.known else None

    def cut(self, levels: Sequence[float]) -> None:
        """The run goes on at other noise levels."""
        self.sigmas, self._cut = tuple(levels), True

    def end(self, *, early: bool = False) -> None:
        """The run is over: look at all that was copied.

        Args:
            early: whether something of ours ended it. Else a sampler that has reported fewer steps, and has not asked
                the model since, was told to leave the rest to another: its schedule ends there.
        """
        self._look(wait=True)
        if self.known and not early and not self._asked and 0 < self.count < len(self.sigmas) - 1:
            self.sigmas, self.left_off = self.sigmas[: self.count + 1], True

    def _compare(self, levels: tuple[float, ...]) -> None:
        """A callback's number says that since the one before the model was asked at these noise levels."""
        asked, self._asked = self._asked, []
        if asked:
            self._copied.append((levels, *copied(torch.cat(asked))))
        self._look()

    def _look(self, *, wait: bool = False) -> None:
        while self._copied:
            levels, asked, there = self._copied[0]
            if there is not None and not wait and not there.query():
                return
            if there is not None:
                there.synchronize()
            self._copied.popleft()
            values = [float(value) for value in asked]
            self._first = values[0] if self._first is None else self._first
            self._last = values[-1]
            if self.known and not all(any(_near(level, value) for value in values) for level in levels):
                self._lose()

    def _lose(self) -> None:
        self.known, self.displayed = False, True


def renumber(recorder: ProbeRecorder, numbers: Mapping[int, int]) -> None:
    """Give the steps that a recorder keeps of a finished run other numbers."""
    recorder.gallery.renumber(numbers)
    recorder.kept = {numbers.get(step, step): kept for step, kept in recorder.kept.items()}
    if recorder.best is not None:
        recorder.best = replace(recorder.best, step=numbers.get(recorder.best.step, recorder.best.step))


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _NEAR * max(one, other)
