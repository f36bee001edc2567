"""What pictures are compared with, and the short way to do so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .base import Pixels, ReferenceData
from .baselines import Baseline
from .faces import as_measure


@dataclass(frozen=True)
class Reference(ReferenceData):
    """A reference that knows how to be made and compared with; `recognizer` may be a Recognizer or any Measure."""

    @classmethod
    def from_pictures(cls, recognizer: Any, pictures: Sequence[Any], *, source: str | None = None) -> Reference:
        """Read the pictures and fuse them, as the measure does; of faces the largest of each, `FaceMeasure.reference`.

        Args:
            recognizer: the one that will measure.
            pictures: RGB uint8 [H, W, 3], one or more, of one person or thing; prompts for a measure of these.
            source: a short word on where they are from, for the record.

        Raises:
            FaceError: there is no picture, one shows no face, or a face cannot be embedded.
            PictureError: likewise, of a measure of whole pictures.
            SettingsError: likewise, of a measure of prompts.
        """
        return cls(**vars(as_measure(recognizer).reference(pictures, source=source)))

    def baseline(self, recognizer: Any, strangers: Sequence[Pixels]) -> Baseline | None:
        """What other people, or other pictures, score against this reference; see `Measure.impostors`."""
        return as_measure(recognizer).impostors(self, strangers)

    def similarities(self, recognizer: Any, pictures: Sequence[Pixels]) -> list[float | None]:
        """Cosine of each finished picture (of its face) with this reference; None where nothing is seen.

        Args:
            recognizer: the one that read the reference.
            pictures: RGB uint8 [H, W, 3].
        """
        return [reading.similarity for reading in as_measure(recognizer).read(pictures, self)]
