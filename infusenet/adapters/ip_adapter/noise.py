"""What schedulers of noise predictions have in common: the noise level at a step, and the picture predicted there."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def clean(scheduler: Any, step: int, t: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """The x0 prediction, [B, C, h, w], of a noise prediction.

    Args:
        scheduler: with its timesteps set; one that keeps latents at x0 + sigma noise (Euler's), or one that keeps
            their variance (DDIM, LCM).
        step: index of the step.
        t: its timestep.
        latents: what entered the step.
        noise: what was predicted.
    """
    if hasattr(scheduler, "sigmas") and not _keeps_variance(scheduler):
        return latents - scheduler.sigmas[step].to(latents) * noise
    share = scheduler.alphas_cumprod[int(t)].to(latents)
    return (latents - (1 - share).sqrt() * noise) / share.sqrt()


def levels(scheduler: Any) -> list[float]:
    """Noise levels sigma of the timesteps that are set, and 0 at the end."""
    if hasattr(scheduler, "sigmas") and not _keeps_variance(scheduler):
        return [float(sigma) for sigma in scheduler.sigmas]
    shares = [scheduler.alphas_cumprod[int(t)] for t in scheduler.timesteps]
    return [*(float(((1 - share) / share) ** 0.5) for share in shares), 0.0]


def _keeps_variance(scheduler: Any) -> bool:
    return type(scheduler).__name__ in ("DDIMScheduler", "LCMScheduler", "TCDScheduler", "DDPMScheduler")
