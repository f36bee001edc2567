"""How far two pictures are apart in an autoencoder's latent space."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def latent_distance(pictures: Tensor, references: Tensor, vae: Any) -> Tensor:
    """RMS difference of the latents over the RMS of both: 0 is the same picture, about 1.4 unrelated ones.

    It is not LPIPS and does not follow human judgement; its values belong to one autoencoder and one size.

    Args:
        pictures: [B, 3, H, W], RGB, 0..1.
        references: [B, 3, H, W], of the same size.
        vae: diffusers' AutoencoderKL; the mode of its latents is used.

    Returns:
        [B] float32, 0..2; lower is closer. NaN where both are empty of signal or not finite.

    Raises:
        ValueError: the shapes differ.
    """
    if pictures.shape != references.shape or pictures.ndim != 4:
        raise ValueError(
            f"Expected pictures of the same shape [B, 3, H, W], got {list(pictures.shape)} and "
            f"{list(references.shape)}. Resize the reference to the picture."
        )
    with torch.no_grad():
        a, b = (_latents(each, vae) for each in (pictures, references))
    apart = (a - b).square().mean(1).sqrt()
    scale = (a.square().mean(1) / 2 + b.square().mean(1) / 2).sqrt()
    return apart / torch.where(scale > 1e-9, scale, torch.nan)


def _latents(pictures: Tensor, vae: Any) -> Tensor:
    weight = next(vae.parameters())
    latents = vae.encode(pictures.to(weight.device, weight.dtype) * 2 - 1).latent_dist.mode()
    shift = float(vae.config.shift_factor or 0.0)
    return (latents.float() - shift).flatten(1).cpu()


def resized(picture: NDArray[np.uint8], shape: tuple[int, ...]) -> Tensor:
    """A reference in the size of a picture.

    Args:
        picture: RGB uint8 [h, w, 3].
        shape: [H, W, ...] of the other.

    Returns:
        [1, 3, H, W] float32, 0..1.
    """
    from PIL import Image

    fitted = Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
    # not `as_tensor`: this order in memory is the one that results were always made in, to the last bit
    return torch.from_numpy(np.array(fitted))[None].permute(0, 3, 1, 2).float() / 255
