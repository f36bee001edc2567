"""The host's pictures and the library's: IMAGE is [B, H, W, 3] float 0..1 RGB, the library takes uint8 [H, W, 3]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..infusenet.errors import PictureError

Picture = NDArray[np.uint8]


def check_image(image: Tensor) -> Tensor:
    """An IMAGE as float32 on the CPU.

    Raises:
        PictureError: not an IMAGE [B, H, W, 1, 3 or 4] of floats, or empty, or with numbers that are none.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise PictureError(
            f"Expected an IMAGE of shape [batch, height, width, channels] with 1, 3 or 4 channels, got {found}."
        )
    pixels = image.detach().float().cpu()
    if not image.is_floating_point() or not bool(torch.isfinite(pixels).all()):
        found = "one with NaN or infinity" if image.is_floating_point() else str(image.dtype).removeprefix("torch.")
        raise PictureError(
            f"Expected an IMAGE of floats from 0 to 1, got {found}. NaN usually means that latents overflowed "
            "before the VAE decoded them. Check the node that made this picture."
        )
    return pixels


def image_to_pictures(image: Tensor) -> list[Picture]:
    """An IMAGE's pictures as RGB uint8 [H, W, 3]; gray is repeated, transparency is laid over white.

    Raises:
        PictureError: see `check_image`.
    """
    pixels = check_image(image)
    if pixels.shape[-1] == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + (1 - alpha)
    elif pixels.shape[-1] == 1:
        pixels = pixels.expand(-1, -1, -1, 3)
    pixels = pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
    return [picture.numpy() for picture in pixels.contiguous()]


def pictures_to_image(pictures: NDArray[np.uint8] | list[Picture]) -> Tensor:
    """RGB uint8 pictures of one size, [n, H, W, 3], as an IMAGE."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(list(pictures)))).float().div(255)


def crops_to_image(crops_bgr: NDArray[np.uint8]) -> Tensor:
    """Aligned BGR faces uint8 [n, 112, 112, 3] as an IMAGE."""
    return pictures_to_image(np.ascontiguousarray(crops_bgr[..., ::-1]))


def with_samples(latent: dict[str, Any], samples: Tensor) -> dict[str, Any]:
    """A LATENT with other samples, as the host's samplers hand it on."""
    kept = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio")}
    return {**kept, "samples": samples}
