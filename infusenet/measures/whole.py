"""The likeness of whole pictures: embed, compare. No face, no place, no detector.

A new measure is a name, a rule and a function that embeds pictures; the line of blank pictures, the reading of a run's
steps and the line of other pictures come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import PictureError, SettingsError
from ..metrics.similarity import cosine_similarity, fuse_embeddings
from .base import Pixels, Reading, ReferenceData, ReferenceInfo, Rule
from .baselines import Baseline, impostors
from .blank import blank_crops

SHOWN = 112  # side of the small pictures that are kept to be looked at, pixels
_BLANK = 224  # side of the blank pictures, pixels

EmbedPictures = Callable[[Sequence[Pixels]], Tensor]
EmbedPrompts = Callable[[Sequence[str]], tuple[Tensor, str | None]]


class PictureMeasure:
    """Compares whole pictures with reference pictures.

    Args:
        name: which network measures, for the record; with a digest of its weights.
        rule: how, with the subject "picture". What changes the numbers belongs to its parameters.
        embed: RGB uint8 pictures [H, W, 3], of any sizes -> embeddings [n, d], of any length.
        batch_size: pictures embedded at a time.

    Raises:
        SettingsError: the rule is about faces, or batch_size < 1.
    """

    def __init__(self, name: str, rule: Rule, embed: EmbedPictures, *, batch_size: int = 8) -> None:
        if rule.subject == "face" or batch_size < 1:
            raise SettingsError(
                f'Expected a rule with the subject "picture" or "prompt" and batch_size >= 1, got {rule.subject!r} and '
                f"{batch_size}. Faces are compared by FaceMeasure."
            )
        self.name, self.rule = name, rule
        self._embed, self._batch_size = embed, batch_size

    def embed(self, pictures: Sequence[Pixels]) -> Tensor:
        """Embeddings [n, d] float32 on the CPU of one or more pictures."""
        groups = (pictures[at : at + self._batch_size] for at in range(0, len(pictures), self._batch_size))
        parts = [self._embed(group).detach().float().cpu() for group in groups]
        return torch.cat(parts)

    # -- references ----------------------------------------------------------------------------------------------------

    def reference(self, pictures: Sequence[Any], *, source: str | None = None) -> ReferenceData:
        """Embed the pictures and fuse them.

        Args:
            pictures: RGB uint8 [H, W, 3], one or more, whose mean counts.
            source: a short word on where they are from, for the record.

        Returns:
            The reference, with its line of blank pictures.

        Raises:
            PictureError: there is no picture, or one that gives no embedding.
        """
        if not len(pictures):
            raise PictureError("This measure needs a reference picture to compare with, but there is none. Choose one.")
        rows = self.embed(pictures)
        try:
            embedding = fuse_embeddings(rows)
        except ValueError as error:
            raise PictureError(
                f"{self.name} cannot encode the reference pictures: their embeddings are not finite, or cancel out. "
                "Use other pictures, or check its weights."
            ) from error
        crops = tuple(small(picture) for picture in pictures)
        return ReferenceData(embedding, crops, ReferenceInfo(len(pictures), source), self.blank(embedding))

    def blank(self, embedding: Tensor) -> Baseline | None:
        """What sixteen fixed blank pictures (greys, gradients, coarse noise) score against a reference's embedding."""
        cosines = cosine_similarity(self._blank_embeddings, embedding).tolist()
        return Baseline.of([value for value in cosines if np.isfinite(value)])

    @cached_property
    def _blank_embeddings(self) -> Tensor:
        return self.embed(blank_crops(_BLANK))

    def impostors(self, reference: ReferenceData, pictures: Sequence[Pixels]) -> Baseline | None:
        """What other pictures score against a reference.

        Args:
            reference: what is compared with.
            pictures: RGB uint8 [H, W, 3] that show something else.

        Returns:
            Mean, deviation (n - 1) and count; None with fewer than five: then it is unknown.
        """
        return impostors(self, [reference], pictures)[0]

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, pictures: Sequence[Pixels | None], reference: ReferenceData) -> list[Reading]:
        """Each picture's cosine with the reference.

        Args:
            pictures: RGB uint8 [H, W, 3]; None stands for one that is not finite.
            reference: what is compared with.

        Returns:
            One reading a picture, `seen` wherever the picture is finite.
        """
        return self.against(pictures, [reference])[0]

    def against(self, pictures: Sequence[Pixels | None], references: Sequence[ReferenceData]) -> list[list[Reading]]:
        """As `read`, against each of several references; each picture is embedded once."""
        rows = self._rows(pictures)
        return [self._readings(pictures, rows, [one] * len(pictures)) for one in references]

    def reader(self, references: Sequence[ReferenceData], fallback: Any = None) -> PictureReader:
        """For the steps of one run; `fallback`, the place of a face, has no meaning here."""
        return PictureReader(self, references)

    def compare(self, pictures: Sequence[Pixels | None], references: Sequence[ReferenceData]) -> list[Reading]:
        """One reading a picture, each with a reference of its own."""
        return self._readings(pictures, self._rows(pictures), references)

    def _rows(self, pictures: Sequence[Pixels | None]) -> list[Tensor | None]:
        """The embedding [1, d] of every picture that is finite."""
        present = [picture for picture in pictures if picture is not None]
        embeddings = iter(self.embed(present).split(1)) if present else iter(())
        return [None if picture is None else next(embeddings) for picture in pictures]

    def _readings(
        self,
        pictures: Sequence[Pixels | None],
        rows: Sequence[Tensor | None],
        references: Sequence[ReferenceData],
    ) -> list[Reading]:
        both = zip(pictures, rows, references, strict=True)
        return [_reading(picture, row, reference) for picture, row, reference in both]


