"""Pure functions of FLUX sampling: schedule, the adapter's window, denoised predictions, packing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .backbones import BackboneSpec
from .errors import SettingsError
from .flux.blocks import residual_index as residual_index  # where it lies now

PIXELS_PER_TOKEN = 16  # the VAE's 8, times the 2x2 patch of latents that is one token


def flux_mu(spec: BackboneSpec, image_seq_len: int) -> float:
    """The schedule's shift: linear in the token count and not clamped.

    Args:
        spec: the backbone.
        image_seq_len: number of image tokens, (width // 16) * (height // 16).

    Returns:
        mu, 0.5 at 256 tokens and 1.15 at 4096 with FLUX's settings.
    """
    slope = (spec.max_shift - spec.base_shift) / (spec.max_image_seq_len - spec.base_image_seq_len)
    return image_seq_len * slope + (spec.base_shift - slope * spec.base_image_seq_len)


def flux_sigmas(steps: int, spec: BackboneSpec, *, image_seq_len: int) -> Tensor:
    """FLUX's noise levels, bit-equal to those of diffusers' FLUX pipelines.

    Args:
        steps: number of denoising steps N, at least 1.
        spec: the backbone, whose schedule is meant.
        image_seq_len: number of image tokens, (width // 16) * (height // 16).

    Returns:
        float32 [N+1], falling from 1 to 0.

    Raises:
        SettingsError: `steps` or `image_seq_len` is below 1.
    """
    check_steps(steps)
    if image_seq_len < 1:
        raise SettingsError(f"Expected at least one image token, got {image_seq_len}. Choose a size of 16x16 or more.")
    # float32 throughout, in this order: float64 or another grouping moves the last bit
    t = np.linspace(1.0, 1 / steps, steps).astype(np.float32)
    if spec.use_dynamic_shifting:
        exp_mu = math.exp(flux_mu(spec, image_seq_len))
        sigmas = exp_mu / (exp_mu + (1 / t - 1))
    else:
        sigmas = spec.shift * t / (1 + (spec.shift - 1) * t)
    return torch.cat([torch.from_numpy(sigmas).to(torch.float32), torch.zeros(1)])


def check_steps(steps: int) -> None:
    """Raise SettingsError unless `steps` is a whole number of at least 1."""
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise SettingsError(
            f"Expected a whole number of steps, at least 1, got {steps}. Try 4 for schnell or 28 for dev."
        )


def tail(sigmas: Tensor | Sequence[float], step: int, steps: int) -> Tensor:
    """The noise levels of a run that is cut short: from where it stands to its end, in a few larger steps.

    The levels lie at even distances along what is left of the schedule, linearly between its own, so that they keep
    its shape: a schedule that is dense at some noise stays so. Evaluations so far and to come: `step` + `steps`.

    Args:
        sigmas: the run's noise levels [N+1], falling.
        step: steps completed, 0..N.
        steps: how many more, 1 or more.

    Returns:
        [steps + 1] in the dtype of `sigmas`, from sigmas[step] to sigmas[N], both exact. The rest of the schedule
        unchanged, N - step steps, where that is no more than `steps`.

    Raises:
        SettingsError: `step` is not one of the run's, or `steps` is below 1.
    """
    levels = torch.as_tensor(sigmas, dtype=None if isinstance(sigmas, Tensor) else torch.float32)
    total = len(levels) - 1
    if total < 0 or not 0 <= step <= total or steps < 1:
        raise SettingsError(
            f"Expected a step from 0 to {max(total, 0)} and at least 1 further step, got {step} and {steps}."
        )
    left = total - step
    if steps >= left:
        return levels[step:]
    places = step + left * torch.arange(steps + 1, dtype=torch.float64) / steps
    below = places.floor().long().clamp(max=total - 1)
    share = places - below
    wide = levels.detach().double().cpu()
    between = (wide[below] + share * (wide[below + 1] - wide[below])).to(levels)
    return torch.cat([levels[step : step + 1], between[1:-1], levels[-1:]])


def conditioning_window(steps: int, start: float, end: float) -> list[bool]:
    """At which steps InfuseNet acts: step i of N is on when i/N >= start and (i+1)/N <= end.

    The rule goes by step index, not by noise level, as in the original pipeline. With N = 1 any `end` < 1 turns it off.

    Args:
        steps: number of steps N.
        start: first share of the run, 0..1.
        end: last share of the run, 0..1.

    Returns:
        N booleans.

    Raises:
        SettingsError: `steps` is below 1, or `start` or `end` is outside 0..1.
    """
    check_steps(steps)
    for label, value in (("start", start), ("end", end)):
        if not 0.0 <= value <= 1.0:
            raise SettingsError(f"Expected {label} to be a share of the run from 0 to 1, got {value}.")
    return [not (i / steps < start or (i + 1) / steps > end) for i in range(steps)]


LITTLE_NOISE = (
    "This run started below full noise (a denoise below 1), and the less noise there is, the less an identity can "
    "change the face. Starting from another person's picture, the miniature reached a likeness of 0.08, 0.23, 0.36 and "
    "0.48 at a denoise of 0.5, 0.6, 0.8 and 1 on schnell, and 0.34, 0.40, 0.48 and 0.48 on dev. Try a higher denoise."
)
"""What to say of a run that began from a picture, in which an adapter can do little."""


def no_effect(strength: float, start: float, end: float, steps: int | None = None) -> str | None:
    """Why settings that are legal let an adapter do nothing, in a sentence; None where it acts.

    Args:
        strength: how much, 0 or more.
        start: first share of the run, 0..1.
        end: last share of the run, 0..1.
        steps: number of steps N; None where whole steps do not count, or are not known yet.
    """
    plain = "so the picture is the model's own"
    if strength == 0:
        return f"The identity has no effect at strength 0, {plain}. Try 1."
    if start > end:
        return (
            f"The identity has no effect because its start ({start:g}) is after its end ({end:g}), {plain}. Set "
            "the start to 0 and the end to 1."
        )
    if steps is not None and not any(conditioning_window(steps, start, end)):
        return (
            f"The identity has no effect because no whole step lies between its start ({start:g}) and its end "
            f"({end:g}), {plain}. Move them further apart: with {steps} steps, one step is {1 / steps:.3g} of the "
            "run."
        )
    return None


def denoised_from_velocity(sample: Tensor, velocity: Tensor, sigma: float | Tensor) -> Tensor:
    """The x0 prediction of a flow model: x - sigma v, in the arithmetic of diffusers' Euler step.

    Args:
        sample: x, the latents that went into the step, any shape.
        velocity: the model's output v, same shape.
        sigma: noise level of the step, 0..1.

    Returns:
        The denoised prediction in the sample's shape and dtype. At the last step, whose next noise level is 0, it is
        bit for bit the step's own result.
    """
    # a tensor and a Python number round differently in half precision; the scheduler's noise levels are tensors
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=sample.device)
    return (sample.float() - sigma * velocity).to(sample.dtype)


def denoised_from_latents(
    sample: Tensor, next_sample: Tensor, sigma: float | Tensor, next_sigma: float | Tensor
) -> Tensor:
    """The x0 prediction from the latents before and after one Euler step, where the velocity was not kept.

    Args:
        sample: latents before the step, any shape.
        next_sample: latents after it, same shape.
        sigma: noise level before, 0..1.
        next_sigma: noise level after, below `sigma`.

    Returns:
        The denoised prediction in the sample's shape and dtype.

    Raises:
        SettingsError: the two noise levels are equal, so that nothing can be told.
    """
    span = sigma - next_sigma
    if not bool(span != 0):
        raise SettingsError(f"Expected a step between two different noise levels, got {float(sigma)} twice.")
    velocity = (sample.float() - next_sample.float()) / span
    return denoised_from_velocity(sample, velocity, sigma)


def pack_latents(latents: Tensor) -> Tensor:
    """Latents [B, C, 2h, 2w] to FLUX's tokens [B, h*w, 4*C]: 2x2 patches, channel slowest.

    Raises:
        SettingsError: not four dimensions, or an odd height or width.
    """
    if latents.ndim != 4 or latents.shape[-2] % 2 or latents.shape[-1] % 2:
        raise SettingsError(
            f"Expected latents [B, C, H, W] with even H and W, got {list(latents.shape)}. "
            "Choose a size divisible by 16."
        )
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack_latents(tokens: Tensor, height: int, width: int) -> Tensor:
    """FLUX's tokens [B, h*w, 4*C] back to latents [B, C, 2h, 2w].

    Args:
        tokens: packed latents.
        height: the picture's height in pixels; floored to a multiple of 16, h = height // 16.
        width: the picture's width in pixels, likewise.

    Returns:
        Latents in the VAE's layout.

    Raises:
        SettingsError: the number of tokens does not belong to this size.
    """
    rows, columns = height // PIXELS_PER_TOKEN, width // PIXELS_PER_TOKEN
    if tokens.ndim != 3 or tokens.shape[1] != rows * columns:
        raise SettingsError(
            f"Expected tokens [B, {rows * columns}, C] for {width}x{height} pixels, got {list(tokens.shape)}. Pass "
            "the size the picture was sampled at."
        )
    batch, _, channels = tokens.shape
    patches = tokens.reshape(batch, rows, columns, channels // 4, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, rows * 2, columns * 2)


def floor_size(width: int, height: int, multiple: int = PIXELS_PER_TOKEN) -> tuple[int, int]:
    """Floor a size to multiples of some pixels, as FLUX's pipelines do.

    Args:
        width: pixels, at least `multiple`.
        height: likewise.
        multiple: pixels that a token stands for.

    Returns:
        (width, height), both divisible by `multiple`.

    Raises:
        SettingsError: a side is shorter.
    """
    if min(width, height) < multiple:
        raise SettingsError(f"Expected a size of at least {multiple}x{multiple} pixels, got {width}x{height}.")
    return width // multiple * multiple, height // multiple * multiple
