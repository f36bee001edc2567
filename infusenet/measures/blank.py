"""Sixteen crops without any face: what a recognizer says where there is nothing to recognise.

A recognizer gives every crop a direction, also a grey one, and that direction may lie nearer to a person than other
people do. A step in which no face is seen is measured on such crops: this is the line that it must be judged by.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_GREYS = (0.12, 0.31, 0.5, 0.69, 0.88)
_CELLS = (3, 4, 5, 6, 7, 8)  # of the coarse noise, a side


def blank_crops(size: int = 112) -> list[Pixels]:
    """The fixed crops: five greys, five gradients, six fields of coarse noise, always the same.

    Args:
        size: side in pixels.

    Returns:
        Sixteen uint8 [size, size, 3].
    """
    ramp = np.linspace(0.0, 1.0, size)
    down, across = np.meshgrid(ramp, ramp, indexing="ij")
    gradients = [down, across, (down + across) / 2, 1 - down, np.hypot(down - 0.5, across - 0.5) * 1.4]
    flat = [np.full((size, size), grey) for grey in _GREYS]
    plain = [np.repeat(field[..., None], 3, axis=2) for field in (*flat, *gradients)]
    return [_as_pixels(field) for field in (*plain, *(_coarse_noise(size, cells) for cells in _CELLS))]


def _coarse_noise(size: int, cells: int) -> npt.NDArray[np.float64]:
    """Coloured noise of `cells` x `cells` values, enlarged linearly: [size, size, 3] in 0..1."""
    values = np.random.default_rng(cells).uniform(0.2, 0.8, (cells, cells, 3))
    at, known = np.linspace(0, cells - 1, size), np.arange(cells)
    rows = np.stack([np.interp(at, known, column) for column in values.reshape(cells, -1).T], 1)
    grid = rows.reshape(size, cells, 3).transpose(1, 0, 2).reshape(cells, -1)
    return np.stack([np.interp(at, known, column) for column in grid.T], 1).reshape(size, size, 3).transpose(1, 0, 2)


def _as_pixels(field: npt.NDArray[np.float64]) -> Pixels:
    return np.ascontiguousarray((field.clip(0, 1) * 255).round().astype(np.uint8))
