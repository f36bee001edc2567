"""What a measure compared in a run (aligned faces, or small whole pictures), thinned out so that it stays small."""

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

    @property
    def steps(self) -> list[int]:
        """The steps whose faces are kept, in order."""
        return sorted(self._faces)
