"""The comparison itself: pictures and a person in, likeness out. Nothing is printed and nothing written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import FaceError, InfuseNetError, PictureError
from ..files import Picture, open_picture
from ..measures import Baseline, FaceMeasure, Reading, ReferenceData, measure_of
from ..metrics.similarity import copy_paste_score, cosine_similarity
from ..probe.versions import library_versions
from .request import CompareRequest, digest, expand, pack_of
from .results import ITSELF, Comparison, Judge, Measured, PictureResult

if TYPE_CHECKING:
    from ..faces import FaceRecognizer

_FAR = 6.0  # deviations above the rest from which one of the other people is doubted
_THUMB = 224  # longer side of the small picture that a page shows, pixels

Own = frozenset[str | None]  # content of the reference photos
Progress = Callable[[Sequence[Any], str], Iterable[Any]]
"""Shows how far a loop is: takes its items and a word for them, gives the items."""


def compare(request: CompareRequest, progress: Progress | None = None) -> Comparison:
    """Measure how alike pictures are to a person. One picture at a time is in memory.

    Args:
        request: what is asked for.
        progress: shows how far it is.

    Returns:
        What was measured. A picture that cannot be is among the results, with the reason.

    Raises:
        FaceError: no reference photo shows a face that can be used.
        PictureError: no reference photo can be read.
        InfuseNetError: a face pack cannot be opened.
    """
    from ..faces import FaceRecognizer

    show: Progress = progress or (lambda items, _: items)
    packs = [request.face_pack, *([] if request.second is None else [request.second])]
    recognizers = [FaceRecognizer.from_pack(pack_of(pack), device=request.device) for pack in packs]
    notes: list[str] = []
    photos = list(_photos(request.reference, "reference photo", notes, lambda items, _: items, skip=request.skip))
    if not photos:
        raise PictureError(notes[0].removeprefix("left out: "))
    own = frozenset(digest(path) for path, _ in photos)
    panel = [_Panel.of(recognizer, photos, notes) for recognizer in recognizers]
    _baselines(panel, request, own, notes, show)
    judges = [each.judge() for each in panel]
    results = [
        _result(path, panel, judges, own) if reason is None else _unread(path, reason, panel)
        for path, reason in show(list(expand(request.pictures, request.skip)), "pictures")
    ]
    return Comparison(
        first=judges[0],
        second=judges[1] if len(judges) > 1 else None,
        reference=tuple(path for path, _ in photos),
        other_photo=request.other_photo,
        pictures=tuple(results),
        notes=tuple(dict.fromkeys(notes)),
        versions=library_versions(),
    )


class _Panel:
    """One recognizer at work: its measure, the reference, and what is known of the lines so far."""

    def __init__(self, recognizer: FaceRecognizer, measure: FaceMeasure, reference: ReferenceData) -> None:
        self.recognizer, self.measure, self.reference = recognizer, measure, reference
        self.impostors: list[tuple[Path, float]] = []
        self.genuine: list[tuple[Path, float]] = []
        self.other: ReferenceData | None = None

    @classmethod
    def of(cls, recognizer: FaceRecognizer, photos: Sequence[tuple[Path, Picture]], notes: list[str]) -> _Panel:
        """With the reference of those photos that show a face.

        Raises:
            FaceError: none does; says so of the first.
        """
        measure = measure_of(recognizer)
        usable, complaints = [], []
        for path, picture in photos:
            try:
                measure.reference([picture])
                usable.append(picture)
            except FaceError as error:
                complaints.append(f"reference photo {path}: {_of_one(error)}")
        if not usable:
            raise FaceError(f"{complaints[0]} (measured with {recognizer.path.name})")
        notes += [f"left out: {complaint}" for complaint in complaints]
        return cls(recognizer, measure, measure.reference(usable))

    def judge(self) -> Judge:
        """What is known now."""
        other = None
        impostors, genuine = ([score for _, score in scores] for scores in (self.impostors, self.genuine))
        if self.other is not None:
            other = _number(cosine_similarity(self.other.embedding[None], self.reference.embedding))
        return Judge(
            recognizer=self.measure.name,
            detector=self.measure.detector,
            provider=getattr(self.recognizer, "provider", None),
            licence=getattr(self.recognizer, "licence", None),
            rule=self.measure.rule,
            published_line=self.measure.published_line,
            photos=self.reference.info.pictures,
            turned=self.reference.info.turned,
            crops=tuple(_rgb(crop) for crop in self.reference.crops),
            blank=self.reference.blank,
            impostor=Baseline.of_impostors(impostors),
            genuine=Baseline.of(genuine),
            impostor_scores=tuple(impostors),
            genuine_scores=tuple(genuine),
            other_photo=other,
        )

    def read(self, picture: Picture, judge: Judge, *, itself: bool) -> Measured:
        """One picture's likeness; `itself` says that it is one of the reference photos."""
        (reading,) = self.measure.read([picture], self.reference)
        crop = None if reading.crop is None else _rgb(reading.crop)
        if reading.similarity is None:
            return Measured(None, self.why(reading), reading.score, None, None, crop)
        verdict = ITSELF if itself else judge.verdict(reading.similarity)
        copied = self._copy_paste(picture, reading, judge.other_photo)
        return Measured(reading.similarity, None, reading.score, verdict, copied, crop)

    def doubts(self) -> list[str]:
        """Which of the other people may be the same person: one far above all the rest makes the line too high."""
        doubts = []
        for index, (path, score) in enumerate(self.impostors):
            rest = Baseline.of_impostors([other for i, (_, other) in enumerate(self.impostors) if i != index])
            if rest is not None and rest.std is not None and score > rest.mean + _FAR * rest.std:
                doubts.append(f"other people: {path} scores {score:.2f}, far above the rest. Is it the same person?")
        return doubts

    def why(self, reading: Reading) -> str:
        """Why a picture has no likeness."""
        if reading.seen:
            return "a face was found, but the recognizer could not encode it"
        if reading.score is None:
            return "no face was found"
        return (
            f"no face was found with enough confidence (at most {reading.score:.2f}; {self.measure.confident:g} "
            "is needed)"
        )

    def _copy_paste(self, picture: Picture, reading: Reading, between: float | None) -> float | None:
        if self.other is None or between is None:
            return None
        (to_other,) = self.measure.compare([reading], [picture], [self.other])
        if reading.similarity is None or to_other.similarity is None:
            return None
        cosines = torch.tensor([reading.similarity]), torch.tensor([to_other.similarity])
        return _number(copy_paste_score(*cosines, between))


