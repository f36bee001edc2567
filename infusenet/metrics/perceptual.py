"""LPIPS: how far two pictures are apart to a network that people's judgements were fitted to."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import PackageError
from ..weights import check, read_weights

SIZE = 512
"""Pixels of both sides of what is compared: the size of the paper's photos."""

_WHAT = "a VGG16 (torchvision's vgg16-397923af.pth, or its features as safetensors)"


def lpips_network(backbone: str | Path, *, device: str | torch.device = "cpu") -> Any:
    """LPIPS with VGG16 (Zhang et al. 2018, version 0.1), from the `lpips` package, which ships its fitted layers.

    Nothing is downloaded: VGG16 itself comes from a file.

    Args:
        backbone: torchvision's VGG16 weights, keys `features.N.weight` and `.bias`.
        device: where it runs.

    Returns:
        The network, for `lpips_distance`.

    Raises:
        PackageError: lpips or torchvision is missing or broken.
        WeightsError: the file is missing, damaged or no VGG16.
    """
    state = read_weights(backbone)  # the user's file first: it is what is wrong most often
    try:
        import lpips
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises RuntimeError
        raise PackageError(
            f"LPIPS needs the packages lpips and torchvision ({error}). Run: pip install lpips torchvision"
        ) from error
    with warnings.catch_warnings():  # lpips asks torchvision in an old way
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)
    places = {f"features.{layer}.{kind}": weight for layer, kind, weight in _convolutions(network.net)}
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    check(features, places, backbone, _WHAT)
    with torch.no_grad():
        for key, weight in places.items():
            weight.copy_(features[key])
    return network.to(device).eval().requires_grad_(False)


def _convolutions(net: Any) -> list[tuple[str, str, Tensor]]:
    """VGG16's layer number, "weight" or "bias", and where lpips keeps it: slice1 to slice5 keep the layers' numbers."""
    found = []
    for name, weight in net.named_parameters():
        _, layer, kind = name.split(".")
        found.append((layer, kind, weight))
    return found


def lpips_distance(pictures: Tensor, references: Tensor, network: Any) -> Tensor:
    """LPIPS of pairs of pictures: 0 is the same picture; lower is closer.

    Args:
        pictures: [B, 3, H, W], RGB, 0..1, at least 32 x 32.
        references: likewise, of the same shape; see `fitted`.
        network: from `lpips_network`.

    Returns:
        [B] float32, at least 0. NaN where a picture is not finite.

    Raises:
        ValueError: the shapes differ or are too small.
    """
    if pictures.shape != references.shape or pictures.ndim != 4 or min(pictures.shape[2:]) < 32:
        raise ValueError(
            f"Expected pictures of the same shape [B, 3, H, W], at least 32 x 32, got {list(pictures.shape)} and "
            f"{list(references.shape)}. Bring both to the same size with `fitted`."
        )
    weight = next(network.parameters())
    a, b = (each.to(weight.device, weight.dtype) * 2 - 1 for each in (pictures, references))
    with torch.no_grad():
        return network(a, b).flatten().float().cpu()


def fitted(picture: NDArray[np.uint8], size: int = SIZE) -> Tensor:
    """A picture as LPIPS compares it: its middle square, brought to one size.

    Args:
        picture: RGB uint8 [H, W, 3].
        size: pixels of either side.

    Returns:
        [1, 3, size, size] float32, 0..1.
    """
    from PIL import Image, ImageOps

    square = ImageOps.fit(Image.fromarray(picture), (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255
