"""Batched drawing: signed distances, coverage and paint, on every pixel of every picture at once.

Shapes here: a parameter is ``(n, 1, 1, 1)``, a field ``(n, 1, h, w)`` (or broadcastable to it), a colour
``(n, 3, 1, 1)`` and a picture ``(n, 3, h, w)``. Distances are in pixels, negative inside the shape.
No function waits for the device, so that the whole renderer can run without a host synchronisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

Number = Tensor | float


@cache
def table(rows: tuple[tuple[float, ...], ...], device: str) -> Tensor:
    """A constant table ``(rows, columns)`` on a device, made once."""
    return torch.tensor(rows, dtype=torch.float32, device=device)


def pick(rows: Sequence[tuple[float, ...]], index: Tensor) -> Tensor:
    """Rows of a table by an index ``(n, 1, 1, 1)``: ``(n, columns, 1, 1)``; three columns make a colour."""
    chosen = table(tuple(rows), str(index.device))[index.reshape(-1)]
    return chosen[:, :, None, None]


def columns(rows: Sequence[tuple[float, ...]], index: Tensor) -> tuple[Tensor, ...]:
    """As `pick`, as one parameter ``(n, 1, 1, 1)`` per column."""
    return torch.split(pick(rows, index), 1, dim=1)


def ramp(rows: Sequence[tuple[float, ...]], position: Tensor) -> Tensor:
    """A colour between the rows of a table, by a position in 0..1: ``(n, 3, 1, 1)``."""
    place = position * (len(rows) - 1 - 1e-4)
    low = place.long()
    return torch.lerp(pick(rows, low), pick(rows, low + 1), place - low)


def constant(colour: tuple[float, ...], like: Tensor) -> Tensor:
    """One colour for all pictures: ``(1, 3, 1, 1)``."""
    return table((colour,), str(like.device))[:, :, None, None]


def mix(low: Number, high: Number, weight: Tensor) -> Tensor:
    """Linear interpolation, written out so that plain numbers are allowed."""
    return low + (high - low) * weight


def coverage(distance: Tensor, softness: float = 1.2) -> Tensor:
    """How much of a pixel a shape covers, 0..1, by its distance; `softness` is the width of the edge in pixels."""
    return (0.5 - distance * (1 / softness)).clamp(0, 1)


def paint(picture: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Lay a colour over the picture with an alpha field."""
    return torch.lerp(picture, colour, alpha)


def outlined(picture: Tensor, colour: Tensor, line: Tensor, distance: Tensor, width: float = 1.3) -> Tensor:
    """Lay a filled shape with an outline of the given width around it."""
    return paint(paint(picture, line, coverage(distance - width)), colour, coverage(distance))


def ellipse(x: Tensor, y: Tensor, rx: Number, ry: Number) -> Tensor:
    """Distance to an ellipse at the origin (first order: exact near the edge)."""
    u, v = x / rx, y / ry
    norm = (u * u + v * v + 1e-6).sqrt()
    u, v = u / rx, v / ry
    return norm * (norm - 1) / (u * u + v * v + 1e-9).sqrt()


def circle(x: Tensor, y: Tensor, radius: Number) -> Tensor:
    """Distance to a circle at the origin."""
    return (x * x + y * y + 1e-9).sqrt() - radius


def box(x: Tensor, y: Tensor, half_width: Number, half_height: Number, corner: float = 0.0) -> Tensor:
    """Distance to a rectangle with round corners at the origin."""
    qx, qy = x.abs() - (half_width - corner), y.abs() - (half_height - corner)
    px, py = qx.clamp(min=0), qy.clamp(min=0)
    return (px * px + py * py + 1e-9).sqrt() + torch.maximum(qx, qy).clamp(max=0) - corner


def fraction(value: Tensor) -> Tensor:
    """The part after the point, 0..1."""
    return value - value.floor()


def scatter(a: Tensor, b: Tensor, seed: Tensor) -> Tensor:
    """A number in 0..1 that looks random, for a cell ``(a, b)`` (whole numbers) of a picture's own seed (0..1)."""
    p, q, r = fraction(a * 0.1031 + seed), fraction(b * 0.1030 + 0.5 * seed), fraction(a * 0.0973)
    shift = p * (q + 33.33) + q * (r + 33.33) + r * (p + 33.33)
    return fraction((p + q + 2 * shift) * (r + shift))
