"""What a face measure needs: something that detects, aligns and embeds faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .base import Pixels


class DetectedFace(Protocol):
    """One face in a picture."""

    @property
    def bbox(self) -> Any:
        """Box (x0, y0, x1, y1) in pixels."""

    @property
    def kps(self) -> Any:
        """Five landmarks [5, 2] (x, y) in pixels: eyes, nose, mouth corners."""

    @property
    def score(self) -> float:
        """Confidence, 0..1."""


class Recognizer(Protocol):
    """What detects, aligns and embeds faces; `infusenet.faces.FaceRecognizer` is one.

    `detect` may also take `threshold=` and `sizes=`; they are passed where it does. Optional attributes: `confident`
    and `faint` (the detector's thresholds), `sizes` (those it looks in), `detector_name`, `published_line` (its
    authors' same-person cosine), `crop_size`, `upright(rgb)` (a photo turned upright).
    """

    @property
    def name(self) -> str:
        """Which network measured, for the record."""

    def detect(self, rgb: Pixels) -> Sequence[DetectedFace]:
        """The faces in an RGB picture."""

    def crop(self, rgb: Pixels, kps: Any) -> Pixels:
        """The aligned face that `embed` takes: BGR, uint8."""

    def embed(self, crops: Any) -> Any:
        """Embeddings [n, d] of n aligned faces."""


def largest(faces: Sequence[DetectedFace]) -> DetectedFace | None:
    """The face with the largest box (the first of equals), or None. Landmarks that are not finite are no face."""

    def area(face: DetectedFace) -> float:
        x0, y0, x1, y1 = (float(edge) for edge in face.bbox[:4])
        return (x1 - x0) * (y1 - y0)

    return max((face for face in faces if is_finite(face)), key=area, default=None)


def is_finite(face: DetectedFace) -> bool:
    """Whether a face's landmarks are numbers."""
    return bool(np.isfinite(np.asarray(face.kps, np.float64)).all())
