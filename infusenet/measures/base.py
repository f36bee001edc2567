"""What every measure has: a reference, a rule with a name, and one Reading a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import SettingsError
from .baselines import Baseline
from .wording import SubjectName

Pixels = npt.NDArray[np.uint8]  # RGB [H, W, 3]
Floats = npt.NDArray[np.floating[Any]]
Alignment = Literal["detected", "carried", "back-filled"]


@dataclass(frozen=True)
class Rule:
    """How a likeness was measured. Numbers made by different rules are not compared.

    Attributes:
        name: of the rule and its version.
        parameters: its settings, as text by name.
        subject: what is looked at: a "face" in each picture, the whole "picture", or the picture beside a "prompt".
            It chooses the words that the numbers are spoken of with; see `wording`.
    """

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    subject: SubjectName = "face"

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"{self.name} ({settings})" if settings else self.name


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
        crops: what it was made from, RGB-reversed as a recognizer takes it: aligned faces, or small whole pictures; ()
            of a prompt.
        info: what a trace may tell about it.
        blank: what pictures of nothing (for faces: crops without any face) score against it; None where that is
            undefined.
    """

    embedding: Tensor
    crops: tuple[Pixels, ...]
    info: ReferenceInfo
    blank: Baseline | None = None


@dataclass(frozen=True)
class Reading:
    """One picture looked at.

    Attributes:
        seen: what the measure looks for was seen here with confidence. Only such readings make conclusions. Whole
            pictures are seen wherever they are finite.
        similarity: cosine to the reference, -1..1; None where undefined.
        alignment: where the place came from: "detected" here, "carried" from an earlier step or the pose picture,
            "back-filled" from a later one; None without any, or where the measure needs no place.
        score: confidence of the surest detection, 0..1; None where there was none.
        place: where it looked, as fractions of width and height; None where it does not know.
        crop: what was compared, to be looked at: uint8 [h, w, 3], RGB-reversed; None where there is none.
        why: why there is no similarity, where the measure says so itself; `reason` is what to read.
    """

    seen: bool
    similarity: float | None = None
    alignment: Alignment | None = None
    score: float | None = None
    place: Floats | None = field(default=None, repr=False)
    crop: Pixels | None = field(default=None, repr=False)
    why: str | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no similarity, in words; None where there is one."""
        if self.similarity is not None or self.why is not None:
            return None if self.similarity is not None else self.why
        if self.seen:
            return "the face gives no embedding"
        unsure = "" if self.score is None else f" with enough confidence (the most certain one has {self.score:.2f})"
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
    """Compares pictures with a reference by one rule: `FaceMeasure`, `PictureMeasure` and `PromptMeasure` do.

    Optional attributes: `detector` (which network found the faces), `published_line` (its authors' same-person cosine),
    `embed` (aligned faces, or pictures where the rule's subject is none -> embeddings [n, d]).
    """

    @property
    def name(self) -> str:
        """Which network measured, for the record."""

    @property
    def rule(self) -> Rule:
        """How."""

    def reference(self, pictures: Sequence[Any], *, source: str | None = None) -> ReferenceData:
        """What to compare with: of pictures, RGB uint8 [H, W, 3]; of prompts, where the rule's subject is "prompt"."""

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
        names = "; ".join(dict.fromkeys("an unrecorded rule" if rule is None else str(rule) for rule in rules))
        raise SettingsError(
            f"{what} were measured by different rules, so their numbers cannot be compared: {names}. Measure them "
            "all again with the same version and the same face pack or image encoder."
        )


def pixels(pictures: Tensor) -> list[Pixels | None]:
    """Pictures [n, 3, H, W] in 0..1 as 8-bit RGB [H, W, 3]; None where one is not finite."""
    pictures = pictures.detach().float()
    finite = torch.isfinite(pictures).flatten(1).all(dim=1)
    whole = (pictures.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    arrays = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return [array if is_finite else None for array, is_finite in zip(arrays, finite.tolist(), strict=True)]
