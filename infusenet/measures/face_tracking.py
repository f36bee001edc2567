"""The steps of one run, read for faces: each batch item's landmarks are remembered, carried on and filled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .base import Floats, Pixels, Reading, ReferenceData


class Looking(Protocol):
    """What finds and compares faces: `FaceMeasure`."""

    def look(self, picture: Pixels) -> Any:
        """The face that a picture is read by, a `Sight`."""

    def compare(
        self, readings: Sequence[Reading], pictures: Sequence[Pixels | None], references: Sequence[ReferenceData]
    ) -> list[Reading]:
        """The readings with crop and similarity wherever there is a place."""


@dataclass(frozen=True)
class Landmarks:
    """What a run knows of each batch item's face: landmarks [5, 2] as fractions of width and height.

    `last` is of the latest confident detection; `surest`, with its score, of the surest of all: a confident one where
    there is any.
    """

    last: dict[int, Floats] = field(default_factory=dict)
    surest: dict[int, tuple[float, Floats]] = field(default_factory=dict)

    def copy(self) -> Landmarks:
        """The same, for keeping."""
        return Landmarks(dict(self.last), dict(self.surest))


class FaceReader:
    """Measures pictures of one run in the order of its steps, remembering each batch item's landmarks.

    Landmarks are kept as fractions of the picture's width and height, so that previews and final pictures of
    different sizes share them.

    Args:
        measure: the rule.
        references: the person to compare with, or one for each batch item (taken in turn).
        fallback: landmarks [5, 2] as fractions (x / width, y / height) for items in which no face has been seen yet:
            those of the pose picture.
    """

    def __init__(self, measure: Looking, references: Sequence[ReferenceData], fallback: Any = None) -> None:
        self._measure, self._references = measure, tuple(references)
        self._fallback = None if fallback is None else np.asarray(fallback, np.float32)
        self._known = Landmarks()

    def remembered(self) -> Landmarks:
        """The landmarks known by now, for `restore`."""
        return self._known.copy()

    def restore(self, known: Landmarks) -> None:
        """Know what was known when `remembered` gave `known`, and nothing else."""
        self._known = known.copy()

    def read(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Detect, else carry; an item without any landmarks so far has no similarity yet.

        Args:
            pictures: RGB uint8 [H, W, 3], earlier steps first; None stands for one that is not finite.
            items: the batch item of each picture.

        Returns:
            One reading a picture. Only those `seen` may make a conclusion.
        """
        readings = [self._look(picture, item) for picture, item in zip(pictures, items, strict=True)]
        return self._measure.compare(readings, pictures, [self._reference(item) for item in items])

    def _look(self, picture: Pixels | None, item: int) -> Reading:
        if picture is None:
            return Reading(False)
        sight = self._measure.look(picture)
        if sight.face is None:
            return self._carried(item, None)
        score, place = float(sight.face.score), np.asarray(sight.face.kps, np.float32) / size_of(picture)
        if score > self._known.surest.get(item, (0.0, place))[0]:
            self._known.surest[item] = score, place
        if not sight.seen:
            return self._carried(item, score)
        self._known.last[item] = place
        return Reading(True, None, "detected", score, place)

    def _carried(self, item: int, score: float | None) -> Reading:
        place = self._known.last.get(item, self._fallback)
        return Reading(False, None, None if place is None else "carried", score, place)

    def can_back_fill(self, item: int) -> bool:
        """Whether any trace of this item's face has been seen in any step."""
        return item in self._known.surest

    def back_fill(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Measure pictures from before an item was seen, where it was seen most surely.

        The first confident detection is of the most blurred face of all, and its landmarks err most: on photographs
        that form in FLUX's latent space values measured there were off by up to .085 on average.

        Args:
            pictures: RGB uint8 [H, W, 3]; None stands for one that is not finite.
            items: the batch item of each picture.

        Returns:
            One reading a picture, none of them `seen`; without similarity where no step showed a trace of a face.
        """
        readings = []
        for item in items:
            _, place = self._known.surest.get(item, (0.0, None))
            readings.append(Reading(False, None, None if place is None else "back-filled", None, place))
        return self._measure.compare(readings, pictures, [self._reference(item) for item in items])

    def _reference(self, item: int) -> ReferenceData:
        return self._references[item % len(self._references)]


def size_of(picture: Pixels) -> Floats:
    """Width and height, for landmarks as fractions."""
    return np.array([picture.shape[1], picture.shape[0]], np.float32)
