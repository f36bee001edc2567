"""Reading the face in blurred, half-made pictures: landmarks detected, carried or back-filled, then compared."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import FaceError
from ..metrics.similarity import cosine_similarity, fuse_embeddings
from .records import Alignment, Baseline, ReferenceInfo

Pixels = npt.NDArray[np.uint8]  # RGB [H, W, 3]
Floats = npt.NDArray[np.floating[Any]]

THRESHOLD = 0.3  # detector confidence; below the usual one, because early predictions are blurred
CONFIDENT = 0.5  # the usual one


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
    """What measures identity; `infusenet.identity.FaceRecognizer` is one.

    `detect` may also take `threshold=` (confidence) and `small_first=` (try small detector sizes before large ones);
    they are passed where it does.
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
class Reference:
    """The person to compare with: one unit vector in the recognizer's space, from one or more pictures.

    Attributes:
        embedding: [d], of length 1; never written to disk.
        crops: the aligned faces it was made from.
        info: what a trace may tell about it.
    """

    embedding: Tensor
    crops: tuple[Pixels, ...]
    info: ReferenceInfo

    @classmethod
    def from_pictures(
        cls, recognizer: Recognizer, pictures: Sequence[Pixels], *, source: str | None = None
    ) -> "Reference":
        """Read the largest face of each picture and fuse them.

        Args:
            recognizer: the one that will measure.
            pictures: RGB uint8 [H, W, 3], one or more, of one person.
            source: a short word on where they are from, for the record.

        Returns:
            The reference.

        Raises:
            FaceError: there is no picture, one shows no face, or a face cannot be embedded.
        """
        if not pictures:
            raise FaceError("The probe needs a reference picture of the person, got none. Connect or name one.")
        crops = []
        for number, picture in enumerate(pictures, start=1):
            face = largest(recognizer.detect(picture))
            if face is None:
                raise FaceError(
                    f"No face found in reference picture {number} of {len(pictures)} "
                    f"({picture.shape[1]}x{picture.shape[0]} pixels). Use a picture with one clear, frontal face."
                )
            crops.append(recognizer.crop(picture, face.kps))
        try:
            embedding = fuse_embeddings(embed(recognizer, crops))
        except ValueError as error:
            raise FaceError(f"The reference faces give no usable embedding: {error}") from error
        return cls(embedding, tuple(crops), ReferenceInfo(len(crops), source))

    def baseline(self, recognizer: Recognizer, strangers: Sequence[Pixels]) -> Baseline | None:
        """What pictures of other people score against this reference.

        Args:
            recognizer: the one that will measure.
            strangers: RGB uint8 pictures of other people; those without a face are left out.

        Returns:
            Mean, deviation (n - 1; None for one picture) and count, or None without any face.
        """
        known = [score for score in self.similarities(recognizer, strangers) if score is not None]
        if not known:
            return None
        scores = torch.tensor(known, dtype=torch.float64)
        return Baseline(float(scores.mean()), float(scores.std()) if len(scores) > 1 else None, len(scores))

    def similarities(self, recognizer: Recognizer, pictures: Sequence[Pixels]) -> list[float | None]:
        """Cosine of each finished picture's largest face with this reference.

        Args:
            recognizer: the one that read the reference.
            pictures: RGB uint8 [H, W, 3].

        Returns:
            One value a picture; None where no face is found, or the network gives no direction.
        """
        faces = [(place, largest(recognizer.detect(picture))) for place, picture in enumerate(pictures)]
        crops = {place: recognizer.crop(pictures[place], face.kps) for place, face in faces if face is not None}
        if not crops:
            return [None] * len(pictures)
        values = cosine_similarity(embed(recognizer, list(crops.values())), self.embedding).tolist()
        measured = {place: value for place, value in zip(crops, values, strict=True) if np.isfinite(value)}
        return [measured.get(place) for place in range(len(pictures))]


@dataclass(frozen=True)
class Reading:
    """One picture looked at. `crop` is the aligned face as the recognizer takes it."""

    found: bool
    alignment: Alignment | None = None
    score: float | None = None
    similarity: float | None = None
    crop: Pixels | None = None


@dataclass(frozen=True)
class Landmarks:
    """Each batch item's `last` and `first` detected landmarks [5, 2], as fractions of width and height."""

    last: dict[int, Floats] = field(default_factory=dict)
    first: dict[int, Floats] = field(default_factory=dict)

    def copy(self) -> "Landmarks":
        """The same, for keeping."""
        return Landmarks(dict(self.last), dict(self.first))


