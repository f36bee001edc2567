"""What a measure looked at in a run: aligned faces, and the whole pictures in small; thinned out to stay small."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..measures.base import Pixels

FACES = 512  # aligned faces kept in all, 38 kB each at 112x112
WHOLE = 224  # pixels of a small picture's longer side
QUALITY = 80  # of its JPEG, about 6 kB


@dataclass(frozen=True)
class Seen:
    """One step: its aligned faces RGB uint8 [112, 112, 3], and its pictures as small JPEGs, one a batch item each."""

    faces: tuple[Pixels | None, ...] = ()
    pictures: tuple[bytes | None, ...] = ()


class Gallery:
    """Aligned faces by step, RGB uint8 [112, 112, 3], one a batch item (None where there was none).

    Every other step goes when it is full; `final` holds the finished pictures' faces.

    Args:
        limit: aligned faces kept in all. At least one step is.
    """

    def __init__(self, limit: int = FACES) -> None:
        self._limit = limit
        self._stride = 1
        self._order: dict[int, int] = {}
        self._seen: dict[int, Seen] = {}
        self.finished = Seen()

    @property
    def final(self) -> tuple[Pixels | None, ...]:
        """The finished pictures' faces."""
        return self.finished.faces

    def put(
        self, step: int, faces: tuple[Pixels | None, ...], pictures: tuple[bytes | None, ...] | None = None
    ) -> None:
        """Keep what was seen in a step, or replace its faces; the pictures stay unless others are given."""
        index = self._order.setdefault(step, len(self._order))
        if index % self._stride:
            return
        self._seen[step] = Seen(faces, self.pictures(step) if pictures is None else pictures)
        while len(self._seen) > 1 and len(self._seen) * len(faces) > self._limit:
            self._stride *= 2
            self._seen = {step: kept for step, kept in self._seen.items() if self._order[step] % self._stride == 0}

    def get(self, step: int) -> tuple[Pixels | None, ...]:
        """The faces of a step; () where none are kept."""
        return self._seen.get(step, Seen()).faces

    def pictures(self, step: int) -> tuple[bytes | None, ...]:
        """The pictures of a step as small JPEGs; () where none are kept."""
        return self._seen.get(step, Seen()).pictures

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give steps other numbers; those that have none keep theirs."""
        self._seen = {numbers.get(step, step): seen for step, seen in self._seen.items()}
        self._order = {numbers.get(step, step): index for step, index in self._order.items()}

    def follow(self, earlier: Gallery, steps: int) -> Gallery:
        """The gallery of a run in two pieces: what `earlier` holds, which had so many steps, then this."""
        both = Gallery(self._limit)
        for step in earlier.steps:
            both.put(step, earlier.get(step), earlier.pictures(step))
        for step in self.steps:
            both.put(steps + step, self.get(step), self.pictures(step))
        both.finished = self.finished
        return both

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        kept = (*self._seen.values(), self.finished)
        faces = sum(face.nbytes for seen in kept for face in seen.faces if face is not None)
        return faces + sum(len(picture) for seen in kept for picture in seen.pictures if picture is not None)

    @property
    def steps(self) -> list[int]:
        """The steps that are kept, in order."""
        return sorted(self._seen)


def small(pictures: Sequence[Pixels | None]) -> tuple[bytes | None, ...]:
    """Pictures, RGB uint8 [H, W, 3], as JPEGs whose longer side is at most `WHOLE` pixels; None stays None."""
    return tuple(None if picture is None else _jpeg(picture) for picture in pictures)


def _jpeg(picture: Pixels) -> bytes:
    from PIL import Image

    image, content = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((WHOLE, WHOLE), Image.Resampling.BOX, reducing_gap=1.0)  # the fast ways: for the eye, in small
    image.save(content, format="JPEG", quality=QUALITY)
    return content.getvalue()
