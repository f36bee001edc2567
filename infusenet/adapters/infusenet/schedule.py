"""The noise levels of a pipeline call, put into diffusers' scheduler, and the walk along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_controlnet import calculate_shift, retrieve_timesteps
from torch import Tensor

from ...backbones import BackboneSpec
from ...errors import SettingsError
from ...speed import EXACT, Adaptive, Schedule, relative_change


def set_schedule(
    scheduler: Any,
    spec: BackboneSpec,
    steps: int,
    sigmas: Sequence[float] | None,
    image_seq_len: int,
    device: torch.device,
    schedule: Schedule = EXACT,
) -> Tensor:
    """Set a scheduler's noise levels as diffusers' FLUX pipelines do.

    Args:
        scheduler: diffusers' flow matching Euler; what its config leaves open is the backbone's own.
        spec: the backbone.
        steps: number of steps.
        sigmas: noise levels before the shift, one a step; evenly spaced by default.
        image_seq_len: image tokens.
        device: where the levels go.
        schedule: what becomes of these levels.

    Returns:
        The timesteps [steps].

    Raises:
        SettingsError: another number of sigmas.
    """
    if sigmas is not None and len(sigmas) != steps:
        raise SettingsError(
            f"Got {len(sigmas)} sigmas for {steps} steps. Pass num_inference_steps or sigmas, not both."
        )
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    mu = calculate_shift(image_seq_len, *(scheduler.config.get(name, getattr(spec, name)) for name in names))
    levels = np.linspace(1.0, 1 / steps, steps) if sigmas is None else np.asarray(sigmas)
    timesteps: Tensor = retrieve_timesteps(scheduler, steps, device, sigmas=levels, mu=mu)[0]
    scheduler.set_begin_index(0)
    if schedule != EXACT:
        timesteps = _put(scheduler, schedule.levels(scheduler.sigmas))
    return timesteps


def _put(scheduler: Any, sigmas: Tensor) -> Tensor:
    """Give a scheduler noise levels [N+1] as they are; returns its timesteps [N]."""
    scheduler.sigmas = sigmas
    scheduler.timesteps = (sigmas[:-1] * scheduler.config.num_train_timesteps).to(scheduler.timesteps.device)
    scheduler.num_inference_steps = len(scheduler.timesteps)
    timesteps: Tensor = scheduler.timesteps
    return timesteps


class Walk:
    """The steps of a run, as (number, timestep). An adaptive schedule leaves some of those to come out.

    Args:
        scheduler: diffusers', set by `set_schedule`.
        schedule: what it was set by.
        scales: InfuseNet's strength at each step; those of steps left out are taken out of it.
    """

    def __init__(self, scheduler: Any, schedule: Schedule, scales: list[float]) -> None:
        self._scheduler, self._scales = scheduler, scales
        self._adaptive = schedule if isinstance(schedule, Adaptive) else None
        self._before: Tensor | None = None
        self._stride = 1

    def __len__(self) -> int:
        """Steps, as far as is known."""
        return len(self._scheduler.timesteps)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        step = 0
        while step < len(self):
            yield step, self._scheduler.timesteps[step]
            step += 1

    def predicted(self, step: int, velocity: Tensor) -> None:
        """What the backbone said at a step, before it is taken."""
        if self._adaptive is None:
            return
        if self._before is not None:
            sigmas = self._scheduler.sigmas
            change = relative_change(velocity, self._before) / self._stride
            self._stride = self._adaptive.stride(sigmas[step:].tolist(), change, self._stride)
            following = step + self._stride
            _put(self._scheduler, torch.cat([sigmas[: step + 1], sigmas[following:]]))
            del self._scales[step + 1 : following]
        self._before = velocity
