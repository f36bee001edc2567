"""Drawing styles of the miniature: what turns its plain picture into a sketch, watercolor, pixel art or comic."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import constant

BLOCK = 3  # pixels


def smooth(picture: Tensor, radius: int) -> Tensor:
    """Mean over a square window, edges repeated."""
    padded = F.pad(picture, (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)


def gray(picture: Tensor) -> Tensor:
    """Brightness ``(n, 1, h, w)``."""
    return (picture * constant((0.30, 0.59, 0.11), picture)).sum(1, keepdim=True)


def edges(brightness: Tensor) -> Tensor:
    """Strength of the edges of a gray picture, about 0..0.7; dark tones count as much as light ones."""
    tone = F.pad((brightness.clamp(min=0) + 0.01).sqrt(), (1, 1, 1, 1), mode="replicate")
    across = tone[:, :, 1:-1, 2:] - tone[:, :, 1:-1, :-2]
    down = tone[:, :, 2:, 1:-1] - tone[:, :, :-2, 1:-1]
    return (across.square() + down.square() + 1e-8).sqrt()


def sketch(brightness: Tensor, edge: Tensor) -> Tensor:
    """Pencil on warm paper; the tones of hair and skin stay."""
    tone = 0.36 + 0.66 * smooth(brightness, 1).clamp(min=0) ** 0.75
    drawn = (tone - (edge * 1.5 - 0.06).clamp(0, 0.6)).clamp(0.08, 1)
    return drawn * constant((0.98, 0.96, 0.91), brightness)


def watercolor(picture: Tensor, edge: Tensor) -> Tensor:
    """Pale, soft washes in few tones on white paper, darker where a wash ends."""
    wash = smooth(picture, 2)
    steps = torch.lerp((wash * 5).round() / 5, picture, 0.45)
    return (steps * 0.72 + 0.30 - 0.5 * smooth(edge, 1)).clamp(0, 1)


@cache
def _block_index(size: int, device: str) -> Tensor:
    middle = torch.arange(size) // BLOCK * BLOCK + BLOCK // 2
    return middle.clamp(max=size - 1).to(device)


def pixel_art(picture: Tensor) -> Tensor:
    """Blocks of 3 x 3 pixels in few colours."""
    index = _block_index(picture.shape[-1], str(picture.device))
    blocks = smooth(picture, BLOCK // 2)[:, :, index][:, :, :, index]
    return ((blocks * 1.04).clamp(0, 1) * 7).round() / 7


def comic(picture: Tensor, brightness: Tensor, edge: Tensor) -> Tensor:
    """Strong flat colours and black lines."""
    vivid = (brightness + (picture - brightness) * 1.3).clamp(0, 1)
    return (vivid * 5).round() / 5 * (1 - (edge * 3.2 - 0.5).clamp(0, 1))


def apply_style(picture: Tensor, style: Tensor) -> Tensor:
    """Draw every picture in its style (0 photo, 1 sketch, 2 watercolor, 3 pixel art, 4 comic).

    Args:
        picture: ``(n, 3, h, w)`` in 0..1.
        style: ``(n, 1, 1, 1)`` whole numbers.

    Returns:
        ``(n, 3, h, w)`` in 0..1.
    """
    brightness = gray(picture)
    edge = edges(brightness)
    for code, drawn in (
        (1, sketch(brightness, edge)),
        (2, watercolor(picture, edge)),
        (3, pixel_art(picture)),
        (4, comic(picture, brightness, edge)),
    ):
        picture = torch.where(style == code, drawn, picture)
    return picture