class PromptMeasure(PictureMeasure):
    """Compares whole pictures with a prompt.

    Args:
        name, rule, embed, batch_size: as for `PictureMeasure`; the rule's subject is "prompt".
        embed_prompts: prompts -> embeddings [n, d] in the space of `embed`, and a note for the record or None.
    """

    def __init__(
        self, name: str, rule: Rule, embed: EmbedPictures, embed_prompts: EmbedPrompts, *, batch_size: int = 8
    ) -> None:
        super().__init__(name, rule, embed, batch_size=batch_size)
        self._embed_prompts = embed_prompts

    def reference(self, pictures: Sequence[Any], *, source: str | None = None) -> ReferenceData:
        """Embed the prompts and fuse them. A prompt has no line of blank or of other pictures.

        Args:
            pictures: the prompts, one or more, whose mean counts.
            source: a short word on where they are from, for the record.

        Raises:
            SettingsError: there is no prompt, an empty one, or something else than text.
        """
        prompts = [pictures] if isinstance(pictures, str) else list(pictures)
        if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
            found = ", ".join(repr(one) if isinstance(one, str) else type(one).__name__ for one in prompts) or "nothing"
            raise SettingsError(f"This measure compares pictures with a prompt. Give it text, not {found:.80}.")
        embeddings, note = self._embed_prompts(prompts)
        try:
            embedding = fuse_embeddings(embeddings.detach().float().cpu())
        except ValueError as error:
            raise SettingsError(
                f"{self.name} cannot encode the prompt: its embedding is not finite, or several cancel "
                "out. Use another prompt, or check the weights."
            ) from error
        told = "; ".join(filter(None, (source or "prompt", note)))
        return ReferenceData(embedding, (), ReferenceInfo(0, told))

    def blank(self, embedding: Tensor) -> Baseline | None:
        """None: a prompt's fit has no such line."""
        return None

    def impostors(self, reference: ReferenceData, pictures: Sequence[Pixels]) -> Baseline | None:
        """None: a prompt's fit has no such line."""
        return None


class PictureReader:
    """One run's pictures, step after step. It remembers nothing: every picture is whole.

    Args:
        measure: the rule.
        references: what to compare with, or one for each batch item (taken in turn).
    """

    def __init__(self, measure: PictureMeasure, references: Sequence[ReferenceData]) -> None:
        self._measure, self._references = measure, tuple(references)

    def read(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Measure pictures; `items` names the batch item of each."""
        return self._measure.compare(pictures, [self._references[item % len(self._references)] for item in items])

    def can_back_fill(self, item: int) -> bool:
        """Never: no later step tells more about a picture."""
        return False

    def back_fill(self, pictures: Sequence[Pixels | None], items: Sequence[int]) -> list[Reading]:
        """Nothing is seen in steps that could not be measured."""
        return [Reading(False, why="the picture is not finite") for _ in pictures]

    def remembered(self) -> None:
        """Nothing."""

    def restore(self, known: None) -> None:
        """There is nothing to restore."""


def _reading(picture: Pixels | None, row: Tensor | None, reference: ReferenceData) -> Reading:
    if picture is None or row is None:
        return Reading(False, why="the picture is not finite")
    value = float(cosine_similarity(row, reference.embedding)[0])
    if not np.isfinite(value):
        return Reading(True, crop=small(picture), why="the picture could not be encoded")
    return Reading(True, value, crop=small(picture))


def small(picture: Pixels) -> Pixels:
    """The middle of a picture at a small size, RGB-reversed [112, 112, 3], to be looked at."""
    from PIL import Image

    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    reduced = Image.fromarray(np.ascontiguousarray(picture)).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC, box)
    return np.ascontiguousarray(np.asarray(reduced)[..., ::-1])
