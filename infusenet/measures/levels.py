"""What likenesses in a study of several people are held against: other people, no face, and the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from ..errors import FaceError
from ..metrics.similarity import cosine_similarity
from .base import Pixels, ReferenceData
from .baselines import LEAST_IMPOSTORS, Baseline, impostors
from .faces import FaceMeasure

LEVELS = ("impostor", "blank", "genuine")


@dataclass(frozen=True)
class _Person:
    """A reference, and the embeddings [n, d] of all that is known of the person, picture by picture."""

    reference: ReferenceData
    rows: Tensor


def levels(
    measure: FaceMeasure, people: Sequence[tuple[Sequence[Pixels], Sequence[Pixels]]], strangers: Sequence[Pixels] = ()
) -> dict[str, Baseline | None]:
    """The three levels of several people, each None where it is unknown.

    Args:
        measure: the rule.
        people: of each the reference pictures, and further ones, RGB uint8 [H, W, 3]. Whose reference shows no face is
            left out.
        strangers: pictures of others; without any, these people are strangers to each other.

    Returns:
        "impostor": others against the references; five or more others. "blank": crops without a face against them.
        "genuine": two pictures of one person; of two people or more.
    """
    known = [person for pictures, further in people if (person := _person(measure, pictures, further)) is not None]
    references = [person.reference for person in known]
    if not known:
        return dict.fromkeys(LEVELS)
    others = impostors(measure, references, strangers)[0] if len(strangers) else _each_other(known)
    blank = Baseline.pooled([reference.blank for reference in references])
    return dict(zip(LEVELS, (others, blank, _genuine(known)), strict=True))


def _person(measure: FaceMeasure, pictures: Sequence[Pixels], further: Sequence[Pixels]) -> _Person | None:
    try:
        reference = measure.reference(pictures)
    except FaceError:
        return None
    readings = measure.read(further, reference) if len(further) else []
    crops = [reading.crop for reading in readings if reading.seen and reading.crop is not None]
    return _Person(reference, measure.embed([*reference.crops, *crops]))


def _each_other(known: Sequence[_Person]) -> Baseline | None:
    """Every reference against the pictures of all the others."""
    if len(known) <= LEAST_IMPOSTORS:
        return None
    lines = []
    for person in known:
        scores = [_cosines(other.rows, person.reference.embedding) for other in known if other is not person]
        lines.append(Baseline.of([value for group in scores for value in group]))
    return Baseline.pooled(lines)


def _genuine(known: Sequence[_Person]) -> Baseline | None:
    """All pairs of pictures of the same person."""
    several = [person.rows for person in known if len(person.rows) > 1]
    if len(several) < 2:
        return None
    return Baseline.of([_cosines(a[None], b)[0] for rows in several for a, b in combinations(rows, 2)])


def _cosines(rows: Tensor, row: Tensor) -> list[float]:
    values: list[float] = cosine_similarity(rows, row).tolist()
    return values