def _baselines(panel: Sequence[_Panel], request: CompareRequest, own: Own, notes: list[str], show: Progress) -> None:
    """What other people and the same person score; what cannot be used is noted."""
    for paths, what in ((request.others, "other people"), (request.genuine, "same person")):
        for path, picture in _photos(paths, what, notes, show, own, request.skip):
            for each in panel:
                (reading,) = each.measure.read([picture], each.reference)
                if reading.similarity is None:
                    notes.append(f"left out: {what}, {path}: {each.why(reading)}")
                else:
                    scores = each.impostors if what == "other people" else each.genuine
                    scores.append((path, reading.similarity))
    for each in panel:
        notes += each.doubts()
    others = [] if request.other_photo is None else [request.other_photo]
    for path, picture in _photos(others, "other photo", notes, show, own):
        for each in panel:
            try:
                each.other = each.measure.reference([picture])
            except FaceError as error:
                notes.append(f"left out: other photo, {path}: {_of_one(error)}")


def _photos(
    paths: Sequence[Path], what: str, notes: list[str], show: Progress, own: Own = frozenset(), skip: Path | None = None
) -> Iterator[tuple[Path, Picture]]:
    """The pictures that can be read, one after the other, without the reference's own; the others are noted."""
    for path, reason in show(list(expand(paths, skip)), what) if paths else ():
        unusable = reason or ("it is one of the reference photos" if digest(path) in own else None)
        picture, unread = (None, None) if unusable else _open(path)
        if picture is None:
            notes.append(f"left out: {what}, {path}: {unusable or unread}")
        else:
            yield path, picture


def _open(path: Path) -> tuple[Picture | None, str | None]:
    """A picture, or why it cannot be read."""
    try:
        return open_picture(path), None
    except (InfuseNetError, OSError) as error:
        return None, " ".join(str(error).split())


def _result(path: Path, panel: Sequence[_Panel], judges: Sequence[Judge], own: Own) -> PictureResult:
    """One picture by each recognizer."""
    picture, reason = _open(path)
    if picture is None:
        return _unread(path, reason, panel)
    itself = digest(path) in own
    first, *second = [each.read(picture, judge, itself=itself) for each, judge in zip(panel, judges, strict=True)]
    return PictureResult(path, first, second[0] if second else None, _small(picture))


def _unread(path: Path, reason: str | None, panel: Sequence[_Panel]) -> PictureResult:
    return PictureResult(path, Measured(reason=reason), Measured(reason=reason) if len(panel) > 1 else None)


def _small(picture: Picture) -> Picture:
    """The picture with a longer side of 224 pixels at most."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((_THUMB, _THUMB), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _rgb(crop: Picture) -> Picture:
    return np.ascontiguousarray(crop[..., ::-1])


def _of_one(error: FaceError) -> str:
    """A complaint about a reference of one picture."""
    return str(error).replace("reference picture 1 of 1", "it")


def _number(values: torch.Tensor) -> float | None:
    value = float(values[0])
    return value if np.isfinite(value) else None
