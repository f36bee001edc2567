"""Whose pictures a sweep makes: a folder's people, or people drawn for the miniature."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InfuseNetError
from ..files import ENDINGS, Picture, is_picture_file, open_picture
from ..miniature.people import drawn_reference
from .spec import Cohort, Filter
from .toml import SpecError


@dataclass(frozen=True)
class Person:
    """One person."""

    name: str  # for tables and figures
    digest: str  # content of the pictures: what results depend on
    files: tuple[Path, ...] = ()  # the pictures; none for a drawn person
    number: int = 0  # of a drawn person

    def pictures(self) -> list[Picture]:
        """The reference pictures, RGB uint8 [H, W, 3]; PictureError where a file is none."""
        return [open_picture(path) for path in self.files] or [drawn_reference(self.number)]


def find_people(cohort: Cohort) -> list[Person]:
    """The people of a specification, before any filter; SpecError where a folder holds no readable picture."""
    if cohort.folder is None:
        count = min(cohort.drawn, cohort.limit or cohort.drawn)
        return [Person(f"drawn-{number + 1:02d}", f"drawn:{number}", (), number) for number in range(count)]
    people: dict[str, Person] = {}
    for entry in sorted(cohort.folder.iterdir()):
        files = sorted(path for path in (entry.iterdir() if entry.is_dir() else [entry]) if is_picture_file(path))
        if files and entry.stem in people:
            raise SpecError(f"people.folder: expected a different name for each person, got {entry.stem!r} twice")
        if files:
            people[entry.stem] = Person(entry.stem, _digest(files), tuple(files))
    if not people:
        raise SpecError(
            f"people.folder: expected pictures in {cohort.folder}, one file or subfolder per person, found none "
            f"({', '.join(sorted(ENDINGS))})"
        )
    return list(people.values())[: cohort.limit]


def filter_people(
    people: Sequence[Person], rule: Filter, detect: Callable[[Any], Sequence[Any]]
) -> tuple[list[Person], list[tuple[str, str]]]:
    """Those who pass a filter, and the names of the others with the reason.

    Args:
        people, rule: candidates, and the filter.
        detect: finds the faces in a picture; each has `bbox` and `score`.

    Raises:
        SpecError: nobody passes.
    """
    kept, dropped = [], []
    for person in people:
        if reason := next(filter(None, (_unfit(detect(picture), rule) for picture in person.pictures())), None):
            dropped.append((person.name, reason))
        else:
            kept.append(person)
    if not kept:
        raise SpecError(
            f"people.filter: none of the {len(people)} people passed. The first: {dropped[0][1]}. Use other photos, "
            "or leave the filter out"
        )
    return kept, dropped


def _unfit(faces: Sequence[Any], rule: Filter) -> str | None:
    """Why a picture is left out, None where it is not."""
    if len(faces) != 1:
        return f"{len(faces)} faces instead of one"
    width = float(faces[0].bbox[2] - faces[0].bbox[0])
    if not faces[0].score > rule.confidence:
        return f"detector confidence of only {faces[0].score:.2f} (more than {rule.confidence:g} is needed)"
    if not width > rule.width:
        return f"the face is {width:.0f} pixels wide, and more than {rule.width:g} are needed"
    return None


def _digest(files: Sequence[Path]) -> str:
    """Content of pictures, each of which must open."""
    total = hashlib.sha256()
    for path in files:
        try:
            open_picture(path)
            total.update(hashlib.sha256(path.read_bytes()).digest())
        except (InfuseNetError, OSError) as error:
            raise SpecError(f"people.folder: {' '.join(str(error).split())}") from error
    return total.hexdigest()[:32]
