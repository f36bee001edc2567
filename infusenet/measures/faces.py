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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import FaceError
from ..metrics.similarity import cosine_similarity, fuse_embeddings
from .base import LEAST_IMPOSTORS, Baseline, Floats, Measure, Pixels, Reading, ReferenceData, ReferenceInfo, Rule
from .blank import blank_crops

CONFIDENT, FAINT = 0.5, 0.3
"""Confidence of a face, and of a trace of one, for recognizers that state none of their own."""

_CROP = 112
_KEPT = "_infusenet_measure"  # where a recognizer keeps its measure


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
            faces = [face for face in self._detect(picture, size) if _is_finite(face)]
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
            raise FaceError("The probe needs a reference picture of the person, got none. Connect or name one.")
        crops, turned = [], 0
        for number, picture in enumerate(pictures, start=1):
            upright, angle = self._upright(picture)
            sight = self.look(upright)
            if sight.face is None or not sight.seen:
                raise FaceError(
                    f"No face found in reference picture {number} of {len(pictures)} "
                    f"({picture.shape[1]}x{picture.shape[0]} pixels){self._unsure(sight)}. "
                    "Use a picture with one clear, frontal face."
                )
            turned += angle != 0
            crops.append(self.recognizer.crop(upright, sight.face.kps))
        try:
            embedding = fuse_embeddings(self.embed(crops))
        except ValueError as error:
            raise FaceError(f"The reference faces give no usable embedding: {error}") from error
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
        return f": the surest has a confidence of {sight.face.score:.2f}, and from {self.confident:g} on a face counts"

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
            return self.recognizer.crop(picture, place * _size(picture))
        except FaceError:
            return None


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

    def __init__(self, measure: FaceMeasure, references: Sequence[ReferenceData], fallback: Any = None) -> None:
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
        score, place = float(sight.face.score), np.asarray(sight.face.kps, np.float32) / _size(picture)
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


def impostors(
    measure: FaceMeasure, references: Sequence[ReferenceData], pictures: Sequence[Pixels]
) -> tuple[Baseline | None, int]:
    """What other people score against all of several references; each picture is looked at once.

    Args:
        measure: the rule.
        references: one or more.
        pictures: RGB uint8 pictures of other people.

    Returns:
        The line (None with fewer than five faces: unknown), and in how many pictures a face was seen.
    """
    read = zip(measure.read(pictures, references[0]), pictures, strict=True)
    known = [(reading, picture) for reading, picture in read if reading.similarity is not None]
    if len(known) < LEAST_IMPOSTORS:
        return None, len(known)
    seen, shown = [reading for reading, _ in known], [picture for _, picture in known]
    others = (measure.compare(seen, shown, [reference] * len(seen)) for reference in references[1:])
    scores = ([one.similarity for one in group if one.similarity is not None] for group in (seen, *others))
    return Baseline.pooled([Baseline.of(group) for group in scores]), len(known)


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


def largest(faces: Sequence[DetectedFace]) -> DetectedFace | None:
    """The face with the largest box (the first of equals), or None. Landmarks that are not finite are no face."""

    def area(face: DetectedFace) -> float:
        x0, y0, x1, y1 = (float(edge) for edge in face.bbox[:4])
        return (x1 - x0) * (y1 - y0)

    return max((face for face in faces if _is_finite(face)), key=area, default=None)


def _is_finite(face: DetectedFace) -> bool:
    return bool(np.isfinite(np.asarray(face.kps, np.float64)).all())


def pixels(pictures: Tensor) -> list[Pixels | None]:
    """Pictures [n, 3, H, W] in 0..1 as 8-bit RGB [H, W, 3]; None where one is not finite."""
    pictures = pictures.detach().float()
    finite = torch.isfinite(pictures).flatten(1).all(dim=1)
    whole = (pictures.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    arrays = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return [array if is_finite else None for array, is_finite in zip(arrays, finite.tolist(), strict=True)]


def _size(picture: Pixels) -> Floats:
    """Width and height, for landmarks as fractions."""
    return np.array([picture.shape[1], picture.shape[0]], np.float32)
