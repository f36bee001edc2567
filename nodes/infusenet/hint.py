"""The control picture: landmarks on black, fitted to the size that is sampled, or all black."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...infusenet.faces.align import resize_and_pad
from ..convert import image_to_pictures, pictures_to_image

log = logging.getLogger(__name__)


def fit_pose(pose: Tensor | None, width: int, height: int) -> Tensor:
    """The control picture at a size in pixels.

    A pose picture of another size is scaled by the rule by which photos are fitted before landmarks are sought in them
    (Lanczos, to the target's shorter side, centred), with black around it. What that rule cuts off is said in the log.

    Args:
        pose: IMAGE [n, H, W, 3], or None for a black picture.
        width: pixels.
        height: pixels.

    Returns:
        IMAGE [n or 1, height, width, 3].
    """
    if pose is None:
        return torch.zeros(1, height, width, 3)
    if tuple(pose.shape[1:3]) == (height, width):
        return pose[..., :3]
    return torch.stack([_fit_one(picture, width, height) for picture in pose[..., :3].cpu()])


def _fit_one(picture: Tensor, width: int, height: int) -> Tensor:
    pixels = image_to_pictures(picture[None])[0]
    source_height, source_width = pixels.shape[:2]
    by_width, by_height = width / source_width, height / source_height
    if (by_height if width <= height else by_width) < (by_width if width <= height else by_height):
        log.warning(
            "The pose picture (%dx%d) has another shape than the latent (%dx%d pixels): its edges are cut off. "
            "Make it with Face Pose Image at the latent's size.",
            source_width,
            source_height,
            width,
            height,
        )
    # the rule pads with white; of the negative that is black
    return pictures_to_image([255 - resize_and_pad(255 - pixels, width, height)])[0]
