"""The likeness of faces: detect, choose, align, embed, compare. The one rule that every figure of this package is by.

1. The picture is looked at in the detector's sizes, the largest first; the first in which a face is detected with
   confidence decides, and of its confident faces the largest is read. Its landmarks are of that size.
2. Where no face is confident, nothing is SEEN: a finished picture has no similarity. A step of a run is still measured
   where the face is known to be (carried, back-filled), for the eye, never for a conclusion.
3. The aligned crop's embedding is compared with the reference by the cosine.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FaceError
from ..metrics.similarity import cosine_similarity, fuse_embeddings
from .base import Floats, Measure, Pixels, Reading, ReferenceData, ReferenceInfo, Rule, pixels
from .baselines import Baseline, impostors
from .blank import blank_crops
from .face_tracking import FaceReader, size_of
from .recognizer import DetectedFace, Recognizer, is_finite, largest

__all__ = [
    "CONFIDENT",
    "FAINT",
    "DetectedFace",
    "FaceMeasure",
    "Recognizer",
    "Sight",
    "as_measure",
    "impostors",
    "largest",
    "measure_of",
    "pixels",
]

CONFIDENT, FAINT = 0.5, 0.3
"""Confidence of a face, and of a trace of one, for recognizers that state none of their own."""

_CROP = 112
_KEPT = "_infusenet_measure"  # where a recognizer keeps its measure


@dataclass(frozen=True)
class Sight:
    """The face that a picture is read by: the largest confident one, else the surest of all (then not `seen`)."""

    face: DetectedFace | None
    seen: bool


class FaceMeasure:
    """The rule, with one recognizer. `measure_of` gives the one that belongs to a recognizer.

    Args:
        recognizer: detects, aligns and embeds; not the network that conditions, or the measurement is circular.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.confident = float(getattr(recognizer, "confident", CONFIDENT))
        self.faint = float(getattr(recognizer, "faint", FAINT))
        self.sizes: tuple[int, ...] = tuple(getattr(recognizer, "sizes", ()))
        self.published_line: float | None = getattr(recognizer, "published_line", None)
        self._takes = set(inspect.signature(recognizer.detect).parameters)

    @property
    def name(self) -> str:
        """Which network measured, for the record."""
        return self.recognizer.name

    @property
    def detector(self) -> str | None:
        """Which network found the faces."""
        return getattr(self.recognizer, "detector_name", None)

    @property
    def rule(self) -> Rule:
        """The rule with the settings of this recognizer's detector."""
        sizes = ", ".join(map(str, sorted(self.sizes, reverse=True)))
        return Rule(
            "face 1",
            {
                "confident from": f"{self.confident:g}",
                "face": "largest confident",
                "sizes": f"{sizes}, largest first" if sizes else "the detector's own",
            },
        )

    # -- finding -----------------------------------------------------------------------------------------------------

    def look(self, picture: Pixels) -> Sight:
        """The face that a picture is read by; landmarks that are not finite are no face."""
        surest: DetectedFace | None = None
        sizes: list[int | None] = [*sorted(self.sizes, reverse=True)]
        for size in sizes or [None]:
            faces = [face for face in self._detect(picture, size) if is_finite(face)]
            sure = largest([face for face in faces if face.score >= self.confident])
            if sure is not None:
                return Sight(sure, True)
            surest = max([*faces, *([surest] if surest else [])], key=lambda face: float(face.score), default=None)
        return Sight(surest, False)

    def _detect(self, picture: Pixels, size: int | None) -> Sequence[DetectedFace]:
        wished: dict[str, Any] = {"threshold": self.faint, "sizes": None if size is None else [size]}
        options = {key: value for key, value in wished.items() if key in self._takes and value is not None}
        return self.recognizer.detect(picture, **options)

    # -- references ----------------------------------------------------------------------------------------------------

    def reference(self, pictures: Sequence[Pixels], *, source: str | None = None) -> ReferenceData:
        """Read the face of each picture and fuse them. Photos that lie on their side are turned.

        Args:
            pictures: RGB uint8 [H, W, 3], one or more, of one person.
            source: a short word on where they are from, for the record.

        Returns:
            The reference, with its blank line.

        Raises:
            FaceError: there is no picture, one shows no face, or a face cannot be embedded.
        """
        if not pictures:
            raise FaceError("The probe needs a reference picture of the person, but there is none. Choose one.")
        crops, turned = [], 0
        for number, picture in enumerate(pictures, start=1):
            upright, angle = self._upright(picture)
            sight = self.look(upright)
            if sight.face is None or not sight.seen:
                raise FaceError(
                    f"No face found in reference picture {number} of {len(pictures)} "
                    f"({picture.shape[1]}x{picture.shape[0]} pixels){self._unsure(sight)}. Use a picture with one "
                    "clear, frontal face."
                )
            turned += angle != 0
            crops.append(self.recognizer.crop(upright, sight.face.kps))
        try:
            embedding = fuse_embeddings(self.embed(crops))
        except ValueError as error:
            raise FaceError(f"The reference faces cannot be encoded: {error}") from error
        info = ReferenceInfo(len(crops), source, turned)
        return ReferenceData(embedding, tuple(crops), info, self.blank(embedding))

    def _upright(self, picture: Pixels) -> tuple[Pixels, int]:
        """A reference photo with its face upright, and by how many degrees it was turned."""
        upright = getattr(self.recognizer, "upright", None)
        if upright is None:
            return picture, 0
        found = upright(picture)
        return found.picture, found.turned

    def _unsure(self, sight: Sight) -> str:
        if sight.face is None:
            return ""
        return f": the most certain one has a confidence of {sight.face.score:.2f}, and {self.confident:g} is needed"

    def blank(self, embedding: Tensor) -> Baseline | None:
        """What sixteen fixed crops without a face score against a reference's embedding [d]."""
        cosines = cosine_similarity(self._blank_embeddings, embedding).tolist()
        return Baseline.of([value for value in cosines if np.isfinite(value)])

    @cached_property
    def _blank_embeddings(self) -> Tensor:
        return self.embed(blank_crops(int(getattr(self.recognizer, "crop_size", _CROP))))

    def impostors(self, reference: ReferenceData, pictures: Sequence[Pixels]) -> Baseline | None:
        """What other people score against a reference.

        Args:
            reference: the person.
            pictures: RGB uint8 pictures of other people; those without a face are left out.

        Returns:
            Mean, deviation (n - 1) and count; None with fewer than five faces: then it is unknown.
        """
        return impostors(self, [reference], pictures)[0]

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, pictures: Sequence[Pixels | None], reference: ReferenceData) -> list[Reading]:
        """Finished pictures, each by itself: no place is carried, so what is not seen has no similarity.

        Args:
            pictures: RGB uint8 [H, W, 3]; None stands for one that is not finite.
            reference: the person.

        Returns:
            One reading a picture.
        """
        return FaceReader(self, [reference]).read(pictures, range(len(pictures)))

    def reader(self, references: Sequence[ReferenceData], fallback: Any = None) -> FaceReader:
        """For the steps of one run; see `FaceReader`."""
        return FaceReader(self, references, fallback)

    def embed(self, crops: Sequence[Pixels]) -> Tensor:
        """Embeddings [n, d] on the CPU."""
        return torch.as_tensor(np.asarray(self.recognizer.embed(np.stack(crops)), np.float32))

    def against(self, pictures: Sequence[Pixels | None], references: Sequence[ReferenceData]) -> list[list[Reading]]:
        """As `read`, against each of several references; each picture is looked at once."""
        first = self.read(pictures, references[0])
        return [first, *(self.compare(first, pictures, [other] * len(first)) for other in references[1:])]

    def compare(
        self,
        readings: Sequence[Reading],
        pictures: Sequence[Pixels | None],
        references: Sequence[ReferenceData],
    ) -> list[Reading]:
        """The readings with crop and similarity wherever there is a place; one reference a reading."""
        crops = [self._crop(picture, reading.place) for picture, reading in zip(pictures, readings, strict=True)]
        present = [crop for crop in crops if crop is not None]
        embeddings = iter(self.embed(present)) if present else iter(())
        measured = []
        for reading, crop, reference in zip(readings, crops, references, strict=True):
            similarity = None
            if crop is not None:
                value = float(cosine_similarity(next(embeddings)[None], reference.embedding)[0])
                similarity = value if np.isfinite(value) else None
            measured.append(Reading(reading.seen, similarity, reading.alignment, reading.score, reading.place, crop))
        return measured

    def _crop(self, picture: Pixels | None, place: Floats | None) -> Pixels | None:
        """The aligned face, or None where there is no place or the landmarks span none."""
        if picture is None or place is None:
            return None
        try:
            return self.recognizer.crop(picture, place * size_of(picture))
        except FaceError:
            return None


def as_measure(measuring: Any) -> Measure:
    """What measures: a Measure as it is, or the FaceMeasure of a Recognizer."""
    measure: Measure = measuring if hasattr(measuring, "reader") else measure_of(measuring)
    return measure


def measure_of(recognizer: Recognizer) -> FaceMeasure:
    """The measure that belongs to a recognizer, always the same one: its blank crops are embedded once.

    It is kept with the recognizer, and goes with it; one that takes no attribute gets a new measure each time.
    """
    known = getattr(recognizer, _KEPT, None)
    if isinstance(known, FaceMeasure) and known.recognizer is recognizer:
        return known
    measure = FaceMeasure(recognizer)
    with contextlib.suppress(AttributeError):
        setattr(recognizer, _KEPT, measure)
    return measure
