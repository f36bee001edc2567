"""What a measure compared in a run (aligned faces, or small whole pictures), thinned out so that it stays small."""

from collections.abc import Mapping

from ..measures.base import Pixels

FACES = 512  # aligned faces kept in all, 38 kB each at 112x112


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
        self._faces: dict[int, tuple[Pixels | None, ...]] = {}
        self.final: tuple[Pixels | None, ...] = ()

    def put(self, step: int, faces: tuple[Pixels | None, ...]) -> None:
        """Keep the faces of a step, or replace them."""
        index = self._order.setdefault(step, len(self._order))
        if index % self._stride:
            return
        self._faces[step] = faces
        while len(self._faces) > 1 and len(self._faces) * len(faces) > self._limit:
            self._stride *= 2
            self._faces = {step: kept for step, kept in self._faces.items() if self._order[step] % self._stride == 0}

    def get(self, step: int) -> tuple[Pixels | None, ...]:
        """The faces of a step; () where none are kept."""
        return self._faces.get(step, ())

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give steps other numbers; those that have none keep theirs."""
        self._faces = {numbers.get(step, step): faces for step, faces in self._faces.items()}
        self._order = {numbers.get(step, step): index for step, index in self._order.items()}

    def follow(self, earlier: "Gallery", steps: int) -> "Gallery":
        """The faces of a run in two pieces: those of `earlier`, which had so many steps, then these."""
        both = Gallery(self._limit)
        for step in earlier.steps:
            both.put(step, earlier.get(step))
        for step in self.steps:
            both.put(steps + step, self.get(step))
        both.final = self.final
        return both

    @property
    def bytes(self) -> int:
        """Memory that the faces take."""
        return sum(face.nbytes for faces in (*self._faces.values(), self.final) for face in faces if face is not None)

    @property
    def steps(self) -> list[int]:
        """The steps whose faces are kept, in order."""
        return sorted(self._faces)
