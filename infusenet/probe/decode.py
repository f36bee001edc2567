"""Latents and finished pictures in the one form that the probe measures: [B, 3, H, W], 0..1."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def vae_decoder(vae: Any) -> Callable[[Tensor], Tensor]:
    """A `decode` for `ProbeRecorder` from a diffusers VAE.

    Args:
        vae: an `AutoencoderKL` with `scaling_factor` and `shift_factor` in its config, on its device.

    Returns:
        A function from latents [n, C, h, w], as the sampler has them, to pictures [n, 3, H, W] in 0..1.
    """
    scaling, shift = float(vae.config.scaling_factor), float(getattr(vae.config, "shift_factor", None) or 0.0)

    def decode(latents: Tensor) -> Tensor:
        latents = latents.to(vae.device, torch.float32) / scaling + shift
        decoded: Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return (decoded.float() / 2 + 0.5).clamp(0, 1)

    return decode


def as_pictures(pictures: Any) -> Tensor:
    """Finished pictures as a tensor.

    Args:
        pictures: a tensor [B, 3, H, W] in 0..1, an array [B, H, W, 3] (8-bit, or floats in 0..1), or a sequence of PIL
            pictures or of arrays [H, W, 3], all of one size.

    Returns:
        [B, 3, H, W] float32, 0..1.

    Raises:
        ValueError: another shape.
    """
    if not isinstance(pictures, Tensor):
        if not isinstance(pictures, np.ndarray):
            pictures = np.stack([np.asarray(_rgb(picture)) for picture in pictures])
        scale = 1 / 255 if np.issubdtype(pictures.dtype, np.integer) else 1.0
        pictures = torch.from_numpy(np.ascontiguousarray(pictures)).float().mul(scale)
        pictures = pictures.movedim(-1, 1) if pictures.ndim == 4 else pictures
    return checked(pictures, "the finished pictures")


def checked(pictures: Tensor, what: str) -> Tensor:
    """`pictures` as float32, if they have the shape [B, 3, H, W].

    Raises:
        ValueError: they have another.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"{what}: expected pictures [B, 3, H, W] from 0 to 1, got {list(pictures.shape)}.")
    return pictures.detach().float()


def _rgb(picture: Any) -> Any:
    """A PIL picture in RGB; anything else as it is."""
    return picture.convert("RGB") if hasattr(picture, "convert") else picture
