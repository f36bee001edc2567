"""How alike pictures of one group are to each other: the same person, prompt and settings, from other noises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..metrics.similarity import cosine_similarity
from .base import Pixels, Reading


class Agreement:
    """Compares the pictures of one group, made one after the other.

    The current group's embeddings are kept in memory, and none is ever written.
    """

    def __init__(self) -> None:
        self._group: str | None = None
        self._rows: dict[str, Tensor | None] = {}

    def of(
        self, group: str, name: str, row: Tensor | None, others: Mapping[str, Callable[[], Tensor | None]]
    ) -> dict[str, float | None]:
        """The cosines of a picture with others of its group.

        Args:
            group: another one than before drops what is remembered.
            name: the picture's.
            row: its `embedding`.
            others: what gives the embedding of each other picture, by name; those that are remembered are not asked.

        Returns:
            A cosine for each of the others, -1..1; None where either shows nothing to compare.
        """
        if group != self._group:
            self._group, self._rows = group, {}
        for other in others.keys() - self._rows.keys():
            self._rows[other] = others[other]()
        self._rows[name] = row
        # of two names the first one first: a cosine read the other way round differs in its last digit
        return {other: _cosine(*(self._rows[one] for one in sorted((name, other)))) for other in others}


def embedding(measure: Any, picture: Pixels, reading: Reading) -> Tensor | None:
    """Where a picture lies in a measure's space, [1, d]; None where nothing is seen, or the measure does not say.

    Args:
        measure: what has read it. One without `embed` does not say.
        picture: RGB uint8 [H, W, 3].
        reading: what it read.
    """
    shown = reading.crop if measure.rule.subject == "face" else picture
    if not reading.seen or shown is None or not hasattr(measure, "embed"):
        return None
    row: Tensor = measure.embed([shown])
    return row


def _cosine(row: Tensor | None, other: Tensor | None) -> float | None:
    if row is None or other is None:
        return None
    value = float(cosine_similarity(row, other[0])[0])
    return value if value == value else None
