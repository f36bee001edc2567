"""The noise levels of a pipeline call, put into diffusers' scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_controlnet import calculate_shift, retrieve_timesteps
from torch import Tensor

from ...backbones import BackboneSpec
from ...errors import SettingsError


def set_schedule(
    scheduler: Any,
    spec: BackboneSpec,
    steps: int,
    sigmas: Sequence[float] | None,
    image_seq_len: int,
    device: torch.device,
) -> Tensor:
    """Set a scheduler's noise levels as diffusers' FLUX pipelines do.

    Args:
        scheduler: diffusers' flow matching Euler; what its config leaves open is the backbone's own.
        spec: the backbone.
        steps: number of steps.
        sigmas: noise levels before the shift, one a step; evenly spaced by default.
        image_seq_len: image tokens.
        device: where the levels go.

    Returns:
        The timesteps [steps].

    Raises:
        SettingsError: another number of sigmas.
    """
    if sigmas is not None and len(sigmas) != steps:
        raise SettingsError(
            f"Got {len(sigmas)} sigmas for {steps} steps. Give num_inference_steps or sigmas, not both."
        )
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    mu = calculate_shift(image_seq_len, *(scheduler.config.get(name, getattr(spec, name)) for name in names))
    levels = np.linspace(1.0, 1 / steps, steps) if sigmas is None else np.asarray(sigmas)
    timesteps: Tensor = retrieve_timesteps(scheduler, steps, device, sigmas=levels, mu=mu)[0]
    scheduler.set_begin_index(0)
    return timesteps
