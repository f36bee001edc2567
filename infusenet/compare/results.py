"""What a comparison holds: each picture's likeness, and the lines that it is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..files import Picture
from ..measures import LEAST_IMPOSTORS, Baseline, Rule

ABOVE = "above other people and blank"
ITSELF = "a reference photo itself"
NOT_BLANK = "not told apart from a blank picture"
NOT_OTHERS = "not told apart from other people"
UNKNOWN = "other people unknown"


@dataclass(frozen=True)
class Measured:
    """One picture by one recognizer.

    Attributes:
        similarity: cosine to the reference, -1..1; None where undefined.
        reason: why it is undefined; None where it is not.
        score: the detector's confidence in the face that was read, or in the surest one; None without any.
        verdict: where the similarity lies among the known lines, in words; None without one.
        copy_paste: 1 = the reference photo itself, 0 = as near to either photo; None where no other photo was given.
        crop: the aligned face, RGB uint8 [H, W, 3].
    """

    similarity: float | None = None
    reason: str | None = None
    score: float | None = None
    verdict: str | None = None
    copy_paste: float | None = None
    crop: Picture | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Judge:
    """One recognizer, and what it says of the lines that a likeness is held against.

    Attributes:
        recognizer: its file, the start of the file's sha256, and the provider that runs it.
        detector: the same of the network that found the faces.
        provider: ONNX Runtime's, that really runs.
        licence: as far as it is known.
        rule: by which everything was measured.
        published_line: cosine from which its makers call two faces one person's; None where they name none.
        photos: reference photos used; `turned` of them lay on their side.
        crops: the reference's aligned faces, RGB uint8 [H, W, 3].
        blank: what crops without a face score.
        impostor: what other people score; None = unknown.
        genuine: what other photos of the same person score; None = unknown.
        impostor_scores: those that `impostor` is of, or too few for one.
        genuine_scores: those that `genuine` is of.
        other_photo: cosine of the other photo, of the copy-paste score, with the reference.
    """

    recognizer: str
    detector: str | None
    provider: str | None
    licence: str | None
    rule: Rule
    published_line: float | None
    photos: int
    turned: int
    crops: tuple[Picture, ...] = field(repr=False)
    blank: Baseline | None = None
    impostor: Baseline | None = None
    genuine: Baseline | None = None
    impostor_scores: tuple[float, ...] = ()
    genuine_scores: tuple[float, ...] = ()
    other_photo: float | None = None

    def verdict(self, similarity: float) -> str:
        """Where a similarity lies among the known lines: above means by two deviations. Never who it is."""
        others, blank = (None if line is None else line.upper for line in (self.impostor, self.blank))
        if others is not None and similarity <= others:
            return NOT_OTHERS
        if blank is not None and similarity <= blank:
            return NOT_BLANK
        if others is not None:
            return ABOVE
        few = len(self.impostor_scores)
        unknown = f"{UNKNOWN} ({few} faces, {LEAST_IMPOSTORS} are needed)" if few else UNKNOWN
        return unknown if blank is None else f"above blank, {unknown}"


@dataclass(frozen=True)
class PictureResult:
    """One picture: its path as given, by the first recognizer and by a second, and small for a page to show."""

    path: Path
    first: Measured
    second: Measured | None = None
    thumb: Picture | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        first: the recognizer that sorts the pictures.
        second: another one's opinion.
        reference: the photos used.
        pictures: in the order given.
        notes: what was left out, and why, a thought each.
        versions: of the libraries at work.
    """

    first: Judge
    second: Judge | None
    reference: tuple[Path, ...]
    other_photo: Path | None
    pictures: tuple[PictureResult, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]

    @property
    def measured(self) -> list[PictureResult]:
        """The pictures with a likeness, the most alike first."""
        known = [result for result in self.pictures if result.first.similarity is not None]
        return sorted(known, key=lambda result: -(result.first.similarity or 0.0))

    @property
    def unmeasured(self) -> list[PictureResult]:
        """Those without one, in the order given."""
        return [result for result in self.pictures if result.first.similarity is None]
