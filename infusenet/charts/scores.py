"""Pictures in the order of their likeness."""

import math
from collections.abc import Sequence

import numpy as np

from ..measures.base import Pixels
from ..measures.scores import Scores
from .sheet import face_grid
from .values import ACROSS, SIDES, sheet_tile


def scores_sheet(scores: Scores, pictures: Sequence[Pixels], *, faces: bool = False, theme: str = "light") -> Pixels:
    """All pictures, or what was compared of them, the most alike first, each with its likeness; the best is framed.

    Args:
        scores: what was measured.
        pictures: RGB uint8 [H, W, 3] of one size, in the order that they were measured.
        faces: show the aligned faces (or small whole pictures) instead.
        theme: "light" or "dark".

    Returns:
        RGB uint8 [H, W, 3]; the lines of other people and of no face (other and blank pictures) are written above.
    """
    order, crops = scores.order, [reading.crop for reading in scores.readings]
    height, width = (SIDES[0], SIDES[0]) if faces else pictures[0].shape[:2]
    shown = [None if crop is None else crop[..., ::-1] for crop in crops] if faces else list(pictures)
    columns = min(ACROSS, math.ceil(math.sqrt(len(order))))
    tile = sheet_tile(width, height, len(order))
    return face_grid(
        [None if (face := shown[index]) is None else np.ascontiguousarray(face) for index in order],
        [_label(scores, index) for index in order],
        columns=columns,
        marked=None if scores.best is None else 0,
        heading=scores.lines_in_words(),
        empty=scores.wording.missing,
        theme=theme,
        tile=tile,
    )


def _label(scores: Scores, index: int) -> str:
    """Which picture, its likeness, and whether it is above the lines."""
    value = scores.similarity(index)
    text = f"picture {index + 1}: {scores.wording.missing if value is None else f'{value:.2f}'}"
    return f"{text}\n{'not above the lines' if scores.under(index) else ''}"
