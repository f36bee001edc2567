"""Does a recognizer that was just opened work? One batch of seven crops tells the coarse faults.

A drawn face, mirrored, shifted and turned a little, must stay alike; noise and grey must not be alike to it. Measured
(cosine with the face; SFace and the miniature's recognizer, with their own normalisation | with a wrong one):
changed a little .96-1.00 | .95-1.00; white noise -.12-.04 | .77-.93; coarse noise -.04-.14 | .69-.96;
grey .14-.20 | .79-.94; normalised twice: all 1.00. A drawing serves as well here as a photograph. Two faults do not
show: channels swapped, and 0..1 where -1..1 is meant.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..files import Picture
from .align import CROP, TEMPLATE
from .packages import import_cv2

log = logging.getLogger(__name__)

ALIKE = 0.7
"""Least cosine of the face with itself, mirrored, shifted or turned a little, below which is warned."""

UNLIKE = 0.5
"""Cosine of the face with noise or grey above which is warned."""

SAME = 0.97
"""Cosine of the face with noise and grey from which the recognizer is refused: it tells nothing apart."""

_CHANGED, _FACELESS = slice(1, 4), slice(4, 7)
_ADVICE = (
    "It seems to expect differently normalised pictures. Give the file back its published name, which says what it "
    "expects, or unpack the pack again."
)


def check_recognizer(embed: Callable[[Picture], NDArray[np.float32]], name: str, size: int = CROP) -> list[str]:
    """Refuse a recognizer that tells nothing apart; warn of one that takes noise for a face.

    Args:
        embed: BGR uint8 [7, size, size, 3] -> unit vectors [7, d], NaN where there is none.
        name: the file, for messages.
        size: side of its crops in pixels.

    Returns:
        The warnings, which are logged too; empty if all is well.

    Raises:
        WeightsError: no finite embedding, or noise and grey are the same to it as a face.
    """
    vectors = embed(sample(size)).astype(np.float64)
    if not np.isfinite(vectors[:4]).all():
        raise WeightsError(
            f"The face recognizer {name} gives no embedding for a face, so it is damaged. Unpack it again."
        )
    likeness = np.nan_to_num(vectors @ vectors[0])  # of grey there may be no embedding: that is well
    changed, faceless = likeness[_CHANGED], likeness[_FACELESS]
    if faceless.min() >= SAME:
        raise WeightsError(
            f"The face recognizer {name} cannot tell a face from noise or plain grey (cosine {faceless.min():.3f}). "
            f"{_ADVICE}"
        )
    told = []
    if faceless.max() > UNLIKE:
        told.append(
            f"The face recognizer {name} mistakes noise or plain grey for a face (cosine {faceless.max():.2f} with "
            f"a drawn one, expected less than {UNLIKE}), so its numbers cannot be trusted. {_ADVICE}"
        )
    if changed.min() < ALIKE:
        told.append(
            f"The face recognizer {name} no longer recognises a face that is mirrored, shifted by two pixels or "
            f"turned by four degrees (cosine {changed.min():.2f}, expected at least {ALIKE}). It may be damaged, or "
            "not a face recognizer. Unpack it again, or choose another pack."
        )
    for text in told:
        log.warning("%s", text)
    return told


def sample(size: int = CROP) -> Picture:
    """A drawn face; mirrored, shifted, turned; white noise, coarse noise, grey: BGR uint8 [7, size, size, 3]."""
    cv2 = import_cv2()
    noise = np.random.default_rng(0)
    face = drawn_face()
    middle = (CROP / 2, CROP / 2)
    turn = cv2.getRotationMatrix2D(middle, 4.0, 1.0)
    shift = np.array([[1, 0, 2], [0, 1, -2]], np.float64)
    moved = [cv2.warpAffine(face, matrix, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE) for matrix in (shift, turn)]
    white = noise.integers(0, 256, face.shape, dtype=np.uint8)
    coarse = noise.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    blobs = cv2.resize(coarse, (CROP, CROP), interpolation=cv2.INTER_CUBIC)
    crops = [face, face[:, ::-1], *moved, white, blobs, np.full_like(face, 128)]
    if size != CROP:
        crops = [cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR) for crop in crops]
    return np.stack(crops)


def drawn_face() -> Picture:
    """A plain face with its features where ArcFace's template wants them: BGR uint8 [112, 112, 3]."""
    cv2 = import_cv2()
    fine = 4  # drawn larger, then scaled down
    canvas = np.empty((CROP * fine, CROP * fine, 3), np.float32)
    canvas[:] = (115, 100, 90)

    def oval(centre: Sequence[float], axes: Sequence[float], bgr: tuple[int, int, int]) -> None:
        scaled: list[Any] = [tuple(int(value * fine) for value in pair) for pair in (centre, axes)]
        cv2.ellipse(canvas, *scaled, 0, 0, 360, bgr, -1, cv2.LINE_AA)

    hair, skin, shade, lips = (30, 42, 60), (132, 160, 206), (104, 128, 180), (80, 84, 168)
    oval((56, 45), (48, 56), hair)
    oval((56, 66), (39, 52), skin)
    oval((56, 26), (36, 16), hair)
    for x, y in TEMPLATE[:2]:
        oval((x, y), (8, 4.2), (230, 235, 240))
        oval((x, y), (3.8, 3.8), (35, 50, 70))
        oval((x, y), (1.8, 1.8), (10, 10, 10))
        oval((x, y - 8.6), (10, 2), hair)
    oval((56, 68), (5.5, 4), shade)
    for x in (52.5, 59.5):
        oval((x, 71.5), (2, 1.3), (58, 70, 110))
    oval((56, 60), (2.5, 12), (148, 176, 220))
    oval((56, 92), (15, 4.5), lips)
    oval((56, 91.5), (15, 1), (48, 50, 110))
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.8 * fine)
    down = np.linspace(1.12, 0.82, CROP * fine, dtype=np.float32)[:, None, None]
    across = np.linspace(1.08, 0.9, CROP * fine, dtype=np.float32)[None, :, None]  # light from the upper left
    face: Picture = cv2.resize(canvas * down * across, (CROP, CROP), interpolation=cv2.INTER_AREA)
    return face.clip(0, 255).astype(np.uint8)
