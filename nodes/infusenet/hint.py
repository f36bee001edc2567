"""The control picture: landmarks on black, fitted to the size that is sampled, or all black; and its part in a tile.

Nodes that sample in tiles cut their part out of a ControlNet's `cond_hint_original` [n, channels, H, W] before a run,
or put it into `cond_hint` while it lasts: in pixels, or as latents that they have encoded. So what belongs to a place
in the picture, pose and mask, travels in there, the mask as the last channel.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...infusenet.faces.align import resize_and_pad
from ..convert import image_to_pictures, pictures_to_image

log = logging.getLogger(__name__)

_COLOURS, _LATENTS = 3, 16  # channels of a picture, and of what a VAE made of it
_BLACK = 64  # pixels a side of a picture in which nothing is to be seen


def hint_of(pose: Tensor | None, mask: Tensor | None) -> Tensor:
    """What a ControlNet's hint is by the host's convention.

    Args:
        pose: IMAGE [n, H, W, 3], or None for a black picture.
        mask: [n, H, W] of 0..1, at any size, or None.

    Returns:
        [n, 3, H, W], with the mask as a fourth channel.
    """
    size = (_BLACK, _BLACK) if mask is None else mask.shape[1:]
    picture = torch.zeros(1, _COLOURS, *size) if pose is None else pose.movedim(-1, 1)
    if mask is None:
        return picture
    mask = F.interpolate(mask[:, None].to(picture), size=picture.shape[2:], mode="area")
    count = max(len(picture), len(mask))
    return torch.cat([repeated(picture, count), repeated(mask, count)], dim=1)


@dataclass(frozen=True)
class Part:
    """What of pose and mask belongs to what is sampled now.

    Attributes:
        pose: IMAGE [n, H, W, 3]; None = black.
        mask: [n, H, W]; None = everywhere.
        latents: of the control picture, where somebody has encoded it [n, 16, h, w].
    """

    pose: Tensor | None
    mask: Tensor | None
    latents: Tensor | None = None


def part_of(hint: Tensor, posed: bool) -> Part:
    """What a tile's hint holds, pixels or latents; a pose that is none stays black."""
    latent = hint.shape[1] >= _LATENTS
    channels = _LATENTS if latent else _COLOURS
    mask = hint[:, channels].float() if hint.shape[1] > channels else None
    if latent:
        return Part(None, mask, hint[:, :channels])
    return Part(hint[:, :channels].movedim(1, -1).float() if posed else None, mask)


def colours(hint: Tensor) -> Tensor:
    """A hint's picture [n, 3, H, W], for those who encode it themselves."""
    return hint[:, :_COLOURS]


def repeated(tensor: Tensor, count: int) -> Tensor:
    """What belongs to images [n, ...], taken again from the first until there are `count`."""
    return tensor if len(tensor) == count else tensor[torch.arange(count, device=tensor.device) % len(tensor)]


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
            "The pose image (%dx%d) and the latent (%dx%d pixels) have different proportions, so the pose image's "
            "edges are cut off. Make it with Face Pose Image at the latent's size.",
            source_width,
            source_height,
            width,
            height,
        )
    # the rule pads with white; of the negative that is black
    return pictures_to_image([255 - resize_and_pad(255 - pixels, width, height)])[0]
