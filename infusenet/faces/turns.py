"""Photos that lie on their side: found a face or not, a photo without its EXIF orientation is read as somebody else.

Measured on 15 photographs of one face in four turns with SCRFD-2.5G and YuNet: a turned face is often found with
confidence, YuNet even sees it upright, but the upright turn always scores best, by .05 at least. For photos that give
an identity or a reference; never for generated pictures, in which a lying head is what was asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import FaceError
from ..files import Picture
from .align import similarity_transform
from .detect import Face

log = logging.getLogger(__name__)

SURE = 0.85
"""Score from which an upright face needs no second look, where a detector names none."""

TILT = 30.0
"""Degrees from which a face is tried in four turns, however sure."""

MARGIN = 0.02
"""By how much another turn must score better than none."""


class Detector(Protocol):
    """What finds faces: a FaceDetector, a FaceRecognizer or a stand-in. `sure` is read where it is there."""

    def detect(self, rgb: Picture) -> Sequence[Face]:
        """The faces in a picture that count, the largest first."""


class Upright(NamedTuple):
    """A photo as it is to be read.

    Attributes:
        picture: RGB uint8 [H, W, 3]; the very one given where it was not turned.
        faces: its faces, the largest first.
        turned: degrees that it was turned by, counter-clockwise: 0, 90, 180 or 270.
    """

    picture: Picture
    faces: list[Face]
    turned: int

    @property
    def notice(self) -> str | None:
        """What is to be said about it; None if it was not turned."""
        return None if not self.turned else f"was turned by {self.turned} degrees (counter-clockwise)"


def roll(face: Face) -> float:
    """How far a face is turned in the picture's plane: degrees from -180 to 180; NaN where landmarks do not tell."""
    try:
        matrix = similarity_transform(face.kps)
    except FaceError:
        return math.nan
    return math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))


def upright(detector: Detector, rgb: Picture) -> Upright:
    """A photo in the one of its four turns in which its face is found best.

    Left as it is if a face is found surely and upright; else the other three turns are tried, and the best score
    counts, with preference for no turn.

    Args:
        detector: finds faces.
        rgb: the photo, uint8 [H, W, 3].

    Returns:
        The photo, its faces and the turn; no faces where no turn shows one.
    """
    sure = float(getattr(detector, "sure", SURE))
    first = Upright(rgb, list(detector.detect(rgb)), 0)
    if any(face.score >= sure and abs(roll(face)) < TILT for face in first.faces):
        return first
    turns = [first]
    for quarters in (1, 2, 3):
        picture = np.ascontiguousarray(np.rot90(rgb, quarters))
        turns.append(Upright(picture, list(detector.detect(picture)), 90 * quarters))
    best = max(turns, key=_score)
    return best if _score(best) > _score(first) + MARGIN else first


def _score(turn: Upright) -> float:
    return max((face.score for face in turn.faces), default=-1.0)
