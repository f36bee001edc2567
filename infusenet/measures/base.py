"""What every measure has: a reference, a rule with a name, and one Reading a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..errors import SettingsError

Pixels = npt.NDArray[np.uint8]  # RGB [H, W, 3]
Floats = npt.NDArray[np.floating[Any]]
Alignment = Literal["detected", "carried", "back-filled"]

LEAST_IMPOSTORS = 5
"""Faces of other people below which an impostor baseline is unknown: a deviation of fewer says nothing."""


DEVIATIONS = 2
"""How many deviations a likeness must lie above a line."""


def upper_edge(level: float, std: float | None) -> float | None:
    """What a likeness must exceed to be above a line with this mean; None without a deviation."""
    return None if std is None else level + DEVIATIONS * std


@dataclass(frozen=True)
class Rule:
    """How a likeness was measured. Numbers made by different rules are not compared.

    Attributes:
        name: of the rule and its version.
        parameters: its settings, as text by name.
    """

    name: str
    parameters: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"{self.name} ({settings})" if settings else self.name


@dataclass(frozen=True)
class Baseline:
    """Cosine between a reference and crops that are not its person: mean, deviation (None for one), and how many."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline | None:
        """Mean and deviation (n - 1) of these cosines; None without any."""
        if not values:
            return None
        known = np.asarray(values, np.float64)
        return cls(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None, len(known))

    @classmethod
    def of_impostors(cls, values: Sequence[float]) -> Baseline | None:
        """As `of`, for faces of other people; None, which is unknown, of fewer than five."""
        return cls.of(values) if len(values) >= LEAST_IMPOSTORS else None

    @property
    def upper(self) -> float | None:
        """What a likeness must exceed to be above this line: mean + 2 deviations; None without a deviation."""
        return upper_edge(self.mean, self.std)

    @classmethod
    def pooled(cls, baselines: Sequence[Baseline | None]) -> Baseline | None:
        """One line for several references: the mean of theirs with the widest deviation; None where one is unknown."""
        known = [baseline for baseline in baselines if baseline is not None]
        if not known or len(known) < len(baselines):
            return None
        spread = [line.std for line in known if line.std is not None]
        mean = math.fsum(line.mean for line in known) / len(known)
        return cls(mean, max(spread, default=None), sum(line.count for line in known))


@dataclass(frozen=True)
class ReferenceInfo:
    """The reference: how many pictures it was made from, and a short word on their source. Never an embedding.

    `turned` counts the photos that lay on their side and were turned upright.
    """

    pictures: int
    source: str | None = None
    turned: int = 0


@dataclass(frozen=True)
class ReferenceData:
    """What pictures are compared with: one unit vector in the measure's space, from one or more pictures.

    Attributes:
        embedding: [d], of length 1; never written to disk.
        crops: what it was made from: for faces the aligned ones, RGB-reversed as the recognizer takes them.
        info: what a trace may tell about it.
        blank: what crops without any face score against it; None where that is undefined.
    """

    embedding: Tensor
    crops: tuple[Pixels, ...]
    info: ReferenceInfo
    blank: Baseline | None = None


@dataclass(frozen=True)
class Reading:
    """One picture looked at.

    Attributes:
        seen: what the measure looks for was seen here with confidence. Only such readings make conclusions.
        similarity: cosine to the reference, -1..1; None where undefined.
        alignment: where the place came from: "detected" here, "carried" from an earlier step or the pose picture,
            "back-filled" from a later one; None without any, or where the measure needs no place.
        score: confidence of the surest detection, 0..1; None where there was none.
        place: where it looked, as fractions of width and height; None where it does not know.
        crop: what was compared, uint8, as the recognizer takes it; None where there is none.
    """

    seen: bool
    similarity: float | None = None
    alignment: Alignment | None = None
    score: float | None = None
    place: Floats | None = field(default=None, repr=False)
    crop: Pixels | None = field(default=None, repr=False)

    @property
    def reason(self) -> str | None:
        """Why there is no similarity, in words; None where there is one."""
        if self.similarity is not None:
            return None
        if self.seen:
            return "the face gives no embedding"
        unsure = "" if self.score is None else f" with confidence (the surest has {self.score:.2f})"
        return f"no face was found in the picture{unsure}"


class Reader(Protocol):
    """One run's reading, step after step: what it may remember belongs to the run."""

    def read(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Measure pictures of a run, earlier steps first; `items` names the batch item of each."""

    def can_back_fill(self, item: int) -> bool:
        """Whether a later step tells where to look for an item in the steps before it was seen."""

    def back_fill(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Measure pictures from before an item was seen, at the place where it was seen later."""

    def remembered(self) -> Any:
        """What is known by now, for `restore`."""

    def restore(self, known: Any) -> None:
        """Know what was known when `remembered` gave `known`, and nothing else."""


class Measure(Protocol):
    """Compares pictures with a reference by one rule. `FaceMeasure` is one."""

    @property
    def name(self) -> str:
        """Which network measured, for the record."""

    @property
    def rule(self) -> Rule:
        """How."""

    def reference(self, pictures: Sequence[Pixels], *, source: str | None = None) -> ReferenceData:
        """What to compare with."""

    def read(self, pictures: Sequence[Pixels | None], reference: ReferenceData) -> list[Reading]:
        """Finished pictures, each by itself."""

    def reader(self, references: Sequence[ReferenceData], fallback: Any = None) -> Reader:
        """For the steps of one run; batch item i is compared with reference i (modulo their number)."""

    def impostors(self, reference: ReferenceData, pictures: Sequence[Pixels]) -> Baseline | None:
        """What others score against a reference; None where too few are seen."""


def comparable(rules: Sequence[Rule | str | None], what: str) -> None:
    """Refuse to set numbers of different rules beside each other.

    Args:
        rules: of all numbers, or what was written of them; None = made before rules were recorded.
        what: what was to be compared, for the message.

    Raises:
        SettingsError: they differ.
    """
    if len({None if rule is None else str(rule) for rule in rules}) > 1:
        told = "; ".join(dict.fromkeys("an unrecorded rule" if rule is None else str(rule) for rule in rules))
        raise SettingsError(
            f"{what} were measured by different rules, so their numbers cannot be compared: {told}. "
            "Measure them again with one version and one face pack."
        )