class FaceReader:
    """Measures pictures of one run in the order of its steps, remembering each batch item's landmarks.

    Landmarks are kept as fractions of the picture's width and height, so that previews and final pictures of
    different sizes share them.

    Args:
        recognizer: detects, aligns and embeds.
        reference: the person to compare with.
        fallback_kps: landmarks [5, 2] as fractions (x / width, y / height) for items in which no face has been found
            yet: those of the pose picture.
    """

    def __init__(self, recognizer: Recognizer, reference: Reference, fallback_kps: Any = None) -> None:
        self._recognizer = recognizer
        self._reference = reference
        self._detect = detector_of(recognizer)
        self._fallback = None if fallback_kps is None else np.asarray(fallback_kps, np.float32)
        self._known = Landmarks()

    def remembered(self) -> Landmarks:
        """The landmarks known by now, for `restore`."""
        return self._known.copy()

    def restore(self, landmarks: Landmarks) -> None:
        """Know what was known when `remembered` gave `landmarks`, and nothing else."""
        self._known = landmarks.copy()

    def read(self, pictures: Tensor, items: Sequence[int]) -> list[Reading]:
        """Detect, else carry; an item without any landmarks so far has no similarity yet.

        Args:
            pictures: [n, 3, H, W], 0..1, earlier steps first.
            items: the batch item of each picture.

        Returns:
            One reading a picture.
        """
        readings, landmarks = [], []
        for picture, item in zip(pixels(pictures), items, strict=True):
            kps: Floats | None = None
            face = None if picture is None else likeliest(self._detect(picture))
            if picture is not None and face is not None:
                kps = np.asarray(face.kps, np.float32) / _size(picture)
                self._known.last[item] = kps
                self._known.first.setdefault(item, kps)
                readings.append(Reading(True, "detected", float(face.score)))
            else:
                kps = None if picture is None else self._known.last.get(item, self._fallback)
                readings.append(Reading(False, None if kps is None else "carried"))
            landmarks.append((picture, kps))
        return self._compare(readings, landmarks)

    def can_back_fill(self, item: int) -> bool:
        """Whether a face of this item has been found in any step."""
        return item in self._known.first

    def back_fill(self, pictures: Tensor, items: Sequence[int]) -> list[Reading]:
        """Measure pictures from before an item's first detection with that detection's landmarks.

        Args:
            pictures: [n, 3, H, W], 0..1.
            items: the batch item of each picture.

        Returns:
            One reading a picture; without similarity where the item was never found.
        """
        landmarks = [
            (picture, self._known.first.get(item) if picture is not None else None)
            for picture, item in zip(pixels(pictures), items, strict=True)
        ]
        readings = [Reading(False, None if kps is None else "back-filled") for _, kps in landmarks]
        return self._compare(readings, landmarks)

    def _compare(
        self, readings: list[Reading], landmarks: Sequence[tuple[Pixels | None, Floats | None]]
    ) -> list[Reading]:
        """The readings with crop and similarity wherever there are landmarks."""
        crops = [None if picture is None or kps is None else self._crop(picture, kps) for picture, kps in landmarks]
        present = [crop for crop in crops if crop is not None]
        if not present:
            return readings
        cosines = iter(cosine_similarity(embed(self._recognizer, present), self._reference.embedding).tolist())
        measured = []
        for reading, crop in zip(readings, crops, strict=True):
            value = None if crop is None else next(cosines)
            similarity = value if value is not None and np.isfinite(value) else None
            measured.append(Reading(reading.found, reading.alignment, reading.score, similarity, crop))
        return measured

    def _crop(self, picture: Pixels, kps: Floats) -> Pixels | None:
        """The aligned face, or None where the landmarks span none."""
        try:
            return self._recognizer.crop(picture, kps * _size(picture))
        except FaceError:
            return None


def largest(faces: Sequence[DetectedFace]) -> DetectedFace | None:
    """The face with the largest box (the first of equals), or None. Landmarks that are not finite are no face."""

    def area(face: DetectedFace) -> float:
        x0, y0, x1, y1 = (float(edge) for edge in face.bbox[:4])
        return (x1 - x0) * (y1 - y0)

    usable = [face for face in faces if np.isfinite(np.asarray(face.kps, np.float64)).all()]
    return max(usable, key=area, default=None)


def likeliest(faces: Sequence[DetectedFace]) -> DetectedFace | None:
    """The largest face that is sure to be one, else the surest: a low threshold also lets large smudges through."""
    sure = largest([face for face in faces if face.score >= CONFIDENT])
    return sure or largest(sorted(faces, key=lambda face: float(face.score))[-1:])


def detector_of(recognizer: Recognizer) -> Callable[[Pixels], Sequence[DetectedFace]]:
    """`recognizer.detect`, set for blurred pictures as far as it can be."""
    wished = {"threshold": THRESHOLD, "small_first": True}
    taken = inspect.signature(recognizer.detect).parameters
    options: dict[str, Any] = {name: value for name, value in wished.items() if name in taken}
    return lambda picture: recognizer.detect(picture, **options)


def embed(recognizer: Recognizer, crops: Sequence[Pixels]) -> Tensor:
    """Embeddings [n, d] on the CPU."""
    return torch.as_tensor(np.asarray(recognizer.embed(np.stack(crops)), np.float32))


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
